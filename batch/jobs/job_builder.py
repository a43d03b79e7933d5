"""Builds the job that runs a server from its record.

Owns the command, environment, secrets, resources and setup of a job. Pure: the hub's own environment is an argument.
Does not know launchers or Redis.

Sources: JupyterHub 6.1 (names of variables), Jupyter Server 2 (`ServerApp.sock`, `JUPYTER_TOKEN`).
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from batch.contract import JobSpec, Passport, Resources, Setup
from batch.jobs.hub_app import SINGLEUSER, SOCKET_OPTIONS, api_environment, hub_environment, hub_for_jupyter
from state.config.addresses import EVERYWHERE, base_path, in_url, own_url
from state.config.ports import port_range
from state.config.tables import Config, ProfileConfig
from state.names import server_path
from state.offer.app_ports import gets_socket_options
from state.offer.option_kinds import COUNTED, KINDS, amount, fixed, scheduler_options
from state.plugins.launchers import kind_of, way_in_of
from state.records.models import Server

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
"""Plain JupyterLab. Its token is in JUPYTER_TOKEN, because any user can read an argv."""

INHERITED: Final = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ"})
REPORT_PATH: Final = "hub/api/towpath/report"
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def report_urls(config: Config, *, elsewhere: bool = False, hostname: str = "") -> tuple[str, ...]:
    """Return the URLs that a job reports to: `internal_url`, or the gateway's own address.

    `elsewhere`: a job on another machine, which uses the listener for reports if there is one. `hostname`: the name of
    this machine, for a listener on all of its addresses.
    """
    gateway = config.gateway
    path = base_path(config) + REPORT_PATH
    if gateway.internal_url:
        return (gateway.internal_url.rstrip("/") + path,)
    if elsewhere and gateway.report_port:
        host = gateway.report_host or gateway.host
        host = hostname if hostname and host in EVERYWHERE else EVERYWHERE.get(host, host)
        return (f"https://{in_url(host)}:{gateway.report_port}{path}",)
    return (own_url(config) + path,)


def resources(server: Server, profile: ProfileConfig) -> Resources:
    """Return what the job requests: the user's choices, else the profile's resources."""
    values = {kind: fixed(profile.resources, kind) for kind in KINDS}
    for kind, (name, _) in scheduler_options(profile).items():
        picked = server.choices.get(name)
        value = amount(kind, picked) if kind in COUNTED else picked or None
        if value is not None:
            values[kind] = value
    if values["gpus"] == 0:
        values["gpu"] = None
    return Resources(
        partition=values["partition"] or "",
        account=values["account"] or "",
        qos=values["qos"] or "",
        reservation=values["reservation"] or "",
        constraint=values["constraint"] or "",
        gpu_type=values["gpu"] or "",
        gpus=values["gpus"],
        cores=values["cores"],
        memory=values["memory"],
        walltime=values["walltime"],
        nodes=values["nodes"],
        signal=profile.resources.signal,
        warning_signal=profile.resources.warning_signal,
        more=tuple(sorted(profile.resources.extra.items())),
    )


def _setup(profile: ProfileConfig, values: Mapping[str, str]) -> Setup:
    """Return the setup of the app. Placeholders in the prologue are not filled in, because it is shell code."""
    setup = profile.setup
    return Setup(
        modules=tuple(fill(module, values) for module in setup.modules),
        prologue=setup.prologue,
        conda=fill(setup.conda, values),
        venv=fill(setup.venv, values),
        image=fill(setup.image, values),
        binds=tuple(fill(bind, values) for bind in setup.binds),
    )


def in_the_script(server: Server, profile: ProfileConfig) -> dict[str, Any]:
    """Return the choices that are not the scheduler's but part of the job itself: a new value needs a new job."""
    return {name: server.choices.get(name) for name, option in profile.option.items() if option.kind not in KINDS}


def with_secrets(server: Server, profile: ProfileConfig, *, token: str, secret: str, api_token: str = "") -> Server:
    """Return the record as it is saved before a submit.

    `token`: the new report token, saved as its SHA-256. `secret`: the app's new secret; one that is already in the
    record stays, because a submit whose result was lost may have used it. `api_token`: of the app; `""`: none.
    """
    credential = server.credential
    if profile.app == "jupyter" and not credential:
        credential = f"token {secret}"
    return replace(
        server,
        report_hash=_sha256(token),
        credential=credential,
        token_hash=_sha256(api_token),
        hub_app=profile.app == "jupyterhub",
    )


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest() if secret else ""


