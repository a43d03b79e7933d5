"""The hub itself: version, components and health (`/`, `/info`, `/health`, `/towpath/health`)."""

import sys
from typing import Any

from litestar import MediaType, Request, Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from portal.rights.access import need
from portal.site.site import JUPYTERHUB_VERSION, Site
from portal.web.methods import read
from portal.web.responses import reply


class ProblemShown(Struct):
    """A problem. `code` is stable and for programs; `since` is in seconds since the epoch."""

    code: str
    part: str
    host: str
    message: str
    since: float


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    version = site.version

    @read("/")
    async def root() -> Response[bytes]:
        """Public: clients compare the version."""
        return reply({"version": JUPYTERHUB_VERSION, "towpath": version}, headers={"Access-Control-Allow-Origin": "*"})

    @read("/info")
    async def info(request: Request[Any, Any, Any]) -> Response[bytes]:
        need(request, "read:hub")
        return reply(
            {
                "version": JUPYTERHUB_VERSION,
                "towpath": version,
                "python": sys.version,
                "sys_executable": sys.executable,
                "spawner": {"class": "towpath", "version": version},
                "authenticator": {"class": "towpath", "version": version},
            }
        )

    @read("/health")
    async def health() -> Response[bytes]:
        """Public: 200 while this worker can serve requests, 503 once the store has been unavailable for too long.

        As in JupyterHub, a load balancer can use the status. `problems` are the codes of problems in other parts of
        the hub from working: a worker that serves open notebooks stays in service.
        """
        codes = sorted({problem.code for problem in site.health.problems})
        return reply({"problems": codes} if codes else {}, 200 if site.mirror.fresh else 503)

    return [root, info, health]


def additions(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers that JupyterHub's API does not have."""

    @read("/towpath/health", summary="What keeps the hub from working", media_type=MediaType.JSON)
    async def problems(request: Request[Any, Any, Any]) -> list[ProblemShown]:
        """Return the hub's problems, for admins and monitoring. Needs the scope `read:hub`. Empty: none is known."""
        need(request, "read:hub")
        return [
            ProblemShown(code=one.code, part=one.part, host=one.host, message=one.message, since=one.since)
            for one in site.health.problems
        ]

    return [problems]
