"""Routes of the services in the configuration: /services/NAME/.

Owns the mapping of a path to a service's route. Does not check access: the service asks the hub, as with JupyterHub.
Services that were created through the API are not routed, because their URLs do not come from
the hub's admins.
"""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from gateway.tunnel import Caller
from gateway.wire.addresses import client_key
from state.records.models import Endpoint, Route, Service
from state.rights.oauth_clients import service_path


@lru_cache(maxsize=4096)
def unauthenticated(address: str) -> Caller:
    """Return the caller of a service who is not signed in, identified by its address.

    It counts as a cookie, because an Authorization header is processed by the service.
    """
    return Caller(user="", digest="", by_cookie=True, source=source_of(address))


def source_of(address: str) -> str:
    """Return the key under which an address's connections are counted. No user or service has such a name."""
    return f"address:{client_key(address)}"


class ServiceRoutes:
    """The routes of the services, by name."""

    def __init__(self, services: Iterable[Service], base_path: str) -> None:
        self.prefix = f"{base_path}services/".encode()
        self._routes = {
            service_path(base_path, service.name).encode(): Route(
                prefix=service_path(base_path, service.name),
                user="",
                name=service.name,
                attempt="",
                endpoint=endpoint(service.url),
            )
            for service in services
            if service.url
        }

    def at(self, path: bytes) -> Route | None:
        """Return the route of the service of this path (under `prefix`), with or without a slash after its name."""
        end = path.find(b"/", len(self.prefix))
        return self._routes.get(path + b"/" if end < 0 else path[: end + 1])


def endpoint(url: str) -> Endpoint:
    """Return the endpoint of a service's URL: `http://host:port` or `http+unix://%2Fpath`, as checked."""
    parts = urlsplit(url)
    if parts.scheme == "http+unix":
        return Endpoint(kind="unix", path=unquote(parts.netloc))
    return Endpoint(kind="tcp", host=parts.hostname or "", port=parts.port or 80)
