"""The API of services: read all, create and remove those that are not in the configuration.

Owns `/services`. Does not know how a service signs users in, and how it is reached.
"""

from typing import Any

from litestar import Request, Response, delete, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import View, lacks, need_anywhere, need_whole, signed_in
from portal.servers.models import service_model
from portal.site.site import Site
from portal.users import service_actions
from portal.web.methods import read
from portal.web.responses import empty, read_json, reply
from portal.web.routing import bound
from state.config.service_rules import service_name
from state.errors import InvalidError, NotFoundError
from state.names import escape
from state.records.models import Service

READING = ("read:services", "read:services:name", "read:roles:services")


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
    service = await service_actions.find(site, request.path_params["name"])
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
    body = await read_json(request, service_actions.NewService)
    if body is None:
        raise InvalidError("Describe the service.")
    service = await service_actions.add(site, request, name, body)
    return reply(shown(site, service, View(identity)), 201)


async def remove(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Remove a service that the API has added."""
    identity = need_anywhere(request, "admin:services")
    service = await service_actions.find(site, request.path_params["name"])
    if service is None or not View(identity).service("admin:services", service):
        raise NotFoundError("The service does not exist, or is not available to you.")
    if service.configured:
        raise HTTPException(status_code=405, detail=f"{service.name} is in the configuration. Remove it there.")
    await service_actions.remove(site, request, service)
    return empty(200)
