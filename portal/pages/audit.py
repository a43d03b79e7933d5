"""The audit as a page: admins see everything, users see their own acts and what was done to them.

Owns `/hub/audit`, and the labels of acts. Does not know who may read what: `portal.audit.queries`.
"""

from typing import Any, Final

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from portal.audit.queries import AuditQuery
from portal.rights.access import signed_in
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import page
from state.records.audit import Act

LABELS: Final[dict[Act, str]] = {
    Act.SIGN_IN: "signed in",
    Act.SIGN_OUT: "signed out",
    Act.TOKEN_MADE: "created a token",
    Act.TOKEN_REVOKED: "revoked a token",
    Act.SERVER_START: "started a server",
    Act.SERVER_STOP: "stopped a server",
    Act.SERVER_REMOVED: "removed a server",
    Act.SERVER_ENDED: "server ended",
    Act.SERVER_ACCESS: "used a server",
    Act.SERVER_CONNECT: "connected to a server by SSH",
    Act.SHARE_MADE: "shared",
    Act.SHARE_REVOKED: "ended a share",
    Act.USER_ADDED: "added a user",
    Act.USER_CHANGED: "changed a user",
    Act.USER_REMOVED: "removed a user",
    Act.GROUP_CHANGED: "changed a group",
    Act.SERVICE_CHANGED: "changed a service",
    Act.CONSENT: "allowed a service",
    Act.HUB: "changed the hub",
    Act.REQUEST: "made a request",
}


TRIED: Final[dict[Act, str]] = {
    **LABELS,
    Act.SIGN_IN: "tried to sign in",
    Act.SERVER_ACCESS: "tried to use a server",
    Act.SERVER_CONNECT: "tried to connect to a server by SSH",
}
"""The same for rejected acts."""
FIELDS: Final = ("who", "user", "act", "outcome", "since", "until")
"""The fields of the form. The API's other filters work too."""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @read("/audit")
    async def show(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Show entries, with the API's filters in the query."""
        query = AuditQuery(request)
        entries, older = await query.page(site)
        filters = {name: value for name, value in query.arguments.items() if name != "before"}
        return page(
            site,
            request,
            "audit.html",
            user=signed_in(request).user,
            everything=query.everything,
            entries=entries,
            actions=LABELS,
            tried=TRIED,
            given={name: filters.get(name, "") for name in FIELDS},
            filtered=any(filters.values()),
            newest=site.at("audit", **filters) if query.before else "",
            older=site.at("audit", **{**filters, "before": older}) if older else "",
        )

    return [show]