def job_spec(
    server: Server,
    profile: ProfileConfig,
    config: Config,
    *,
    token: str,
    own: Mapping[str, str],
    api_token: str = "",
    as_root: bool = False,
    hostname: str = "",
    passport: Callable[[str, int], Passport] | None = None,
    again: bool = True,
) -> JobSpec:
    """Return the job of this attempt. `server` comes from `with_secrets` with the same `token`.

    `own` is the hub's environment: a job on a `local` cluster inherits PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_* and
    TZ from it, and nothing else. Jobs on other clusters run as their user on another machine and inherit nothing;
    {home}, {socket} and {port} stay as they are there, and the starter fills them in on the node. `api_token`: from
    `with_secrets`. `as_root`: the job runs as root, which JupyterLab has to allow. `passport`: attempt and time limit
    (seconds; 0: unknown) → the credentials of a job on another machine. `again`: it may have been submitted before.
    """
    cluster = next((cluster for cluster in config.cluster if cluster.name == server.cluster), None)
    elsewhere = cluster is not None and not kind_of(cluster).runs_here
    prefix = server_path(base_path(config), server.user, server.name)
    secret = server.credential.removeprefix("token ") if server.credential else ""
    home = own.get("HOME", "/")
    asks = resources(server, profile)
    values = _placeholders(server, prefix, home=None if elsewhere else home)
    environment = {} if elsewhere else _inherited(own)
    environment |= {name: fill(value, values) for name, value in profile.environment.items()}
    environment |= _names(server, base_path(config), prefix)
    if profile.app == "jupyter" and secret:
        environment["JUPYTER_TOKEN"] = secret
    if profile.app == "jupyterhub":
        environment |= hub_environment(server, profile, config, asks, elsewhere=elsewhere)
    if api_token:
        environment |= api_environment(server, config, api_token=api_token, elsewhere=elsewhere)
    return JobSpec(
        attempt=server.attempt,
        user=server.user,
        server=server.name,
        command=tuple(fill(part, values) for part in _command(profile, as_root=as_root and not elsewhere)),
        environment=environment,
        directory="~/" if elsewhere else home,
        base_path=prefix,
        hub_urls=report_urls(config, elsewhere=elsewhere, hostname=hostname),
        report_token=token,
        secrets=tuple(one for one in (token, secret, api_token) if one),
        start_window=float(cluster.start_window if cluster else 300),
        record=server,
        shared_node_port=profile.shared_node_port,
        jupyter=hub_for_jupyter(server, config) if profile.app == "jupyter" else None,
        ssh=profile.ssh,
        resources=asks,
        setup=_setup(profile, values),
        passport=passport(server.attempt, asks.walltime or 0) if passport is not None and elsewhere else None,
        way_in="" if cluster is None else way_in_of(cluster),
        ports=port_range(cluster.direct_ports) if cluster is not None else None,
        again=again,
    )


def _inherited(own: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the hub's environment that jobs on this machine inherit."""
    return {name: value for name, value in own.items() if name in INHERITED or name.startswith("LC_")}


def _placeholders(server: Server, prefix: str, *, home: str | None) -> dict[str, str]:
    """Return the values of placeholders. `home`: None if only the node knows it."""
    return {
        "base_path": prefix,
        "base_path_no_slash": prefix.removesuffix("/"),
        "user": server.user,
        "server": server.name,
        **({} if home is None else {"home": home}),
        **{f"option_{name}": _text(value) for name, value in server.choices.items()},
    }


def _names(server: Server, base: str, prefix: str) -> dict[str, str]:
    """Return the variables that name the server, which a profile cannot override. `prefix`: its path."""
    return {
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


def _command(profile: ProfileConfig, *, as_root: bool) -> tuple[str, ...]:
    """Return the app's command, with placeholders. `as_root`: it runs as root, which Jupyter has to allow."""
    usual = SINGLEUSER if profile.app == "jupyterhub" else JUPYTERLAB
    command = profile.command or (*usual, *(("--allow-root",) if as_root else ()))
    return (*command, *SOCKET_OPTIONS) if gets_socket_options(profile) else tuple(command)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the template with its placeholders filled in, once: values are never read as templates.

    Placeholders without a value stay ({socket} and {port} are for the starter).
    """
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
