"""Deprecated paths that JupyterHub still answers.

Owns `/authorizations/...` and `/users/{name}/admin-access`. New programs should use `/user`, which returns the owner of
a token is.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.api import services, users
from portal.rights.access import View, need_user, signed_in
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import reply
from state.errors import NotFoundError
from state.store.credentials import digest


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    def by_token(request: Request[Any, Any, Any]) -> None:
        if signed_in(request).token is None:
            raise HTTPException(status_code=403, detail="This is only for API tokens.")

    @read("/authorizations/token/{token:str}")
    async def whose_token(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Return the owner of a token. Callers with any valid token may read it."""
        by_token(request)
        identity = await site.mirror.identify_token(digest(request.path_params["token"]))
        if identity is None:
            raise NotFoundError("The token does not exist.")
        view = View(identity, itself=True)
        if identity.service is not None:
            return reply(services.shown(site, identity.service, view))
        found = await site.store.users.get_with_servers(identity.name) or (identity.user, [], {})
        return reply(await users.shown(site, found, view, include_stopped=False))

    @post("/authorizations/token")
    async def old_way() -> Response[bytes]:
        """Public, and removed in JupyterHub 2.0."""
        raise NotFoundError("This was removed in JupyterHub 2.0. Use /hub/api/users/:user/tokens instead.")

    @read("/authorizations/cookie/{cookie_name:str}/{cookie_value:str}")
    async def whose_cookie(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Always 404: a cookie in a URL would be logged."""
        by_token(request)
        raise NotFoundError("Sessions cannot be looked up by their cookies. Use /hub/api/user with OAuth tokens.")

    @post("/users/{name:str}/admin-access")
    async def admin_access(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Return JupyterHub's response without `admin_access`: access to servers is controlled by scopes."""
        await need_user(site, request, "servers", request.path_params["name"])
        raise HTTPException(status_code=403, detail="Access to other users' servers needs the scope access:servers.")

    return [whose_token, old_way, whose_cookie, admin_access]
