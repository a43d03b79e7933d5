"""Towpath's additions to the API, under /hub/api/towpath: profiles, and the starter's reports.

Owns their URLs and their place in the OpenAPI page. Does not know what a report changes.
"""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from portal.rights.access import signed_in
from portal.servers import metrics
from portal.servers.report_messages import Report, fault
from portal.servers.reports import REPORT_LIMIT, accept
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import read_body, reply
from state.config.tables import ProfileConfig
from state.offer.app_ports import shares_port

_report = msgspec.json.Decoder(Report)


class OptionShown(Struct):
    """An option of a profile."""

    title: str
    help: str
    kind: str
    default: Any
    minimum: int | None
    maximum: int | None
    values: tuple[str, ...]


class ProfileShown(Struct):
    """A profile, without its command and environment. `cluster`: the first of its clusters, which is the default."""

    name: str
    title: str
    description: str
    cluster: str
    clusters: tuple[str, ...]
    app: str
    shared_node_port: bool
    options: dict[str, OptionShown]


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    offered = [_shown(profile) for profile in site.config.profile]

    @read("/towpath/profiles", sync_to_thread=False, summary="What the form offers", media_type=MediaType.JSON)
    def profiles(request: Request[Any, Any, Any]) -> list[ProfileShown]:
        """Return the profiles. All signed-in callers may read them."""
        signed_in(request)
        return offered

    @post(
        "/towpath/report", status_code=200, summary="Accept a starter's report", include_in_schema=True, responses=None
    )
    async def report(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Accept a report.

        From a job: `{"user", "server", "attempt", "kind": "running" | "ready" | "warning" | "ended" | "failed", ...}`
        with `Authorization: token <report token>`. 200: accepted (also if repeated). 400: rejected. 403: wrong
        token. 404: no such server (`stop` false: try again). 409 with `stop` true: this attempt has ended, stop the
        app. 5xx: try again.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in {"token", "bearer"} or not token:
            raise HTTPException(status_code=401, detail="Send the report token.")
        try:
            report = _report.decode(await read_body(request, REPORT_LIMIT))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HTTPException(status_code=400, detail=f"The report is not valid: {error}") from error
        wrong = fault(report)
        if wrong:
            raise HTTPException(status_code=400, detail=wrong)
        response = await accept(site, report, token.strip())
        metrics.REPORTS.labels(metrics.WORKER, type(report).__name__.lower(), str(response.status)).inc()
        return reply(response.body, response.status)

    return [profiles, report]


def _shown(profile: ProfileConfig) -> ProfileShown:
    return ProfileShown(
        name=profile.name,
        title=profile.title or profile.name,
        description=profile.description,
        cluster=profile.clusters[0],
        clusters=profile.clusters,
        app=profile.app,
        shared_node_port=shares_port(profile),
        options={
            name: OptionShown(
                title=option.title or name,
                help=option.help,
                kind=option.kind,
                default=option.default,
                minimum=option.minimum,
                maximum=option.maximum,
                values=option.values,
            )
            for name, option in profile.option.items()
        },
    )
