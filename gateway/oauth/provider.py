"""The provider's shell: what a request is about is looked up, `gateway.oauth.grant` judges, what follows is written.

Owns: who may use a client and is asked first, and what its token may do. Refuses to know OAuth's rules and pages.
"""

import secrets
import time
from collections.abc import Iterable

from gateway.oauth import grant
from gateway.oauth.registry import Registry
from portal.site.oauth import Consent, Fields, OAuthRefusedError, Onward, TokenAnswer
from state.records.models import OAuthCode, Token
from state.rights import oauth_clients, scopes
from state.rights.identity import Identity
from state.rights.oauth_clients import Client
from state.store.all import Store
from state.store.credentials import digest


class OAuthProvider:
    """`portal.site.oauth.Provider`."""

    def __init__(self, store: Store, registry: Registry, *, lifetime: int) -> None:
        """`lifetime`: seconds for which a token is good, if the session that it belongs to lasts as long."""
        self._store = store
        self._registry = registry
        self._lifetime = lifetime

    async def ask(self, fields: Fields, identity: Identity) -> Onward | Consent:
        """See `portal.site.oauth.Provider`."""
        client, wish = await self._considered(fields, identity)
        if isinstance(wish, str):
            return Onward(wish)
        granted = self._granted(client, wish, identity)
        if not await self._must_ask(client, granted, identity):
            return await self._give(fields, client, wish, identity)
        return Consent(client, tuple(sorted(granted - self._of_course(client, identity))))

    async def decide(self, fields: Fields, identity: Identity, *, granted: bool) -> Onward:
        """See `portal.site.oauth.Provider`."""
        client, wish = await self._considered(fields, identity)
        if isinstance(wish, str):
            return Onward(wish)
        if not granted:
            return Onward(grant.decided(fields, client, ""), client)
        return await self._give(fields, client, wish, identity)

    async def exchange(self, fields: Fields, authorization: str) -> TokenAnswer:
        """See `portal.site.oauth.Provider`."""
        client_id, secret = grant.client_named(fields, authorization)
        client = await self._registry.find(client_id, secret)
        told = dict(fields).get("code", "")
        code = await self._store.codes.take(told) if told else None
        if code is not None and await self._store.sessions.get(code.session) is None:
            code = None  # signed out meanwhile
        if code is not None and client is not None and code.issued_to != client.issued_to:
            code = None  # the server or the service that it was issued to has ended
        if code is None and told:
            await self._used_twice(told)
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
            await self._store.tokens.keep(token, digest(made.secret))
            if not await self._still_valid(code, client):  # what ended in between did not see it
                await self._store.tokens.revoke(token.user, token.id)
            await self._store.codes.exchanged(told, user=token.user, token_id=token.id, lifetime=grant.CODE_SECONDS)
        return made.answer

    async def _still_valid(self, code: OAuthCode, client: Client) -> bool:
        """Whether the session and the client that a code was issued for have not ended."""
        if await self._store.sessions.get(code.session) is None:
            return False
        now = await self._registry.find(client.id)
        return now is not None and now.issued_to == client.issued_to

    async def _considered(self, fields: Fields, identity: Identity) -> tuple[Client, grant.Wish | str]:
        client = await self._registry.find(dict(fields).get("client_id", ""))
        wish = grant.wish(fields, client)
        assert client is not None  # `wish` refuses None
        name, _, where = client.access.partition("!")
        kind, _, key = where.partition("=")
        if not scopes.may(identity.access, name, **{kind: key}):
            raise OAuthRefusedError(f"You have no access to {client.title}.", status=403)
        return client, wish

    def _granted(self, client: Client, wish: grant.Wish, identity: Identity) -> frozenset[str]:
        """What the token may do: what was asked for, of what the client may ask for, of what the person may do."""
        name = identity.user.name
        possible = scopes.narrow(oauth_clients.most(client, name), identity.access, user=name)
        if not wish.scopes:
            return possible
        always = scopes.narrow(self._of_course(client, identity), identity.access, user=name)
        return scopes.narrow(wish.scopes, possible, user=name) | always

    @staticmethod
    def _of_course(client: Client, identity: Identity) -> frozenset[str]:
        """What is not worth asking about: that it can be used, and knows by whom."""
        return scopes.expand(
            (client.access, *(f"{scope}!user={identity.user.name}" for scope in oauth_clients.IDENTIFY))
        )

    async def _must_ask(self, client: Client, granted: frozenset[str], identity: Identity) -> bool:
        """Whether the person is asked first: not for a server of their own, nor what they have allowed before."""
        if client.no_confirm or client.owner == identity.user.name:
            return False
        tokens = await self._store.tokens.of_user(identity.user.name)
        # a stand-in is for this client, too, but nobody was asked for it
        allowed = _union(token.scopes for token in tokens if token.client == client.id and token.session_id)
        return not granted <= allowed

    async def _give(self, fields: Fields, client: Client, wish: grant.Wish, identity: Identity) -> Onward:
        session = identity.session
        assert session is not None  # only a browser that is signed in is asked
        code = OAuthCode(
            client=client.id,
            redirect_uri=dict(fields).get("redirect_uri", ""),
            user=identity.user.name,
            scopes=tuple(sorted(self._granted(client, wish, identity))),
            challenge=wish.challenge,
            session=identity.digest,
            session_id=session.id,
            issued_to=client.issued_to,
        )
        secret = await self._store.codes.issue(code, lifetime=grant.CODE_SECONDS)
        url = grant.decided(fields, client, secret)
        if client.owner == code.user:
            return Onward(url)
        return Onward(url, client, given=True, scopes=code.scopes)

    async def _used_twice(self, code: str) -> None:
        """A code that comes a second time was stolen, by one of the two: its token ends (RFC 6749 section 4.1.2)."""
        given = await self._store.codes.token_of(code)
        if given is not None:
            await self._store.tokens.revoke(*given)


def _union(many: Iterable[tuple[str, ...]]) -> frozenset[str]:
    return frozenset(scope for scopes_ in many for scope in scopes_)
