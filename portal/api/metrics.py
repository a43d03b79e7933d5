"""`/hub/api/metrics` and `/hub/metrics`.

Owns who may read the metrics. Does not know what is measured.
"""

from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need
from portal.servers import metrics
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import API_HEADERS


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers, under the API's path and again under /hub."""

    @read("/metrics")
    async def scrape(request: Request[Any, Any, Any]) -> Response[bytes]:
        need(request, "read:metrics")
        return Response(await metrics.scrape(site), media_type=metrics.MEDIA_TYPE, headers=API_HEADERS)

    return [scrape]
