"""One server, and who else may use it: see, give, take back, make a link, end it.

Owns: `/hub/share/...`. Refuses to know what may be given and to whom: `portal.sharing.share_actions`, as the API.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from portal.audit import recorder
from portal.sharing import share_actions, share_models
from portal.site.site import Site
from portal.web.methods import read
from portal.web.pagination import part_of
from portal.web.responses import arguments, go, page, read_form
from state.errors import NameRuleError, NotFoundError
from state.names import group_name, user_name
from state.records.audit import Act
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
"""Names that a sentence may repeat out of an URL. Others are not told: whoever made the URL could say anything."""


Fields = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is wrong, beside which field, and what was typed there."""

    name: str = ""
    level: str = ""
    link: str = ""
    typed: Fields = field(default_factory=BLANK.copy)
    typed_link: Fields = field(default_factory=BLANK_LINK.copy)
    status: int = 400


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a request is about: who asks, and whose server it is."""

    site: Site
    request: Request[Any, Any, Any]
    identity: Identity
    owner: User
    server: str


def names_in_reach(identity: Identity, scope: str) -> bool:
    """Whether somebody may share by name: they know the names of some others. Pure."""
    mine = f"user={identity.name}"
    held = (one.partition("!")[::2] for one in identity.scopes)
    return any(name in scopes.CONTAINERS[scope] and _reaches(where) and where != mine for name, where in held)


def _reaches(where: str) -> bool:
    return not where or where.startswith(("user=", "group="))


def told(asked: dict[str, str], shares: Sequence[Share], codes: Sequence[ShareCode]) -> str:
    """What was just done, in words, as far as it is so: an URL cannot bring a sentence of its own. Pure."""
    done, key = asked.get("done", ""), asked.get("whom", "")
    found = next((share for share in shares if share.key == key), None)
    whom = key.removeprefix("group:")
    stay = " Whoever came by it before is below, until you take it back." if shares else ""
    match done:
        case "given" if found is not None:
            verb = "use this server as you do" if share_models.beyond_reading(found.scopes) else "look at this server"
            return f"{whom} may {verb} from now on. They find it on their home page."
        case "taken" if found is None:
            of = f" from {whom}" if PLAIN.fullmatch(whom) else ""
            live = " A link below is still live: whoever has it can come back." if codes else ""
            return f"It is taken back{of}, and what was open by it is closed.{live}"
        case "ended":
            return f"The link has ended: it lets nobody in any more.{stay}"
        case "ended-all" if not codes:
            return f"All links have ended: they let nobody in any more.{stay}"
        case "stopped" if not shares and not codes:
            return "This server is shared with nobody now, and no link leads to it. What others had open is closed."
        case _:
            return ""


def routes(site: Site) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def place(request: Request[Any, Any, Any]) -> Place:
        """Raises 403 and 404, as the API."""
        name, server = request.path_params["name"], request.path_params.get("server", "")
        identity, owner = await share_actions.need_server(site, request, "shares", name, server)
        return Place(site=site, request=request, identity=identity, owner=owner, server=server)

    @read(PATHS)
    async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await _show(await place(request))

    @post(PATHS, status_code=200)
    async def act(request: Request[Any, Any, Any]) -> Response[bytes]:
        """What the field `act` says. 303 back to the page; the page itself with what is wrong, or with a new link."""
        at = await place(request)
        fields = await read_form(request)
        wanted = ACTS.get(fields.get("act", ""))
        if wanted is None:
            raise HTTPException(status_code=400, detail="There is no such act.")
        return await wanted(at, fields)

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
        title=(record.display_name if record else "") or at.server,
        app=profile.app if profile else "",
        shares=part_of(at.request, shares),
        codes=part_of(at.request, codes[::-1], key="links"),
        in_short=share_models.in_short,
        people=names_in_reach(at.identity, share_actions.READ_USER),
        groups=names_in_reach(at.identity, share_actions.READ_GROUP),
        faults=faults or Faults(),
        told="" if faults or link else told(arguments(at.request), shares, codes),
        link=link,
        lifetimes=LIFETIMES,
    )


def _back(at: Place, done: str, whom: str = "") -> Response[bytes]:
    return go(at.site.at("share", at.owner.name, at.server, done=done, whom=whom))


async def _give(at: Place, fields: Fields) -> Response[bytes]:
    typed = {key: fields.get(key, usual)[:TYPED_MAX] for key, usual in BLANK.items()}
    if typed["level"] not in LEVELS:
        return await _show(at, faults=Faults(level="Pick what they may do.", typed=typed))
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
    except NameRuleError as error:
        return await _show(at, faults=Faults(name=str(error), typed=typed))
    except HTTPException as error:
        if error.status_code == 403:  # noqa: PLR2004 - HTTP
            what = f"{at.request.method} {at.request.scope['path']}"
            await recorder.refused(at.site.store, at.request, Act.REQUEST, what=what, why=error.detail)
        return await _show(at, faults=Faults(name=error.detail, typed=typed, status=error.status_code))
    return _back(at, "given", share.key)


async def _take(at: Place, fields: Fields) -> Response[bytes]:
    user, group = fields.get("user", ""), fields.get("group", "")
    await share_actions.take(at.site, at.request, at.owner, at.server, user=user, group=group)
    return _back(at, "taken", user or f"group:{group}")


async def _link(at: Place, fields: Fields) -> Response[bytes]:
    """The page with the new link, which is shown this one time."""
    typed = {key: fields.get(key, usual)[:TYPED_MAX] for key, usual in BLANK_LINK.items()}
    if typed["level"] not in LEVELS or typed["expires_in"] not in dict(LIFETIMES):
        return await _show(at, faults=Faults(link="Pick what it gives and when it ends.", typed_link=typed))
    _, secret = await share_actions.make_code(
        at.site,
        at.request,
        at.owner,
        at.server,
        wanted=[share_models.FULL if typed["level"] == "full" else share_models.READING],
        expires_in=int(typed["expires_in"]),
    )
    return await _show(at, link=_origin(at) + at.site.at("accept-share", code=secret))


async def _end(at: Place, fields: Fields) -> Response[bytes]:
    """One that is over by now has ended too."""
    if not fields.get("id"):
        raise HTTPException(status_code=400, detail="Name the link that is to end.")
    with suppress(NotFoundError):
        await share_actions.end_codes(at.site, at.request, at.owner, at.server, code_id=fields["id"])
    return _back(at, "ended")


async def _end_all(at: Place, fields: Fields) -> Response[bytes]:
    del fields
    await share_actions.end_codes(at.site, at.request, at.owner, at.server)
    return _back(at, "ended-all")


async def _stop(at: Place, fields: Fields) -> Response[bytes]:
    """The links first: whoever is put out does not come in again."""
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
"""What the field `act` of a form asks for."""


def _origin(at: Place) -> str:
    """Where the hub is for the outside; `""`: the configuration does not say, and neither does a browser.

    The gateway has held a browser's `Origin` against the hub's own.
    """
    if at.site.public_url:
        return at.site.public_url
    brought = at.request.headers.get("origin", "")
    return brought if at.identity.session is not None and ORIGIN.fullmatch(brought) else ""
