"""JupyterHub 6.1 as a peer: SQLite, the simple local spawner, CHP, and the stub app. Read by `jupyterhub -f`.

Its limits are generous, so that the configuration is not the bottleneck: no limit on concurrent starts, quiet logs.
"""

import os
from pathlib import Path

c = get_config()  # noqa: F821  (JupyterHub puts it there)
folder = os.environ["BENCH_FOLDER"]

c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['BENCH_PORT']}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['BENCH_HUB_PORT']}"
c.JupyterHub.db_url = f"sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{folder}/cookie_secret"
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.log_level = "WARN"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"admin"}
if "BENCH_ISSUER" in os.environ:  # sign-in with a provider: tests/bench/sign_in.py
    issuer = os.environ["BENCH_ISSUER"]
    c.JupyterHub.authenticator_class = "generic-oauth"
    c.GenericOAuthenticator.client_id = os.environ["BENCH_CLIENT"]
    c.GenericOAuthenticator.client_secret = os.environ["BENCH_SECRET"]
    c.GenericOAuthenticator.authorize_url = f"{issuer}/authorize"
    c.GenericOAuthenticator.token_url = f"{issuer}/token"
    c.GenericOAuthenticator.userdata_url = f"{issuer}/userinfo"
    c.GenericOAuthenticator.oauth_callback_url = f"http://127.0.0.1:{os.environ['BENCH_PORT']}/hub/oauth_callback"
    c.GenericOAuthenticator.scope = ["openid", "profile"]
    c.GenericOAuthenticator.username_claim = "preferred_username"
    c.GenericOAuthenticator.allow_all = True

c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['BENCH_PROXY_API_PORT']}"
c.ConfigurableHTTPProxy.pid_file = f"{folder}/proxy.pid"
c.ConfigurableHTTPProxy.command = [
    str(Path(os.environ["BENCH_CHP"])),
    "--log-level",
    "error",
]

c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = f"{folder}/home/{{username}}"
c.Spawner.cmd = os.environ["BENCH_STUB"].split()
c.Spawner.start_timeout = 600
c.Spawner.http_timeout = 600

c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["BENCH_TOKEN"]}]
c.JupyterHub.load_roles = [
    {
        "name": "bench",
        "services": ["bench"],
        "scopes": ["admin:users", "admin:servers", "read:users", "list:users", "access:servers"],
    }
]
