"""What follows from a request's head alone: its credentials, and whether a page of the hub sent it.

It is worked out once for all requests that repeat a head (`Head.memo`). Whether a credential is valid is decided at
every request, by `gateway.door.callers`.
"""

from gateway.auth.cookies import CookieJar
from gateway.auth.credentials import Brought, bearer
from gateway.door.hosts import Hosts
from gateway.door.origin import from_ourselves, own_origin
from gateway.oauth.hub_apps import AppCredentials
from gateway.tunnel import Caller
from gateway.tunnel.public_address import PublicAddress
from gateway.wire.heads import Head
from state.rights.identity import Identity
from state.store.credentials import digest


class Proof:
    """Of one head. `token` and `tickets` are digests. `label`: of the user's host that was asked, `""`: the hub's."""

    __slots__ = ("brought", "caller", "host_is_ours", "identity", "label", "ours", "tickets", "token")

    def __init__(
        self, brought: Brought, *, token: str, tickets: tuple[str, ...], ours: bool, host_is_ours: bool, label: str
    ) -> None:
        self.brought = brought
        self.token = token
        self.tickets = tickets
        self.ours = ours
        self.host_is_ours = host_is_ours
        self.label = label
        self.identity: Identity | None = None
        self.caller: Caller | None = None

    def caller_of(self, identity: Identity, *, by_cookie: bool, credentials: AppCredentials) -> Caller:
        """Return the caller for the tunnel: the same object as last time, if nothing has changed."""
        caller = self.caller
        if (
            caller is None
            or self.identity is not identity
            or caller.by_cookie is not by_cookie
            or (caller.authorization, caller.cookie) != credentials
        ):
            authorization, cookie = credentials
            caller = Caller(
                user=identity.key,
                digest=identity.digest,
                by_cookie=by_cookie,
                authorization=authorization,
                cookie=cookie,
            )
            self.identity, self.caller = identity, caller
        return caller


class ProofReader:
    """Reads heads."""

    def __init__(
        self,
        jar: CookieJar,
        hosts: Hosts | None,
        *,
        scheme: str,
        public: PublicAddress,
        allowed_hosts: frozenset[bytes] | None,
    ) -> None:
        """`scheme`: of the URL that browsers use. `allowed_hosts`: host names that the hub answers to; None: any."""
        self._jar = jar
        self._hosts = hosts
        self._scheme = scheme
        self._public = public
        self._allowed_hosts = allowed_hosts

    def read(self, head: Head) -> Proof:
        """Return what a head brings."""
        proof: Proof | None = head.memo
        if proof is None:
            proof = head.memo = self._read(Brought(head.fields))
        return proof

    def _read(self, brought: Brought) -> Proof:
        secret = bearer(brought.authorization) if brought.authorization is not None else None
        label = self._hosts.label_in(host_name(brought.host)) if self._hosts is not None else ""
        jar = self._hosts.jar if self._hosts is not None and label else self._jar
        tickets = jar.tickets(brought.cookies) if brought.cookies else ()
        host = self._public.host(brought.host.decode("latin-1")).encode("latin-1")
        return Proof(
            brought,
            token=digest(secret) if secret is not None else "",
            tickets=tuple(map(digest, tickets)),
            ours=from_ourselves(
                origin=brought.origin, fetch_site=brought.fetch_site, own=own_origin(self._scheme, host)
            ),
            host_is_ours=bool(label) or self._allowed_hosts is None or host_name(brought.host) in self._allowed_hosts,
            label=label,
        )

    def stray_cookies(self, path: str, proof: Proof) -> list[bytes]:
        """Return the Set-Cookie values that delete planted cookies, so that signing in helps."""
        if len(proof.tickets) <= 1:
            return []
        host = host_name(proof.brought.host).decode("latin-1")
        return [value.encode() for value in self._jar.without_strays(path, host)]


def host_name(host: bytes) -> bytes:
    """Return the Host header without its port, in lowercase (RFC 9110 section 7.2)."""
    host = host.lower()
    if host.startswith(b"["):
        return host[: host.find(b"]") + 1]
    return host.partition(b":")[0]
