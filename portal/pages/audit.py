"""The audit, for people: admins see all of it, everybody what was done to them, by themselves or by others.

Owns: `/hub/audit`, and the acts in words. Refuses to know who may read what: `portal.audit.queries`.
"""

from typing import Any, Final

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from portal.audit.queries import Asked
from portal.rights.access import signed_in
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import page
from state.records.audit import Act

WORDS: Final[dict[Act, str]] = {
    Act.SIGN_IN: "signed in",
    Act.SIGN_OUT: "signed out",
    Act.TOKEN_MADE: "made a token",
    Act.TOKEN_REVOKED: "revoked a token",
    Act.SERVER_START: "started a server",
    Act.SERVER_STOP: "stopped a server",
    Act.SERVER_REMOVED: "removed a server",
    Act.SERVER_ENDED: "server ended",
    Act.SERVER_ACCESS: "used a server",
    Act.SHARE_MADE: "shared",
    Act.SHARE_REVOKED: "ended a share",
    Act.USER_ADDED: "added a person",
    Act.USER_CHANGED: "changed a person",
    Act.USER_REMOVED: "removed a person",
    Act.GROUP_CHANGED: "changed a group",
    Act.SERVICE_CHANGED: "changed a service",
    Act.CONSENT: "let a service in",
    Act.HUB: "changed the hub",
    Act.REQUEST: "asked for something",
}


TRIED: Final[dict[Act, str]] = {
    **WORDS,
    Act.SIGN_IN: "tried to sign in",
    Act.SERVER_ACCESS: "tried to use a server",
}
"""The same for what was refused."""
FIELDS: Final = ("who", "user", "act", "outcome", "since", "until")
"""What the form has; the rest of the API's filters hold too."""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""

    @read("/audit")
    async def show(request: Request[Any, Any, Any]) -> Response[bytes]:
        """With the API's filters in the query."""
        asked = Asked(request)
        entries, older = await asked.page(site)
        filters = {name: value for name, value in asked.given.items() if name != "before"}
        return page(
            site,
            request,
            "audit.html",
            user=signed_in(request).user,
            everything=asked.everything,
            entries=entries,
            words=WORDS,
            tried=TRIED,
            given={name: filters.get(name, "") for name in FIELDS},
            filtered=any(filters.values()),
            newest=site.at("audit", **filters) if asked.before else "",
            older=site.at("audit", **{**filters, "before": older}) if older else "",
        )

    return [show]
