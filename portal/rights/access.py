"""Checks whether a caller may do something. The portal checks rights nowhere else.

Owns the identity of a request, and the refusals: 403 if not signed in or without the scope, 404 for what is outside the
caller's scopes (so that nobody learns what exists there). Does not know credentials: the gateway has checked them.
"""

from typing import Any, Final, Protocol, cast

from litestar import Request
from litestar.exceptions import HTTPException

from portal.site.site import Site
from state.errors import NotFoundError
from state.names import server_key
from state.records.models import Service, User
from state.rights import scopes
from state.rights.identity import Identity

NOT_YOURS: Final = "This user does not exist, or is not available to you."


class HiddenError(NotFoundError):
    """The resource exists, but not for this caller, who gets a 404. The audit records the reason."""


class Sees(Protocol):
    """Whether the caller may do `scope` to a user, or to one of the user's servers."""

    def __call__(self, scope: str, user: User, server: str | None) -> bool:
        """`server` None: the user as a whole."""
        ...


class View:
    """What one caller may do. `itself`: the caller reads their own identity, which any credential may."""

    __slots__ = ("_everywhere", "_itself", "_scopes")

    def __init__(self, identity: Identity, *, itself: bool = False) -> None:
        self._scopes = identity.scopes
        self._itself = itself
        self._everywhere: dict[str, bool] = {}

    def __call__(self, scope: str, user: User, server: str | None) -> bool:
        """See `Sees`."""
        if self._itself and scope in {"read:users:name", "read:users:groups"}:
            return True
        if self.everywhere(scope):
            return True
        key = "" if server is None else server_key(user.name, server)
        return scopes.may(self._scopes, scope, user=user.name, server=key, groups=user.groups)

    def group(self, scope: str, name: str) -> bool:
        """Return whether the caller may do this to a group."""
        return scopes.may(self._scopes, scope, groups=(name,))

    def service(self, scope: str, service: Service) -> bool:
        """Return whether the caller may do this to a service."""
        if self._itself and scope == "read:services:name":
            return True
        return scopes.may(self._scopes, scope, service=service.name)

    def everywhere(self, scope: str) -> bool:
        """Return whether the caller has this scope without a filter. Cached, because lists check it for each item."""
        known = self._everywhere.get(scope)
        if known is None:
            known = self._everywhere[scope] = scopes.may(self._scopes, scope)
        return known

    def anywhere(self, scope: str) -> bool:
        """Return whether the caller has this scope for anything."""
        bare = frozenset(held.partition("!")[0] for held in self._scopes)
        return scopes.may(bare, scope)


def caller(request: Request[Any, Any, Any]) -> Identity | None:
    """Return the identity that the gateway found, or None."""
    return cast("Identity | None", request.scope["state"].get("identity"))


def signed_in(request: Request[Any, Any, Any]) -> Identity:
    """Return the caller's identity. Raises 403 if nobody is signed in."""
    identity = caller(request)
    if identity is None:
        raise HTTPException(status_code=403, detail="Sign in, or send a valid API token.")
    return identity


def need(request: Request[Any, Any, Any], scope: str) -> Identity:
    """Return the caller, who must have this scope without a filter. Raises 403."""
    identity = signed_in(request)
    if not View(identity).everywhere(scope):
        raise lacks(scope)
    return identity


def need_whole(request: Request[Any, Any, Any], scope: str) -> Identity:
    """As `need`, for creating something with a name (GHSA-69wv-m5fw-2fhp): with a filter it is 404, not 403."""
    identity = need_anywhere(request, scope)
    if not View(identity).everywhere(scope):
        raise HiddenError("Your scopes do not allow you to create this.")
    return identity


def need_anywhere(request: Request[Any, Any, Any], scope: str) -> Identity:
    """Return the caller, who must have this scope for something. Raises 403."""
    identity = signed_in(request)
    if not View(identity).anywhere(scope):
        raise lacks(scope)
    return identity


async def need_user(
    site: Site, request: Request[Any, Any, Any], scope: str, name: str, server: str | None = None
) -> tuple[Identity, User]:
    """Return the caller, and the user that they may do this to.

    Raises 403, or 404 (missing, or hidden from this caller).
    """
    identity = need_anywhere(request, scope)
    user = await site.store.users.get(name)
    if user is None:
        raise NotFoundError(NOT_YOURS)
    if not View(identity)(scope, user, server):
        raise HiddenError(NOT_YOURS)
    return identity, user


def rules_admins(identity: Identity) -> bool:
    """Return whether the caller may create, change and remove admins: an admin, with a credential that has all scopes.

    A weaker token of an admin could otherwise gain everything through an admin that it creates.
    """
    return identity.admin and scopes.expand(scopes.ADMIN) <= identity.scopes


def lacks(scope: str) -> HTTPException:
    """Return the refusal for a caller without this scope."""
    return HTTPException(status_code=403, detail=f"This needs the scope {scope}.")
