"""From a server's record to the job that runs it.

Owns: the command, the environment and the secrets of a job. Pure: what the hub's own environment holds is an
argument. Refuses to know launchers and Redis.

Sources: JupyterHub 6.1 (names of variables, field.md C4), Jupyter Server 2 (`ServerApp.sock`, `JUPYTER_TOKEN`).
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from batch.contract import JobSpec
from state.config import Config, ProfileConfig
from state.names import server_path
from state.records import Server

JUPYTERLAB: Final = (
    "jupyter",
    "lab",
    "--no-browser",
    "--ServerApp.sock={socket}",
    "--ServerApp.sock_mode=0600",
    "--ServerApp.base_url={base_path}",
    "--ServerApp.port_retries=0",
    "--ServerApp.allow_remote_access=True",
    "--ServerApp.root_dir={home}",
)
"""Stock JupyterLab. Its token comes by JUPYTER_TOKEN: an argv is for everybody to read."""

INHERITED: Final = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ"})
REPORT_PATH: Final = "hub/api/towpath/report"
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def base_path(config: Config) -> str:
    """The hub's base path with a slash at both ends."""
    inner = config.gateway.base_path.strip("/")
    return f"/{inner}/" if inner else "/"


def report_urls(config: Config) -> tuple[str, ...]:
    """Where a job reports to: `internal_url`, or this machine's own address of the gateway."""
    gateway = config.gateway
    if gateway.internal_url:
        return (gateway.internal_url.rstrip("/") + base_path(config) + REPORT_PATH,)
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(gateway.host, gateway.host)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return (f"http://{host}:{gateway.port}{base_path(config)}{REPORT_PATH}",)


def with_secrets(server: Server, profile: ProfileConfig, *, token: str, secret: str) -> Server:
    """The record as it is saved before a submit.

    `token`: the fresh report token, kept as its SHA-256. `secret`: the app's fresh secret; one that is already in
    the record stays, because a submit whose answer was lost may have used it.
    """
    credential = server.credential
    if profile.app == "jupyter" and not credential:
        credential = f"token {secret}"
    return replace(server, report_hash=hashlib.sha256(token.encode()).hexdigest(), credential=credential)


def job_spec(
    server: Server,
    profile: ProfileConfig,
    config: Config,
    *,
    token: str,
    own: Mapping[str, str],
    as_root: bool = False,
) -> JobSpec:
    """The job of this attempt. `server` comes from `with_secrets` with the same `token`.

    `own` is the hub's environment: PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_* and TZ of it go on, nothing else.
    {socket} and {port} stay in the command: the starter fills them in on the node. `as_root`: the job runs as
    root, which JupyterLab wants to be told.
    """
    base = base_path(config)
    prefix = server_path(base, server.user, server.name)
    secret = server.credential.removeprefix("token ") if server.credential else ""
    home = own.get("HOME", "/")
    environment = {name: value for name, value in own.items() if name in INHERITED or name.startswith("LC_")}
    values = {
        "base_path": prefix,
        "user": server.user,
        "server": server.name,
        "home": home,
        **{f"option_{name}": _text(value) for name, value in server.choices.items()},
    }
    environment |= {name: fill(value, values) for name, value in profile.environment.items()}
    environment |= {
        "JUPYTERHUB_USER": server.user,
        "JUPYTERHUB_SERVER_NAME": server.name,
        "JUPYTERHUB_BASE_URL": base,
        "JUPYTERHUB_SERVICE_PREFIX": prefix,
        "TOWPATH_USER": server.user,
        "TOWPATH_SERVER": server.name,
        "TOWPATH_ATTEMPT": server.attempt,
        "TOWPATH_BASE_PATH": prefix,
        "TOWPATH_CLUSTER": server.cluster,
        "TOWPATH_PROFILE": server.profile,
    }
    if profile.app == "jupyter" and secret:
        environment["JUPYTER_TOKEN"] = secret
    cluster = next((cluster for cluster in config.cluster if cluster.name == server.cluster), None)
    command = profile.command or (*JUPYTERLAB, *(("--allow-root",) if as_root else ()))
    return JobSpec(
        attempt=server.attempt,
        user=server.user,
        server=server.name,
        command=tuple(fill(part, values) for part in command),
        environment=environment,
        directory=home,
        base_path=prefix,
        hub_urls=report_urls(config),
        report_token=token,
        secrets=(token, secret) if secret else (token,),
        start_window=float(cluster.start_window if cluster else 300),
        record=server,
    )


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders filled in, once: a value is never read as a template.

    What has no value stays as it is ({socket} and {port} are for the starter).
    """
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
