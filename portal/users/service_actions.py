"""What can be done to services: each act once, with its audit entry.

Owns the checks of a new service. Does not know how a service signs users in, and how it is reached.
"""

import secrets
from typing import Any

import msgspec
from litestar import Request

from portal.audit import recorder
from portal.rights.access import rules_admins, signed_in
from portal.site.site import Site
from state.config.service_rules import SECRET_LEAST, is_redirect, is_secret, is_url
from state.errors import ConflictError, InvalidError, LimitError, NotAllowedError
from state.records.audit import Act
from state.records.models import Service, Token
from state.rights import scopes
from state.rights.identity import Identity
from state.store.credentials import digest


class NewService(msgspec.Struct, forbid_unknown_fields=True):
    """A new service, as in JupyterHub's API. `command` and other fields of managed services are rejected."""

    name: str | None = None
    admin: bool = False
    url: str = ""
    api_token: str = ""
    info: dict[str, Any] = {}
    display: bool = True
    oauth_client_allowed_scopes: list[str] = []
    oauth_no_confirm: bool = False
    oauth_client_id: str = ""
    oauth_redirect_uri: str = ""
    command: list[str] = []
    cwd: str = ""
    environment: dict[str, Any] = {}
    user: str = ""


async def find(site: Site, name: str) -> Service | None:
    """Return the service of this name, of the configuration or of the store."""
    return site.roles.services.get(name) or await site.store.services.get(name)


async def add(site: Site, request: Request[Any, Any, Any], name: str, new: NewService) -> Service:
    """Add a service. The caller has the scope `admin:services`.

    Raises InvalidError, NotAllowedError, LimitError, and ConflictError if the name is taken.
    """
    service = _checked(signed_in(request), name, new)
    limit = site.config.limits.services
    if await site.store.services.count() >= limit:
        raise LimitError(f"The hub can have at most {limit} services. Remove one first.")
    if await find(site, name) is not None or not await site.store.services.add(service):
        raise ConflictError(f"Service {name} already exists.")
    if new.api_token:
        token = Token(id=secrets.token_hex(8), service=name, scopes=("inherit",), created=site.clock(), note="Its own")
        await site.store.tokens.keep(token, digest(new.api_token))
    what = f"{name} is made{', admin' if service.admin else ''}"
    await recorder.note(site.store, request, Act.SERVICE_CHANGED, what=what)
    return service


async def remove(site: Site, request: Request[Any, Any, Any], service: Service) -> None:
    """Remove a service of the store, with its tokens. The caller has the scope `admin:services` for it.

    Raises NotAllowedError.
    """
    _only_admins(signed_in(request), service.admin)
    await site.store.services.remove(service.name)
    await site.store.tokens.revoke_all(service.key)
    await site.store.tokens.end_bound(service.key)
    await site.store.feed.revoke(user=service.key)
    await recorder.note(site.store, request, Act.SERVICE_CHANGED, what=f"{service.name} is removed")


def _checked(identity: Identity, name: str, new: NewService) -> Service:
    """Return the service that is described. Raises InvalidError and NotAllowedError."""
    if new.command or new.cwd or new.environment or new.user:
        raise InvalidError("The hub cannot start services. Omit command.")
    if new.oauth_client_id not in {"", f"service-{name}"}:
        raise InvalidError(f"The OAuth client of this service must be service-{name}.")
    if new.url and not is_url(new.url):
        raise InvalidError("url must be http://host:port or https://host:port.")
    if new.oauth_redirect_uri and not is_redirect(new.oauth_redirect_uri):
        raise InvalidError("oauth_redirect_uri must be a URL, or a path of this hub.")
    if new.api_token and not is_secret(new.api_token):
        raise InvalidError(f"api_token must have at least {SECRET_LEAST} ASCII characters.")
    _only_admins(identity, new.admin)
    allowed = scopes.granted(new.oauth_client_allowed_scopes, "")
    if not all(scopes.known(scope) for scope in new.oauth_client_allowed_scopes):
        raise InvalidError("oauth_client_allowed_scopes contains an unknown scope.")
    if not allowed <= scopes.narrow(allowed, identity.scopes, user=identity.name):
        raise NotAllowedError("You do not have all of oauth_client_allowed_scopes.")
    return Service(
        name=name,
        url=new.url,
        admin=new.admin,
        oauth_redirect_uris=(new.oauth_redirect_uri,) if new.oauth_redirect_uri else (),
        oauth_scopes=tuple(new.oauth_client_allowed_scopes),
        oauth_no_confirm=new.oauth_no_confirm,
        info=new.info,
        display=new.display,
        id=secrets.token_hex(8),
    )


def _only_admins(identity: Identity, admin: bool) -> None:  # noqa: FBT001
    """Raise NotAllowedError for an admin with a restricted token, who cannot change services that are admins."""
    if admin and not rules_admins(identity):
        raise NotAllowedError("Only admins, with all of their rights, make or remove admins.")
