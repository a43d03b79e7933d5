"""Bind module-level handlers, which take the site and the request, to routes."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from portal.site.site import Site

Handler = Callable[[Site, Request[Any, Any, Any]], Awaitable[Response[Any]]]


def bound(site: Site, route: HTTPRouteHandler, handler: Handler) -> HTTPRouteHandler:
    """Return `route` with `handler` as its function, called with this site."""

    @wraps(handler)
    async def call(request: Request[Any, Any, Any]) -> Response[Any]:
        return await handler(site, request)

    # Litestar reads the parameters from the signature, which `wraps` has replaced by the handler's.
    del call.__wrapped__
    call.__annotations__ = {"request": Request[Any, Any, Any], "return": Response[Any]}
    return route(call)
