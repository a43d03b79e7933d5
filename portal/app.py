"""The portal as one ASGI app: all routes and error handlers, and no state of requests.

Owns the list of handlers and their paths. Does not know sign-in or requests to apps: the gateway has put
`scope["state"]["identity"]`, and has rejected unsafe requests from other sites, before it calls this.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.datastructures import ResponseHeader, State
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from portal.api import (
    audit,
    clusters,
    connect,
    groups,
    hub,
    metrics,
    progress,
    proxy,
    retired,
    rosters,
    servers,
    services,
    share_codes,
    shared,
    shares,
    shutdown,
    tokens,
    towpath,
    user_list,
    users,
)
from portal.pages import (
    accept_share,
    admin,
    authorize,
    device,
    edit,
    entrance,
    home,
    leave,
    login,
    logout,
    moved,
    pending,
    roster,
    share,
    spawn,
    stop,
    user,
)
from portal.pages import audit as audit_page
from portal.pages import connect as connect_page
from portal.pages import tokens as token_page
from portal.refusals.mapping import handlers
from portal.servers.ending_soon import find_ending
from portal.site.site import JUPYTERHUB_VERSION, Services, Site
from portal.site.static_files import FOREVER, PICTURE_POLICY
from portal.web.clicks import check_api
from portal.web.methods import read
from portal.web.responses import BODY_LIMIT

__all__ = ["Services", "create_portal"]

Hook = Callable[[Request[Any, Any, Any]], Awaitable[None]]

API = (
    hub,
    users,
    user_list,
    servers,
    progress,
    tokens,
    groups,
    services,
    share_codes,
    shared,
    shares,
    proxy,
    shutdown,
    retired,
    metrics,
    authorize,
)
PAGES = (
    accept_share,
    login,
    logout,
    home,
    spawn,
    edit,
    pending,
    stop,
    share,
    leave,
    token_page,
    audit_page,
    admin,
    user,
    entrance,
    roster,
    moved,
    device,
    connect_page,
)


def create_portal(hub_services: Services) -> Litestar:
    """Return the app. There is one per worker process, and none has state that another would need."""
    site = Site(hub_services)

    @read("/static/{digest:str}/{name:str}", sync_to_thread=False)
    def static(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Public."""
        digest, name = request.path_params["digest"], request.path_params["name"]
        file = site.statics.find(digest, name)
        if file is None:
            raise NotFoundException
        headers = {
            "Cache-Control": FOREVER,
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": PICTURE_POLICY,
        }
        return Response(file.body, media_type=file.media_type, headers=headers)

    only_by_pages, warnings = _hooks(site)
    api: list[HTTPRouteHandler] = [handler for part in API for handler in part.routes(site)]
    pages: list[HTTPRouteHandler] = [handler for part in PAGES for handler in part.routes(site)]
    health = [
        handler for handler in [*hub.routes(site), *metrics.routes(site)] if handler.paths & {"/health", "/metrics"}
    ]
    return Litestar(
        path=hub_services.config.gateway.base_path,
        route_handlers=[
            Router(path="/hub/api", route_handlers=api, include_in_schema=False, before_request=only_by_pages),
            Router(
                path="/hub/api",
                route_handlers=[
                    *towpath.routes(site),
                    *hub.additions(site),
                    *clusters.routes(site),
                    *audit.routes(site),
                    *rosters.routes(site),
                    *connect.routes(site),
                ],
                tags=["Towpath"],
                before_request=only_by_pages,
            ),
            Router(path="/hub", route_handlers=pages, include_in_schema=False, before_request=warnings),
            Router(path="/hub", route_handlers=[*health, static], include_in_schema=False),
            *moved.at_the_root(site),
        ],
        # for Litestar's responses to OPTIONS; all other responses have it already
        response_headers=[ResponseHeader(name="X-JupyterHub-Version", value=JUPYTERHUB_VERSION)],
        exception_handlers=handlers(site),
        request_max_body_size=BODY_LIMIT,
        openapi_config=OpenAPIConfig(
            title="Towpath's additions to JupyterHub's API",
            version=hub_services.version,
            path="/hub/api/towpath",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
        state=State({"site": site}),
    )


def _hooks(site: Site) -> tuple[Hook, Hook]:
    """Return what runs before each request of the API, and of the pages."""

    async def only_by_pages(request: Request[Any, Any, Any]) -> None:
        """Reject what scripts may not do with a browser's session."""
        check_api(request, request.scope["path"].removeprefix(f"{site.hub}api"))

    async def warnings(request: Request[Any, Any, Any]) -> None:
        """Collect the warnings that every page shows."""
        await find_ending(site, request)

    return only_by_pages, warnings
