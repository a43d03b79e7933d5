"""The sharing of one server: see, grant and revoke access, create and revoke links.

Owns `/hub/share/...`. Does not know what may be shared with whom: `portal.sharing.share_actions`, as for the API.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.refusals.mapping import note_refusal
from portal.sharing import share_actions, share_models
from portal.site.site import Site
from portal.web.methods import read
from portal.web.pagination import part_of
from portal.web.responses import arguments, go, page, read_form
from state.errors import InvalidError, LimitError, NameRuleError, NotAllowedError, NotFoundError
from state.names import group_name, user_name
from state.records.models import Share, ShareCode, User
from state.rights import scopes
from state.rights.identity import Identity

PATHS = ["/share/{name:str}", "/share/{name:str}/{server:str}"]
LIFETIMES: Final = (("3600", "1 hour"), ("86400", "1 day"), ("604800", "1 week"), ("2592000", "30 days"))
BLANK: Final = {"kind": "user", "name": "", "level": "read"}
BLANK_LINK: Final = {"level": "read", "expires_in": str(share_actions.DAY)}
TYPED_MAX: Final = 300
LEVELS: Final = ("read", "full")
ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}")
PLAIN: Final = re.compile(r"[\w.@+-]{1,64}")
"""Names from a URL that a message may repeat.

Others are left out: the author of the URL could have written anything.
"""


Fields = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Errors by field, and what was typed."""

    name: str = ""
    level: str = ""
    link: str = ""
    typed: Fields = field(default_factory=BLANK.copy)
    typed_link: Fields = field(default_factory=BLANK_LINK.copy)
    status: int = 400


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a request is about: the caller, and the owner of the server."""

    site: Site
    request: Request[Any, Any, Any]
    identity: Identity
    owner: User
    server: str


def names_in_reach(identity: Identity, scope: str) -> bool:
    """Return whether the caller may share by name, because they may see the names of some others. Pure."""
    mine = f"user={identity.name}"
    held = (one.partition("!")[::2] for one in identity.scopes)
    return any(name in scopes.CONTAINERS[scope] and _reaches(where) and where != mine for name, where in held)


def _reaches(where: str) -> bool:
    return not where or where.startswith(("user=", "group="))


def message_for(query: dict[str, str], shares: Sequence[Share], codes: Sequence[ShareCode]) -> str:
    """Describe what was just done, if it is still so. A URL cannot bring its own text. Pure."""
    done, key = query.get("done", ""), query.get("whom", "")
    found = next((share for share in shares if share.key == key), None)
    whom = key.removeprefix("group:")
    stay = " Users who accepted it keep access until you revoke it." if shares else ""
    match done:
        case "given" if found is not None:
            level = "full" if share_models.beyond_reading(found.scopes) else "read-only"
            return f"{whom} now has {level} access. The server is listed on their home page."
        case "taken" if found is None:
            of = f" of {whom}" if PLAIN.fullmatch(whom) else ""
            live = " A link below is still active, so users who have it can get access again." if codes else ""
            return f"Access{of} was revoked, and open connections were closed.{live}"
        case "ended":
            return f"The link was revoked.{stay}"
        case "ended-all" if not codes:
            return f"All links were revoked.{stay}"
        case "stopped" if not shares and not codes:
            return "This server is no longer shared. All links were revoked, and open connections were closed."
        case _:
            return ""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    async def place(request: Request[Any, Any, Any]) -> Place:
        """Return the place of a request. Raises 403 and 404, as the API does."""
        name, server = request.path_params["name"], request.path_params.get("server", "")
        identity, owner = await share_actions.need_server(site, request, "shares", name, server)
        return Place(site=site, request=request, identity=identity, owner=owner, server=server)

    @read(PATHS)
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await _show(await place(request))

    @post(PATHS, status_code=200)
    async def act(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Do what the field `act` says. Return 303 to the page, or the page with errors or a new link."""
        at = await place(request)
        fields = await read_form(request)
        action = ACTS.get(fields.get("act", ""))
        if action is None:
            raise HTTPException(status_code=400, detail="This action does not exist.")
        return await action(at, fields)

    return [every, act]


