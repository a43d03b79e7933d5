"""The API of services: read all, create and remove those that are not in the configuration.

Owns `/services`. Does not know how a service signs users in, and how it is reached.
"""

import secrets
from typing import Any

import msgspec
from litestar import Request, Response, delete, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.audit import recorder
from portal.rights.access import View, lacks, need_anywhere, need_whole, rules_admins, signed_in
from portal.servers.models import service_model
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import empty, read_json, reply
from portal.web.routing import bound
from state.config.service_rules import SECRET_LEAST, is_redirect, is_secret, is_url, service_name
from state.errors import LimitError, NotFoundError
from state.names import escape
from state.records.audit import Act
from state.records.models import Service, Token
from state.rights import scopes
from state.rights.identity import Identity
from state.store.credentials import digest

READING = ("read:services", "read:services:name", "read:roles:services")


class NewService(msgspec.Struct, forbid_unknown_fields=True):
    """The body for a new service, as in JupyterHub. `command` and other fields of managed services are rejected."""

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


def shown(site: Site, service: Service, view: View) -> dict[str, Any]:
    """Return the model of a service with the fields that the caller may see."""
    prefix = f"{site.base}services/{escape(service.name)}/"
    return service_model(service, site.roles.of_service(service), lambda scope: view.service(scope, service), prefix)


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/services"), every),
        bound(site, read("/services/{name:str}"), one),
        bound(site, post("/services/{name:str}"), add),
        bound(site, delete("/services/{name:str}", status_code=200), remove),
    ]


async def _find(site: Site, name: str) -> Service | None:
    return site.roles.services.get(name) or await site.store.services.get(name)


async def every(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return an object, name → model, as JupyterHub does (its rest-api.yml says a list)."""
    view = View(need_anywhere(request, "list:services"))
    made = {service.name: service for service in await site.store.services.every()}
    every = {**made, **site.roles.services}
    return reply(
        {name: shown(site, every[name], view) for name in sorted(every) if view.service("list:services", every[name])}
    )


async def one(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return one service."""
    view = View(signed_in(request))
    service = await _find(site, request.path_params["name"])
    model = shown(site, service, view) if service else {}
    if not model:
        if not any(view.anywhere(scope) for scope in READING):
            raise lacks("read:services")
        raise NotFoundError("This service does not exist, or is not available to you.")
    return reply(model)


async def add(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Add a service."""
    identity = need_whole(request, "admin:services")
    name = service_name(request.path_params["name"])
    body = await read_json(request, NewService)
    if body is None:
        raise HTTPException(status_code=400, detail="Describe the service.")
    service = _checked(identity, name, body)
    limit = site.config.limits.services
    if await site.store.services.count() >= limit:
        raise LimitError(f"The hub can have at most {limit} services. Remove one first.")
    if await _find(site, name) is not None or not await site.store.services.add(service):
        raise HTTPException(status_code=409, detail=f"Service {name} already exists.")
    if body.api_token:
        token = Token(id=secrets.token_hex(8), service=name, scopes=("inherit",), created=site.clock(), note="Its own")
        await site.store.tokens.keep(token, digest(body.api_token))
    await recorder.note(
        site.store, request, Act.SERVICE_CHANGED, what=f"{name} is made{', admin' if service.admin else ''}"
    )
    return reply(shown(site, service, View(identity)), 201)


async def remove(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Remove a service that the API has added."""
    identity = need_anywhere(request, "admin:services")
    service = await _find(site, request.path_params["name"])
    if service is None or not View(identity).service("admin:services", service):
        raise NotFoundError("The service does not exist, or is not available to you.")
    if service.configured:
        raise HTTPException(status_code=405, detail=f"{service.name} is in the configuration. Remove it there.")
    _only_admins(identity, service.admin)
    await site.store.services.remove(service.name)
    await site.store.tokens.revoke_all(service.key)
    await site.store.tokens.end_bound(service.key)
    await site.store.feed.revoke(user=service.key)
    await recorder.note(site.store, request, Act.SERVICE_CHANGED, what=f"{service.name} is removed")
    return empty(200)


def _checked(identity: Identity, name: str, body: NewService) -> Service:
    """Return the service that the body describes. Raises 400 and 403."""
    if body.command or body.cwd or body.environment or body.user:
        raise HTTPException(status_code=400, detail="The hub cannot start services. Omit command.")
    if body.oauth_client_id not in {"", f"service-{name}"}:
        raise HTTPException(status_code=400, detail=f"The OAuth client of this service must be service-{name}.")
    if body.url and not is_url(body.url):
        raise HTTPException(status_code=400, detail="url must be http://host:port or https://host:port.")
    if body.oauth_redirect_uri and not is_redirect(body.oauth_redirect_uri):
        raise HTTPException(status_code=400, detail="oauth_redirect_uri must be a URL, or a path of this hub.")
    if body.api_token and not is_secret(body.api_token):
        raise HTTPException(status_code=400, detail=f"api_token must have at least {SECRET_LEAST} ASCII characters.")
    _only_admins(identity, body.admin)
    wanted = scopes.granted(body.oauth_client_allowed_scopes, "")
    if not all(scopes.known(scope) for scope in body.oauth_client_allowed_scopes):
        raise HTTPException(status_code=400, detail="oauth_client_allowed_scopes contains an unknown scope.")
    if not wanted <= scopes.narrow(wanted, identity.scopes, user=identity.name):
        raise HTTPException(status_code=403, detail="You do not have all of oauth_client_allowed_scopes.")
    return Service(
        name=name,
        url=body.url,
        admin=body.admin,
        oauth_redirect_uris=(body.oauth_redirect_uri,) if body.oauth_redirect_uri else (),
        oauth_scopes=tuple(body.oauth_client_allowed_scopes),
        oauth_no_confirm=body.oauth_no_confirm,
        info=body.info,
        display=body.display,
        id=secrets.token_hex(8),
    )


def _only_admins(identity: Identity, admin: bool) -> None:  # noqa: FBT001
    """Raise 403 for an admin with a restricted token, who cannot create or remove a service that is an admin."""
    if admin and not rules_admins(identity):
        raise HTTPException(status_code=403, detail="Only admins, with all of their rights, make or remove admins.")
