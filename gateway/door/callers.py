"""Who sent a request: the user or service of its session cookie or token. Does not know what they may do."""

from collections.abc import Awaitable, Callable

from gateway.auth.credentials import bearer
from gateway.door.proof import Proof
from gateway.door.store_lookups import Lookups, looked_up
from state.mirror.mirror import Mirror
from state.rights.identity import Identity


class Callers:
    """Identifies callers by what the mirror knows, and by the store where it does not know enough."""

    def __init__(self, mirror: Mirror, claim: Callable[[str], Awaitable[object]]) -> None:
        """`claim`: see `state.store.imported`."""
        self._mirror = mirror
        self._claim = claim

    def who(self, proof: Proof, lookups: Lookups, *, at_app: bool) -> tuple[Identity | None, bool]:
        """Return the caller (None: nobody), and whether a cookie identifies them. Raises LookupNeeded.

        A token in the header is preferred to a cookie. `at_app`: the request is for an app, whose pages may send an
        Authorization header of the app's own (JupyterLab sends its token). If that is no token of the hub, the cookie
        decides.
        """
        authorization = proof.brought.authorization
        if authorization is not None:
            identity = self._by_token(proof.token, authorization, lookups) if proof.token else None
            if identity is not None or not at_app:
                return identity, False
        return (self.by_cookie(proof, lookups), True) if proof.tickets else (None, False)

    def by_cookie(self, proof: Proof, lookups: Lookups) -> Identity | None:
        """Return the owner of the valid session cookie. Raises LookupNeeded.

        Of several valid cookies the newest counts if all are one user's. If they are not, one of them was planted,
        and none counts.
        """
        if proof.label:
            found = [self._by_origin(ticket, lookups, proof.label) for ticket in proof.tickets]
        else:
            found = [self._by_ticket(ticket, lookups) for ticket in proof.tickets]
        valid = [identity for identity in found if identity is not None]
        if len(valid) > 1 and len({identity.key for identity in valid}) == 1:
            return max(valid, key=_created)
        return valid[0] if len(valid) == 1 else None

    def _by_origin(self, digest: str, lookups: Lookups, label: str) -> Identity | None:
        """By the cookie of the host of a user's servers: a token that was issued for that host only."""
        identity = self._by_token(digest, b"", lookups)
        if identity is None or identity.token is None or identity.token.client != f"towpath-origin-{label}":
            return None
        return identity

    def _by_token(self, digest: str, authorization: bytes, lookups: Lookups) -> Identity | None:
        identity = self._mirror.peek(digest)
        if identity is None:
            found = looked_up(f"token {digest}", lookups, lambda: self._identify_token(digest, authorization))
            assert found is None or isinstance(found, Identity)
            identity = found
        if identity is None or identity.token is None:  # a session's ticket is not a token
            return None
        self._mirror.note_token_use(digest)
        return identity

    async def _identify_token(self, digest: str, authorization: bytes) -> Identity | None:
        """Ask the store. A token of an imported hub becomes one of this hub first."""
        secret = bearer(authorization)
        if secret is not None:
            await self._claim(secret)
        return await self._mirror.identify_token(digest)

    def _by_ticket(self, digest: str, lookups: Lookups) -> Identity | None:
        identity = self._mirror.peek(digest)
        if identity is None:
            found = looked_up(f"ticket {digest}", lookups, lambda: self._mirror.identify_session(digest))
            assert found is None or isinstance(found, Identity)
            identity = found
        if identity is None or identity.session is None:  # a token is not a session's ticket
            return None
        return identity


def _created(identity: Identity) -> float:
    """Return when the session, or the token, of a caller was created."""
    credential = identity.session or identity.token
    return credential.created if credential is not None else 0.0
