"""The page on which a user approves a program that shows a code: type it, look at who asks, approve.

Owns `/hub/device`. No link contains a code, so that nobody approves a program of someone else by following one.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import signed_in
from portal.site.site import Site
from portal.users import device_actions
from portal.web.methods import read
from portal.web.responses import page, read_form
from portal.web.routing import bound
from state.rights.identity import Identity

UNKNOWN = "This code is not valid (any more). Check it, or start again in the program to get a new one."


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/device"), ask),
        bound(site, post("/device", status_code=200), decide),
    ]


def _in_browser(request: Request[Any, Any, Any]) -> Identity:
    """Return the caller, who must use a browser. Raises 403."""
    identity = signed_in(request)
    if identity.session is None:
        raise HTTPException(status_code=403, detail="Sign in with a browser to approve a program.")
    return identity


async def ask(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show the field for the code."""
    return _show(site, request, _in_browser(request))


async def decide(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show who asks with this code; with a decision, carry it out."""
    identity = _in_browser(request)
    fields = await read_form(request)
    code, decision = fields.get("code", "")[:64], fields.get("decision", "")
    try:
        if decision == "approve":
            done = await device_actions.approve(site, identity, code)
            return _show(site, request, identity, done="approved" if done else "", problem="" if done else UNKNOWN)
        if decision == "deny":
            await device_actions.deny(site, identity, code)
            return _show(site, request, identity, done="denied")
        waits = await device_actions.find(site, identity, code)
    except device_actions.TooManyError as error:
        return _show(site, request, identity, problem=str(error))
    return _show(site, request, identity, code=code, waits=waits, problem="" if waits else UNKNOWN)


def _show(
    site: Site,
    request: Request[Any, Any, Any],
    identity: Identity,
    *,
    code: str = "",
    waits: object = None,
    done: str = "",
    problem: str = "",
) -> Response[bytes]:
    status = 400 if problem else 200
    return page(
        site, request, "device.html", status, user=identity.user, code=code, waits=waits, done=done, problem=problem
    )
