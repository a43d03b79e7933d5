"""All variables that JupyterHub 6.1 sets for a single-user server (`Spawner.get_env`), and whether they are set here."""

SAME = (
    *("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "JUPYTERHUB_API_URL", "JUPYTERHUB_ACTIVITY_URL"),
    *("JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME", "JUPYTERHUB_BASE_URL", "JUPYTERHUB_SERVICE_PREFIX"),
    *("JUPYTERHUB_CLIENT_ID", "JUPYTERHUB_OAUTH_CALLBACK_URL", "JUPYTERHUB_OAUTH_SCOPES"),
    *("JUPYTERHUB_OAUTH_ACCESS_SCOPES", "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES"),
    *("JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED", "JUPYTERHUB_ADMIN_ACCESS", "JUPYTERHUB_DEFAULT_URL"),
    *("JUPYTERHUB_PUBLIC_URL", "JUPYTERHUB_PUBLIC_HUB_URL"),
)
"""Set here with JupyterHub's value."""

OTHERWISE = ("JUPYTERHUB_HOST", "JUPYTERHUB_SERVICE_URL")
"""Set here with another value; docs/jupyterhub.md says why."""

LIMITS = ("MEM_LIMIT", "MEM_GUARANTEE", "CPU_LIMIT", "CPU_GUARANTEE")
"""Set with JupyterHub's value if a scheduler enforces it; not set on a local cluster."""

PROFILES = (
    *("JUPYTERHUB_COOKIE_OPTIONS", "JUPYTERHUB_ROOT_DIR", "JUPYTERHUB_DEBUG", "JUPYTERHUB_DISABLE_USER_CONFIG"),
    "JUPYTERHUB_SINGLEUSER_APP",
)
"""Settings of JupyterHub that a profile can set in its `environment`."""

NEVER = ("JUPYTERHUB_SSL_KEYFILE", "JUPYTERHUB_SSL_CERTFILE", "JUPYTERHUB_SSL_CLIENT_CA")

TOLD = {*SAME, *OTHERWISE}
"""The variables that every process of a single-user server has."""

LISTED = "[name for name in os.environ if name.startswith('JUPYTERHUB_') or name == 'JPY_API_TOKEN']"
"""Code for a kernel: list the variables that it has."""
