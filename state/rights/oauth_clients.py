"""The OAuth clients that exist implicitly: every running server, and every service with a redirect URI.

Owns the client ids of servers and services, their redirect URIs and the scopes that their tokens can have. Does not
know OAuth's requests or store secrets. Pure.

Sources: JupyterHub 6.1 (`Spawner.oauth_client_id`, `Service.oauth_client_id`, `scopes.access_scopes`).
"""

from typing import Final
from urllib.parse import quote, unquote

from msgspec import Struct

from state.names import escape, server_key, server_path
from state.records.models import Service

SERVER: Final = "jupyterhub-user-"
SERVICE: Final = "service-"
IDENTIFY: Final = ("read:users:name", "read:users:groups")
"""What every client may read about the user who signs in."""


class Client(Struct, frozen=True, kw_only=True):
    """An OAuth client: a server (`server` is its key `user/name`) or a service (`service` is its name).

    `secrets` are the SHA-256 digests (hex) of the secrets that it may authenticate with. `allowed` are the scopes that
    it may request in addition to access to itself and the user's name and groups. `title` is its name for display.
    `issued_to` is the server's attempt or the service's id: what is issued to this client is not valid for a later one
    with the same id.
    """

    id: str
    title: str
    redirect_uris: tuple[str, ...]
    secrets: frozenset[str] = frozenset()
    server: str | None = None
    service: str = ""
    allowed: tuple[str, ...] = ()
    no_confirm: bool = False
    issued_to: str = ""

    @property
    def bound_to(self) -> str:
        """The server or service whose end revokes the tokens issued to it (see `state.records.models.Token`)."""
        return self.server if self.server is not None else f"service:{self.service}"

    @property
    def owner(self) -> str:
        """The user who owns the server, or `""` for a service."""
        return self.server.partition("/")[0] if self.server is not None else ""

    @property
    def server_name(self) -> str | None:
        """The name of the server, or None for a service."""
        return self.server.partition("/")[2] if self.server is not None else None

    @property
    def access(self) -> str:
        """The scope that a user needs to use this client."""
        if self.server is not None:
            return f"access:servers!server={self.server}"
        return f"access:services!service={self.service}"


def of_server(user: str, name: str) -> str:
    """Return the client id of a server.

    JupyterHub leaves dashes in a user's name as they are, so that the default server of `a-b` and the server `b` of `a`
    share an id. Here they are escaped, so that ids are unique.
    """
    quoted = quote(user, safe="").replace("-", "%2D")
    return f"{SERVER}{quoted}-{name}" if name else SERVER + quoted


def server_of(client_id: str) -> tuple[str, str] | None:
    """Return the user and name of the server with this client id, or None."""
    if not client_id.startswith(SERVER):
        return None
    quoted, _, name = client_id[len(SERVER) :].partition("-")
    user = unquote(quoted)
    return (user, name) if of_server(user, name) == client_id else None


def of_service(name: str) -> str:
    """Return the client id of a service."""
    return SERVICE + name


def service_of(client_id: str) -> str:
    """Return the name of the service with this client id, or `""`."""
    return client_id[len(SERVICE) :] if client_id.startswith(SERVICE) else ""


def service_path(base_path: str, name: str) -> str:
    """Return the path prefix of a service, with a trailing slash."""
    return f"{base_path}services/{escape(name)}/"


def server_client(
    base_path: str, user: str, name: str, secrets: frozenset[str], *, attempt: str, origin: str = ""
) -> Client:
    """Return the client of a running server. `origin`: the origin of its owner's servers, if it is not the hub's."""
    return Client(
        id=of_server(user, name),
        title=f"{user}'s server {name}" if name else f"{user}'s server",
        redirect_uris=(origin + callback(server_path(base_path, user, name)),),
        secrets=secrets,
        server=server_key(user, name),
        issued_to=attempt,
    )


def service_client(base_path: str, service: Service, secrets: frozenset[str]) -> Client | None:
    """Return the client of a service, or None if it has no redirect URI.

    A service that the hub proxies and that configures no redirect URI has the same one as in JupyterHub.
    """
    usual = (callback(service_path(base_path, service.name)),) if service.url else ()
    uris = service.oauth_redirect_uris or usual
    if not uris:
        return None
    return Client(
        id=of_service(service.name),
        title=service.name,
        redirect_uris=uris,
        secrets=secrets,
        service=service.name,
        allowed=service.oauth_scopes,
        no_confirm=service.oauth_no_confirm,
        issued_to=service.id,
    )


def callback(prefix: str) -> str:
    """Return the redirect URI of a client under this path prefix."""
    return f"{prefix}oauth_callback"


def most(client: Client, user: str) -> tuple[str, ...]:
    """Return the scopes that a token of this client can have for a user, before they are narrowed to the user's own."""
    return (client.access, *(f"{scope}!user={user}" for scope in IDENTIFY), *client.allowed)