async def _show(at: Place, *, faults: Faults | None = None, link: str = "") -> Response[bytes]:
    site, owner = at.site, at.owner.name
    shares = await site.store.shares.of_owner(owner, at.server)
    codes = await site.store.shares.codes(owner, at.server)
    record = await site.store.servers.get(owner, at.server)
    profile = site.config.profile_named(record.profile) if record else None
    return page(
        site,
        at.request,
        "share.html",
        faults.status if faults else 200,
        user=at.identity.user,
        owner=owner,
        name=at.server,
        server=record,
        title=(record.display_name if record else "") or at.server,
        app=profile.app if profile else "",
        shares=part_of(at.request, shares),
        codes=part_of(at.request, codes[::-1], key="links"),
        in_short=share_models.in_short,
        users=names_in_reach(at.identity, share_actions.READ_USER),
        groups=names_in_reach(at.identity, share_actions.READ_GROUP),
        faults=faults or Faults(),
        notice="" if faults or link else message_for(arguments(at.request), shares, codes),
        link=link,
        lifetimes=LIFETIMES,
    )


def _back(at: Place, done: str, whom: str = "") -> Response[bytes]:
    return go(at.site.at("share", at.owner.name, at.server, done=done, whom=whom))


async def _give(at: Place, fields: Fields) -> Response[bytes]:
    typed = {key: fields.get(key, usual)[:TYPED_MAX] for key, usual in BLANK.items()}
    if typed["level"] not in LEVELS:
        return await _show(at, faults=Faults(level="Select the access.", typed=typed))
    to_group = typed["kind"] == "group"
    try:
        whom = group_name(typed["name"]) if to_group else user_name(typed["name"])
        share = await share_actions.put(
            at.site,
            at.request,
            at.owner,
            at.server,
            user="" if to_group else whom,
            group=whom if to_group else "",
            full=typed["level"] == "full",
        )
    except (NameRuleError, InvalidError, LimitError) as error:
        return await _show(at, faults=Faults(name=str(error), typed=typed))
    except NotAllowedError as error:
        await note_refusal(at.site, at.request, str(error))
        return await _show(at, faults=Faults(name=str(error), typed=typed, status=403))
    return _back(at, "given", share.key)


async def _take(at: Place, fields: Fields) -> Response[bytes]:
    user, group = fields.get("user", ""), fields.get("group", "")
    await share_actions.take(at.site, at.request, at.owner, at.server, user=user, group=group)
    return _back(at, "taken", user or f"group:{group}")


async def _link(at: Place, fields: Fields) -> Response[bytes]:
    """Return the page with the new link, which is not shown again."""
    typed = {key: fields.get(key, usual)[:TYPED_MAX] for key, usual in BLANK_LINK.items()}
    if typed["level"] not in LEVELS or typed["expires_in"] not in dict(LIFETIMES):
        return await _show(at, faults=Faults(link="Select the access and the expiry.", typed_link=typed))
    _, secret = await share_actions.make_code(
        at.site,
        at.request,
        at.owner,
        at.server,
        requested=[share_models.FULL if typed["level"] == "full" else share_models.READING],
        expires_in=int(typed["expires_in"]),
    )
    return await _show(at, link=_origin(at) + at.site.at("accept-share", code=secret))


async def _end(at: Place, fields: Fields) -> Response[bytes]:
    """An expired link counts as revoked."""
    if not fields.get("id"):
        raise HTTPException(status_code=400, detail="Select the link to revoke.")
    with suppress(NotFoundError):
        await share_actions.end_codes(at.site, at.request, at.owner, at.server, code_id=fields["id"])
    return _back(at, "ended")


async def _end_all(at: Place, fields: Fields) -> Response[bytes]:
    del fields
    await share_actions.end_codes(at.site, at.request, at.owner, at.server)
    return _back(at, "ended-all")


async def _stop(at: Place, fields: Fields) -> Response[bytes]:
    """Revoke the links first, so that nobody whose share ends can accept again."""
    del fields
    await share_actions.end_codes(at.site, at.request, at.owner, at.server)
    await share_actions.take_all(at.site, at.request, at.owner, at.server)
    return _back(at, "stopped")


ACTS: Final[dict[str, Callable[[Place, Fields], Awaitable[Response[bytes]]]]] = {
    "give": _give,
    "take": _take,
    "link": _link,
    "end": _end,
    "end-all": _end_all,
    "stop": _stop,
}
"""The handlers of the form's field `act`."""


def _origin(at: Place) -> str:
    """Return the hub's public origin; `""` if neither the configuration nor a browser provides it.

    The gateway has compared a browser's `Origin` with the hub's own.
    """
    if at.site.public_url:
        return at.site.public_url
    brought = at.request.headers.get("origin", "")
    return brought if at.identity.session is not None and ORIGIN.fullmatch(brought) else ""
