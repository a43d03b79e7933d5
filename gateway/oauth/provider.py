"""The OAuth provider over the store: looks up what a request refers to, and writes what `gateway.oauth.grant` returns.

Owns who may use a client, who must give consent first, the scopes of a token, and the audit entry of a consent. Does
not know about OAuth's rules or pages.
"""

import secrets
import time
from collections.abc import Iterable
from typing import Any, Final

from litestar import Request

from gateway.oauth import grant
from gateway.oauth.registry import Registry
from portal.audit import recorder
from portal.site.oauth import Consent, Fields, OAuthRefusedError, Onward, TokenAnswer
from state.records.audit import Act
from state.records.models import OAuthCode, Token
from state.rights import oauth_clients, scopes
from state.rights.identity import Identity
from state.rights.oauth_clients import Client
from state.store.all import Store
from state.store.credentials import digest

NOT_CONFIRMED: Final = "The user did not confirm."


class OAuthProvider:
    """Implements `portal.site.oauth.Provider`."""

    def __init__(self, store: Store, registry: Registry, *, lifetime: int, limit: int = 0) -> None:
        """`lifetime`: seconds for which a token is good, if the session that it belongs to lasts as long.

        `limit`: how many tokens a user may have (0: any number).
        """
        self._limit = limit
        self._store = store
        self._registry = registry
        self._lifetime = lifetime

    async def ask(self, fields: Fields, identity: Identity, request: Request[Any, Any, Any]) -> Onward | Consent:
        """See `portal.site.oauth.Provider`."""
        client, authorization = await self._validate(fields, identity)
        if isinstance(authorization, str):
            return Onward(authorization)
        granted = self._granted_scopes(client, authorization, identity)
        if not await self._needs_consent(client, granted, identity):
            return await self._issue_code(fields, client, authorization, identity, request)
        return Consent(client, tuple(sorted(granted - self._without_consent(client, identity))))

    async def decide(
        self, fields: Fields, identity: Identity, request: Request[Any, Any, Any], *, granted: bool
    ) -> Onward:
        """See `portal.site.oauth.Provider`."""
        client, authorization = await self._validate(fields, identity)
        if isinstance(authorization, str):
            return Onward(authorization)
        if not granted:
            await recorder.refused(self._store, request, Act.CONSENT, why=NOT_CONFIRMED, what=client.title)
            return Onward(grant.authorization_response(fields, client, ""))
        return await self._issue_code(fields, client, authorization, identity, request)

    async def exchange(self, fields: Fields, authorization: str) -> TokenAnswer:
        """See `portal.site.oauth.Provider`."""
        client_id, secret = grant.client_credentials(fields, authorization)
        client = await self._registry.find(client_id, secret)
        sent_code = dict(fields).get("code", "")
        code = await self._store.codes.take(sent_code) if sent_code else None
        if code is not None and await self._store.sessions.get(code.session) is None:
            code = None  # the user has signed out since
        if code is not None and client is not None and code.issued_to != client.issued_to:
            code = None  # the server or service that it was issued to no longer exists
        if code is None and sent_code:
            await self._revoke_reused(sent_code)
        made = grant.exchange(fields, authorization, client, code, lifetime=self._lifetime)
        if made.secret and code is not None and client is not None:
            now = time.time()
            token = Token(
                id=secrets.token_hex(8),
                user=code.user,
                scopes=code.scopes,
                note=f"Signed in to {client.title}",
                created=now,
                expires=now + self._lifetime,
                client=client.id,
                under=code.session,
                session_id=code.session_id,
                bound_to=client.bound_to,
                attempt=client.issued_to if client.server is not None else "",
            )
            await self._store.tokens.keep(token, digest(made.secret), limit=self._limit)
            if not await self._still_valid(code, client):  # what ended in between did not see it
                await self._store.tokens.revoke(token.user, token.id)
            await self._store.codes.exchanged(
                sent_code, user=token.user, token_id=token.id, lifetime=grant.CODE_SECONDS
            )
        return made.answer

    async def _still_valid(self, code: OAuthCode, client: Client) -> bool:
        """Return whether the session and the client that a code was issued to still exist."""
        if await self._store.sessions.get(code.session) is None:
            return False
        now = await self._registry.find(client.id)
        return now is not None and now.issued_to == client.issued_to

    async def _validate(self, fields: Fields, identity: Identity) -> tuple[Client, grant.AuthorizationRequest | str]:
        client = await self._registry.find(dict(fields).get("client_id", ""))
        request = grant.validate_request(fields, client)
        assert client is not None  # `validate_request` raises for None
        name, _, where = client.access.partition("!")
        kind, _, key = where.partition("=")
        if not scopes.may(identity.access, name, **{kind: key}):
            raise OAuthRefusedError(f"You have no access to {client.title}.", status=403)
        return client, request

    def _granted_scopes(
        self, client: Client, request: grant.AuthorizationRequest, identity: Identity
    ) -> frozenset[str]:
        """Return the token's scopes: the requested ones, limited to what the client and the user may do."""
        name = identity.user.name
        possible = scopes.narrow(oauth_clients.most(client, name), identity.access, user=name)
        if not request.scopes:
            return possible
        always = scopes.narrow(self._without_consent(client, identity), identity.access, user=name)
        return scopes.narrow(request.scopes, possible, user=name) | always

    @staticmethod
    def _without_consent(client: Client, identity: Identity) -> frozenset[str]:
        """Return the scopes that need no consent: to access the client, and to tell it who the user is."""
        return scopes.expand(
            (client.access, *(f"{scope}!user={identity.user.name}" for scope in oauth_clients.IDENTIFY))
        )

    async def _needs_consent(self, client: Client, granted: frozenset[str], identity: Identity) -> bool:
        """Return whether consent is needed: not for the user's own server, nor for scopes granted before."""
        if client.no_confirm or client.owner == identity.user.name:
            return False
        tokens = await self._store.tokens.of_user(identity.user.name)
        # restricted tokens (`hub_apps`) are issued without consent: they have no session_id
        allowed = _union(token.scopes for token in tokens if token.client == client.id and token.session_id)
        return not granted <= allowed

    async def _issue_code(
        self,
        fields: Fields,
        client: Client,
        authorization: grant.AuthorizationRequest,
        identity: Identity,
        request: Request[Any, Any, Any],
    ) -> Onward:
        session = identity.session
        assert session is not None  # only a signed-in browser can give consent
        code = OAuthCode(
            client=client.id,
            redirect_uri=dict(fields).get("redirect_uri", ""),
            user=identity.user.name,
            scopes=tuple(sorted(self._granted_scopes(client, authorization, identity))),
            challenge=authorization.challenge,
            session=identity.digest,
            session_id=session.id,
            issued_to=client.issued_to,
        )
        secret = await self._store.codes.issue(code, lifetime=grant.CODE_SECONDS)
        if client.owner != code.user:
            what = f"{client.title}: {' '.join(code.scopes)}"
            whose, server = client.owner, client.server_name
            await recorder.note(self._store, request, Act.CONSENT, user=whose, server=server, what=what)
        return Onward(grant.authorization_response(fields, client, secret))

    async def _revoke_reused(self, code: str) -> None:
        """Revoke the token of a code that is sent again: one of the senders has stolen it (RFC 6749 section 4.1.2)."""
        issued = await self._store.codes.token_of(code)
        if issued is not None:
            await self._store.tokens.revoke(*issued)


def _union(groups: Iterable[tuple[str, ...]]) -> frozenset[str]:
    return frozenset(scope for scopes_ in groups for scope in scopes_)
