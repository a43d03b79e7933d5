"""Who may ask the hub to sign people in: the OAuth clients that there are by right, and what they are called.

Owns: the ids of servers' and services' clients, where each is answered, and what a token of theirs may do at most.
Refuses to know OAuth's requests, and secrets. Pure.

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
"""What every client may know of the person who signs in by it."""


class Client(Struct, frozen=True, kw_only=True):
    """An OAuth client. `server`: the key `user/name` of the server that it is; `service`: the service's name.

    `secrets` are the SHA-256 (hex) of what it may prove itself with. `allowed`: the scopes that it may ask for beside
    access to itself and the person's name and groups. `title` is for people. `issued_to`: the server's attempt, or the
    service's id: what is issued to this client is not for a later one of its id.
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
        """The server or the service with which a token that is issued to it ends (see `state.records.models.Token`)."""
        return self.server if self.server is not None else f"service:{self.service}"

    @property
    def owner(self) -> str:
        """Whose server it is; `""`: a service is nobody's."""
        return self.server.partition("/")[0] if self.server is not None else ""

    @property
    def server_name(self) -> str | None:
        """The name of the server that it is; None: it is none."""
        return self.server.partition("/")[2] if self.server is not None else None

    @property
    def access(self) -> str:
        """The scope of those who may use it at all."""
        if self.server is not None:
            return f"access:servers!server={self.server}"
        return f"access:services!service={self.service}"


def of_server(user: str, name: str) -> str:
    """The client id of a server.

    JupyterHub leaves a dash in a user's name as it is, so that `a-b` and `b` of `a` have the same id. Here it is
    escaped, and each id is of one server.
    """
    quoted = quote(user, safe="").replace("-", "%2D")
    return f"{SERVER}{quoted}-{name}" if name else SERVER + quoted


def server_of(client_id: str) -> tuple[str, str] | None:
    """User and name of the server whose client id this is; None: it is none."""
    if not client_id.startswith(SERVER):
        return None
    quoted, _, name = client_id[len(SERVER) :].partition("-")
    user = unquote(quoted)
    return (user, name) if of_server(user, name) == client_id else None


def of_service(name: str) -> str:
    """The client id of a service."""
    return SERVICE + name


def service_of(client_id: str) -> str:
    """The name of the service whose client id this is; `""`: it is none."""
    return client_id[len(SERVICE) :] if client_id.startswith(SERVICE) else ""


def service_path(base_path: str, name: str) -> str:
    """The path prefix of a service, with a slash at the end."""
    return f"{base_path}services/{escape(name)}/"


def server_client(
    base_path: str, user: str, name: str, secrets: frozenset[str], *, attempt: str, origin: str = ""
) -> Client:
    """The client that a running server is. `origin`: of its owner's servers, where it is not the hub's."""
    return Client(
        id=of_server(user, name),
        title=f"{user}'s server {name}" if name else f"{user}'s server",
        redirect_uris=(origin + callback(server_path(base_path, user, name)),),
        secrets=secrets,
        server=server_key(user, name),
        issued_to=attempt,
    )


def service_client(base_path: str, service: Service, secrets: frozenset[str]) -> Client | None:
    """The client that a service is; None: nobody is sent back to it, so it signs nobody in.

    Where its addresses are not given, one that is reached by this hub has JupyterHub's.
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
    """Where a client under this path is answered."""
    return f"{prefix}oauth_callback"


def most(client: Client, user: str) -> tuple[str, ...]:
    """The scopes that a token of this client's can have for a person, before what the person may do narrows them."""
    return (client.access, *(f"{scope}!user={user}" for scope in IDENTIFY), *client.allowed)
