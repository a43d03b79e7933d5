"""Where the services of the configuration are reached: /services/NAME/.

Owns: from a path to a service's route. Refuses to know who may use a service: it asks the hub, as JupyterHub's do.
Services that the API has made are not reached by way of the hub: what they would have it open is said by others than
the people who run it.
"""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from gateway.tunnel import Caller
from gateway.wire.addresses import client_key
from state.records.models import Endpoint, Route, Service
from state.rights.oauth_clients import service_path


@lru_cache(maxsize=4096)
def anybody(address: str) -> Caller:
    """Return who asks a service without being signed in, from this address.

    By cookie: an Authorization header is the service's business.
    """
    return Caller(user="", digest="", by_cookie=True, source=source_of(address))


def source_of(address: str) -> str:
    """Return by what the connections of an address are counted. No user's name and no service's key has this form."""
    return f"address:{client_key(address)}"


class ServiceRoutes:
    """The routes, by the service's name."""

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
        """The route of the service that this path (under `prefix`) is in, with or without a slash after its name."""
        end = path.find(b"/", len(self.prefix))
        return self._routes.get(path + b"/" if end < 0 else path[: end + 1])


def endpoint(url: str) -> Endpoint:
    """Where a service listens: `http://host:port` or `http+unix://%2Fpath`, as checked."""
    parts = urlsplit(url)
    if parts.scheme == "http+unix":
        return Endpoint(kind="unix", path=unquote(parts.netloc))
    return Endpoint(kind="tcp", host=parts.hostname or "", port=parts.port or 80)
