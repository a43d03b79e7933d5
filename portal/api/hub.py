"""The hub itself: its version, what it is made of, its health.

Owns: `/`, `/info`, `/health`. Refuses to know users.
"""

import sys
from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need
from portal.site.site import JUPYTERHUB_VERSION, Site
from portal.web.methods import read
from portal.web.responses import reply


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""
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
        """Public: 200 while this worker knows the state, 503 once Redis has been away for too long."""
        return reply({}, 200 if site.mirror.fresh else 503)

    return [root, info, health]
