"""What JupyterHub still answers of what it has retired.

Owns: `/authorizations/...` and `/users/{name}/admin-access`. Refuses to be used by anything new: `/user` says whose a
token is.
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
    """The handlers."""

    def by_token(request: Request[Any, Any, Any]) -> None:
        if signed_in(request).token is None:
            raise HTTPException(status_code=403, detail="This is for API tokens alone.")

    @read("/authorizations/token/{token:str}")
    async def whose_token(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Whoever holds a token may ask whose another one is."""
        by_token(request)
        identity = await site.mirror.identify_token(digest(request.path_params["token"]))
        if identity is None:
            raise NotFoundError("There is no such token.")
        view = View(identity, itself=True)
        if identity.service is not None:
            return reply(services.shown(site, identity.service, view))
        found = await site.store.users.get_with_servers(identity.name) or (identity.user, [], {})
        return reply(await users.shown(site, found, view, include_stopped=False))

    @post("/authorizations/token")
    async def old_way() -> Response[bytes]:
        """Public, and removed in JupyterHub 2.0."""
        raise NotFoundError("This is gone since JupyterHub 2.0: use /hub/api/users/:user/tokens instead.")

    @read("/authorizations/cookie/{cookie_name:str}/{cookie_value:str}")
    async def whose_cookie(request: Request[Any, Any, Any]) -> Response[bytes]:
        """No session is known by a cookie in an URL: it would stand in logs."""
        by_token(request)
        raise NotFoundError("Sessions are not known by their cookies here: use /hub/api/user with OAuth tokens.")

    @post("/users/{name:str}/admin-access")
    async def admin_access(request: Request[Any, Any, Any]) -> Response[bytes]:
        """JupyterHub's answer where `admin_access` is off: who may reach a server is a matter of scopes."""
        await need_user(site, request, "servers", request.path_params["name"])
        raise HTTPException(status_code=403, detail="Access to others' servers goes by the scope access:servers.")

    return [whose_token, old_way, whose_cookie, admin_access]
