"""What JupyterHub passes to a single-user server, for profiles whose `app` is `jupyterhub`.

Owns its command, its `JUPYTERHUB_*` environment, and the scopes of its API token. Pure. Does not know launchers or
Redis.

Source: JupyterHub 6.1 (`Spawner.get_env`, the role `server`). The starter sets JUPYTERHUB_SERVICE_URL, because only the
node knows where the app listens.
"""

import json
import secrets
from collections.abc import Iterable
from typing import Final

from batch.contract import JupyterHub, Resources
from state.config.addresses import api_url, base_path, public_url
from state.config.origins import origin_of
from state.config.tables import Config, ProfileConfig
from state.names import escape, server_key, server_path
from state.records.models import Server, Token
from state.rights import oauth_clients

SOCKET_OPTIONS: Final = ("--ServerApp.sock={socket}", "--ServerApp.sock_mode=0600")
SINGLEUSER: Final = ("jupyterhub-singleuser", *SOCKET_OPTIONS)
"""JupyterHub's own single-user server, on a socket. Everything else comes through the environment."""


def gets_api_token(profile: ProfileConfig, config: Config) -> bool:
    """Return whether servers of this profile get a token for the hub's API.

    JupyterHub's own apps always need one. Others get one if the site configures the role `server`.
    """
    return profile.app == "jupyterhub" or any(role.name == "server" for role in config.role)


def app_token(server: Server, scopes: Iterable[str], *, now: float) -> Token:
    """Return the API token of an attempt's app, with the scopes of the role `server`."""
    key = server_key(server.user, server.name)
    return Token(
        id=secrets.token_hex(8),
        user=server.user,
        scopes=tuple(sorted(scopes)),
        note=f"The server {key}",
        created=now,
        bound_to=key,
        attempt=server.attempt,
    )


def hub_for_jupyter(server: Server, config: Config) -> JupyterHub:
    """Return what a stock Jupyter server is told about the hub."""
    return JupyterHub(
        prefix=f"{base_path(config)}hub/",
        host=public_url(config) if origin_of(config.gateway, server.user) else "",
        user=server.user,
        server=server.name,
    )


def hub_environment(
    server: Server, profile: ProfileConfig, config: Config, asks: Resources, *, elsewhere: bool
) -> dict[str, str]:
    """Return the variables for this server.

    `asks`: its job's request, which is its limit if a scheduler enforces it.
    """
    base = base_path(config)
    prefix = server_path(base, server.user, server.name)
    public = public_url(config)
    origin = origin_of(config.gateway, server.user)
    access = json.dumps(
        [f"access:servers!server={server_key(server.user, server.name)}", f"access:servers!user={server.user}"]
    )
    limits: dict[str, str] = {}
    if elsewhere and asks.memory:
        limits |= {"MEM_LIMIT": str(asks.memory), "MEM_GUARANTEE": str(asks.memory)}
    if elsewhere and asks.cores:
        limits |= {"CPU_LIMIT": str(float(asks.cores)), "CPU_GUARANTEE": str(float(asks.cores))}
    return limits | {
        "JUPYTERHUB_SERVICE_URL": prefix,
        "JUPYTERHUB_HOST": public if origin else "",
        "JUPYTERHUB_CLIENT_ID": oauth_clients.of_server(server.user, server.name),
        "JUPYTERHUB_OAUTH_CALLBACK_URL": origin + oauth_clients.callback(prefix),
        "JUPYTERHUB_OAUTH_SCOPES": access,
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": access,
        "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES": "[]",
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "0",
        "JUPYTERHUB_PUBLIC_URL": (origin or public) + prefix,
        "JUPYTERHUB_PUBLIC_HUB_URL": f"{public}{base}hub/",
        "JUPYTERHUB_DEFAULT_URL": "/" + profile.default_path.lstrip("/"),
        "JUPYTERHUB_ADMIN_ACCESS": "1",
    }


def api_environment(server: Server, config: Config, *, api_token: str, elsewhere: bool) -> dict[str, str]:
    """Return the variables by which an app finds the hub's API, and its token."""
    api = api_url(config, elsewhere=elsewhere)
    return {
        "JUPYTERHUB_API_TOKEN": api_token,
        "JPY_API_TOKEN": api_token,
        "JUPYTERHUB_API_URL": api,
        "JUPYTERHUB_ACTIVITY_URL": f"{api}/users/{escape(server.user)}/activity",
    }
