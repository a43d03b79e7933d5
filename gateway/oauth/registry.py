"""The OAuth clients: running servers that are JupyterHub apps, and services.

Owns the lookup of a `Client` by its id and secret. Does not know about OAuth's rules.
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
    """Finds OAuth clients. Raises StateUnavailableError."""

    def __init__(
        self, store: Store, roles: Roles, service_digests: Mapping[str, str], *, config: GatewayConfig
    ) -> None:
        """`service_digests`: digest of each configured service's token, by name. The token is the client's secret."""
        self._store = store
        self._roles = roles
        self._digests = service_digests
        self._config = config
        self._base = config.base_path

    async def find(self, client_id: str, secret: str = "") -> Client | None:
        """Return the client with this id, or None.

        If `secret` is the client's, its digest is in the client's `secrets`.
        """
        server = oauth_clients.server_of(client_id)
        if server is not None:
            return await self._server(*server, secret)
        name = oauth_clients.service_of(client_id)
        return await self._service(name, secret) if name else None

    async def _server(self, user: str, name: str, secret: str) -> Client | None:
        record = await self._store.servers.get(user, name)
        if record is None or not record.active or not record.hub_app:
            return None
        secret_digest = digest(secret) if secret else ""
        token = await self._store.tokens.get(secret_digest) if secret_digest else None
        own = token is not None and token.of_app and token.attempt == record.attempt
        return oauth_clients.server_client(
            self._base,
            user,
            name,
            frozenset({secret_digest}) if own else frozenset(),
            attempt=record.attempt,
            origin=origin_of(self._config, user),
        )

    async def _service(self, name: str, secret: str) -> Client | None:
        service = self._roles.services.get(name) or await self._store.services.get(name)
        if service is None:
            return None
        known = {self._digests[name]} if name in self._digests else set()
        secret_digest = digest(secret) if secret else ""
        token = await self._store.tokens.get(secret_digest) if secret_digest and secret_digest not in known else None
        if token is not None and not token.user and token.service == name:  # created through the API
            known.add(secret_digest)
        return oauth_clients.service_client(self._base, service, frozenset(known))
