"""The API of progress events: `/users/{name}/server/progress` and the paths of named servers.

Owns the permission check and the first response. The events come from `portal.servers.progress`.
"""

from typing import Any, Final

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from portal.rights.access import need_user
from portal.servers.progress import follow, resume_point
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import API_HEADERS
from state.errors import NotFoundError
from state.records.models import Status

HEADERS: Final = {**API_HEADERS, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @read(["/users/{name:str}/server/progress", "/users/{name:str}/servers/{server:str}/progress"])
    async def progress(request: Request[Any, Any, Any]) -> Stream:
        """404: no such server. 400: it is neither starting nor ready nor failed."""
        name, server = request.path_params["name"], request.path_params.get("server", "")
        _, user = await need_user(site, request, "read:servers", name, server)
        record = await site.store.servers.get(user.name, server)
        if record is None and server:
            raise NotFoundError(f"{user.name} has no server named {server!r}.")
        if record is None or record.status is Status.STOPPED:
            raise HTTPException(status_code=400, detail=f"{user.name}/{server} is not starting.")
        after = resume_point(request.headers.get("last-event-id"))
        return Stream(follow(site, record, after=after), media_type="text/event-stream", headers=HEADERS)

    return [progress]
