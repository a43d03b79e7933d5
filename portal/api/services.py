"""Services: list, look; make and remove those that are not in the configuration.

Owns: `/services`. Refuses to know how a service signs people in, and how it is reached.
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
    """What may be said of a new service, as JupyterHub has it. `command` and its kin are for managed ones: refused."""

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
    """The model of a service as one caller sees it."""
    prefix = f"{site.base}services/{escape(service.name)}/"
    return service_model(service, site.roles.of_service(service), lambda scope: view.service(scope, service), prefix)


def routes(site: Site) -> list[HTTPRouteHandler]:  # noqa: C901 - a list of handlers, each small
    """The handlers."""
    store = site.store

    async def find(name: str) -> Service | None:
        return site.roles.services.get(name) or await store.services.get(name)

    @read("/services")
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        """An object: name → model, as JupyterHub answers (its rest-api.yml says a list)."""
        view = View(need_anywhere(request, "list:services"))
        made = {service.name: service for service in await store.services.every()}
        every = {**made, **site.roles.services}
        return reply(
            {
                name: shown(site, every[name], view)
                for name in sorted(every)
                if view.service("list:services", every[name])
            }
        )

    @read("/services/{name:str}")
    async def one(request: Request[Any, Any, Any]) -> Response[bytes]:
        view = View(signed_in(request))
        service = await find(request.path_params["name"])
        model = shown(site, service, view) if service else {}
        if not model:
            if not any(view.anywhere(scope) for scope in READING):
                raise lacks("read:services")
            raise NotFoundError("This service does not exist, or is not available to you.")
        return reply(model)

    @post("/services/{name:str}")
    async def add(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = need_whole(request, "admin:services")
        name = service_name(request.path_params["name"])
        wish = await read_json(request, NewService)
        if wish is None:
            raise HTTPException(status_code=400, detail="Describe the service.")
        service = _checked(identity, name, wish)
        limit = site.config.limits.services
        if await store.services.count() >= limit:
            raise LimitError(f"The hub has {limit} services, and allows no more. Remove one first.")
        if await find(name) is not None or not await store.services.add(service):
            raise HTTPException(status_code=409, detail=f"Service {name} already exists.")
        if wish.api_token:
            token = Token(
                id=secrets.token_hex(8), service=name, scopes=("inherit",), created=site.clock(), note="Its own"
            )
            await store.tokens.keep(token, digest(wish.api_token))
        await recorder.note(
            store, request, Act.SERVICE_CHANGED, what=f"{name} is made{', admin' if service.admin else ''}"
        )
        return reply(shown(site, service, View(identity)), 201)

    @delete("/services/{name:str}", status_code=200)
    async def remove(request: Request[Any, Any, Any]) -> Response[bytes]:
        identity = need_anywhere(request, "admin:services")
        service = await find(request.path_params["name"])
        if service is None or not View(identity).service("admin:services", service):
            raise NotFoundError("There is no such service, or it is not yours to remove.")
        if service.configured:
            raise HTTPException(status_code=405, detail=f"{service.name} stands in the configuration: change that.")
        _only_admins(identity, service.admin)
        await store.services.remove(service.name)
        await store.tokens.revoke_all(service.key)
        await store.tokens.end_bound(service.key)
        await store.feed.revoke(user=service.key)
        await recorder.note(store, request, Act.SERVICE_CHANGED, what=f"{service.name} is removed")
        return empty(200)

    return [every, one, add, remove]


def _checked(identity: Identity, name: str, wish: NewService) -> Service:
    """The service that is wished for. Raises 400 and 403."""
    if wish.command or wish.cwd or wish.environment or wish.user:
        raise HTTPException(status_code=400, detail="The hub starts no services: run it yourself, without command.")
    if wish.oauth_client_id not in {"", f"service-{name}"}:
        raise HTTPException(status_code=400, detail=f"A service's OAuth client is service-{name}.")
    if wish.url and not is_url(wish.url):
        raise HTTPException(status_code=400, detail="url is http://host:port or https://host:port.")
    if wish.oauth_redirect_uri and not is_redirect(wish.oauth_redirect_uri):
        raise HTTPException(status_code=400, detail="oauth_redirect_uri is an URL, or a path of this hub.")
    if wish.api_token and not is_secret(wish.api_token):
        raise HTTPException(status_code=400, detail=f"api_token has {SECRET_LEAST} or more ASCII characters.")
    _only_admins(identity, wish.admin)
    wanted = scopes.granted(wish.oauth_client_allowed_scopes, "")
    if not all(scopes.known(scope) for scope in wish.oauth_client_allowed_scopes):
        raise HTTPException(status_code=400, detail="oauth_client_allowed_scopes has a scope that there is not.")
    if not wanted <= scopes.narrow(wanted, identity.scopes, user=identity.name):
        raise HTTPException(status_code=403, detail="oauth_client_allowed_scopes has more than you may do.")
    return Service(
        name=name,
        url=wish.url,
        admin=wish.admin,
        oauth_redirect_uris=(wish.oauth_redirect_uri,) if wish.oauth_redirect_uri else (),
        oauth_scopes=tuple(wish.oauth_client_allowed_scopes),
        oauth_no_confirm=wish.oauth_no_confirm,
        info=wish.info,
        display=wish.display,
        id=secrets.token_hex(8),
    )


def _only_admins(identity: Identity, admin: bool) -> None:  # noqa: FBT001
    """An admin who uses a lesser token does not make, or end, a service that may do all."""
    if admin and not rules_admins(identity):
        raise HTTPException(status_code=403, detail="Only admins, with all of their rights, make or remove admins.")
