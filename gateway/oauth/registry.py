"""Which OAuth clients there are at this moment: running servers of JupyterHub's kind, and services.

Owns: from a client's id, and the secret that somebody shows for it, to a `Client`. Refuses to know OAuth.
"""

from collections.abc import Mapping

from state.config.origins import origin_of
from state.config.tables import GatewayConfig
from state.rights import oauth_clients
from state.rights.oauth_clients import Client
from state.rights.roles import Roles
from state.store.all import Store
from state.store.credentials import digest


class Registry:
    """All verbs raise StateUnavailableError."""

    def __init__(
        self, store: Store, roles: Roles, service_digests: Mapping[str, str], *, config: GatewayConfig
    ) -> None:
        """`service_digests`: configured services by name → the digest of their token, which is their secret."""
        self._store = store
        self._roles = roles
        self._digests = service_digests
        self._config = config
        self._base = config.base_path

    async def find(self, client_id: str, secret: str = "") -> Client | None:
        """The client of that id, with the secret's digest among its own where it is its own; None: there is none."""
        server = oauth_clients.server_of(client_id)
        if server is not None:
            return await self._server(*server, secret)
        name = oauth_clients.service_of(client_id)
        return await self._service(name, secret) if name else None

    async def _server(self, user: str, name: str, secret: str) -> Client | None:
        record = await self._store.servers.get(user, name)
        if record is None or not record.active or not record.token_hash:
            return None
        told = digest(secret) if secret else ""
        token = await self._store.tokens.get(told) if told else None
        own = token is not None and token.of_app and token.attempt == record.attempt
        return oauth_clients.server_client(
            self._base,
            user,
            name,
            frozenset({told}) if own else frozenset(),
            attempt=record.attempt,
            origin=origin_of(self._config, user),
        )

    async def _service(self, name: str, secret: str) -> Client | None:
        service = self._roles.services.get(name) or await self._store.services.get(name)
        if service is None:
            return None
        known = {self._digests[name]} if name in self._digests else set()
        told = digest(secret) if secret else ""
        token = await self._store.tokens.get(told) if told and told not in known else None
        if token is not None and not token.user and token.service == name:  # one that was made by the API
            known.add(told)
        return oauth_clients.service_client(self._base, service, frozenset(known))
