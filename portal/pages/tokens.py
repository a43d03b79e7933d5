"""A user's API tokens: create, list and revoke.

Owns `/hub/token`. Does not know what a token may do: `portal.users.token_actions`.
"""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from portal.rights.access import need_user, signed_in
from portal.site.site import Site
from portal.users import token_actions
from portal.web.methods import read
from portal.web.pagination import part_of
from portal.web.responses import go, page, read_form
from portal.web.routing import bound
from state.errors import InvalidError, LimitError
from state.records.models import Token

LIFETIMES: Final = (
    ("3600", "1 hour"),
    ("86400", "1 day"),
    ("604800", "1 week"),
    ("2592000", "30 days"),
    ("31536000", "1 year"),
    ("", "never"),
)
BLANK: Final = {"note": "", "expires_in": "2592000", "scopes": ""}


class Application(Struct, frozen=True):
    """A server or service that the user has signed in to through the hub. `count`: valid sign-ins."""

    client: str
    note: str
    count: int
    first: float
    last_activity: float | None


def with_token(known: Application | None, token: Token) -> Application:
    """Return an application with one more of its tokens. Pure."""
    if known is None:
        return Application(token.client, token.note, 1, token.created, token.last_activity)
    seen = [at for at in (known.last_activity, token.last_activity) if at is not None]
    return Application(
        client=known.client,
        note=known.note,
        count=known.count + 1,
        first=min(known.first, token.created),
        last_activity=max(seen, default=None),
    )


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/token"), every),
        bound(site, post("/token", status_code=200), make),
        bound(site, post("/token/revoke"), revoke),
    ]


async def _show(
    site: Site, request: Request[Any, Any, Any], *, typed: dict[str, str] = BLANK, problem: str = "", secret: str = ""
) -> Response[bytes]:
    identity, user = await need_user(site, request, "read:tokens", signed_in(request).user.name)
    order: list[tuple[float, str]] = []
    applications: dict[str, Application] = {}
    async for part in site.store.tokens.parts_of(user.name):
        order += [(token.created, token.id) for token in part if not token.client]
        for token in part:
            if token.client:
                applications[token.client] = with_token(applications.get(token.client), token)
    own = part_of(request, sorted(order, reverse=True))
    found = [await site.store.tokens.find(user.name, token_id) for _, token_id in own.items]
    newest = sorted(applications.values(), key=lambda one: one.first, reverse=True)
    return page(
        site,
        request,
        "token.html",
        400 if problem else 200,
        user=identity.user,
        tokens=[token for token in found if token is not None],
        part=own,
        applications=part_of(request, newest, key="apps"),
        typed=typed,
        problem=problem,
        secret=secret,
        everything=len(site.roles.scopes_of_user(user)),
        lifetimes=LIFETIMES,
    )


async def every(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Show the user's tokens."""
    return await _show(site, request)


async def make(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the page with the new token, which is not shown again."""
    _, user = await need_user(site, request, "tokens", signed_in(request).user.name)
    fields = await read_form(request)
    typed = {key: fields.get(key, usual)[:2000] for key, usual in BLANK.items()}
    lifetime = typed["expires_in"]
    if lifetime not in {seconds for seconds, _ in LIFETIMES}:
        return await _show(site, request, typed=typed, problem="Pick when it ends.")
    try:
        _, secret = await token_actions.issue(
            site,
            request,
            user,
            note=typed["note"].strip(),
            expires_in=int(lifetime) if lifetime else None,
            requested=typed["scopes"].split() or None,
        )
    except (InvalidError, LimitError) as error:
        return await _show(site, request, typed=typed, problem=str(error))
    return await _show(site, request, secret=secret)


async def revoke(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Revoke a token, or all tokens of an app."""
    _, user = await need_user(site, request, "tokens", signed_in(request).user.name)
    fields = await read_form(request)
    token_ids = [fields.get("id", "")[:100]]
    if "client" in fields:
        token_ids = await token_actions.of_client(site, user.name, fields["client"]) if fields["client"] else []
    await token_actions.revoke(site, request, user, token_ids)
    return go(site.at("token"))
