"""The API of tokens: list, create, read, revoke.

Owns `/users/{name}/tokens`. A secret is shown only once, when the token is created.
"""

from typing import Any

import msgspec
from litestar import Request, Response, delete, post
from litestar.handlers import HTTPRouteHandler

from portal.rights.access import need_user
from portal.servers.models import token_model
from portal.site.site import Site
from portal.users import token_actions
from portal.users.token_actions import held, of_client, of_owner
from portal.web.methods import read
from portal.web.pagination import page_of, place
from portal.web.responses import empty, read_json, reply
from portal.web.routing import bound
from state.errors import NotAllowedError, NotFoundError
from state.records.models import Token
from state.turns import Turns


class TokenRequest(msgspec.Struct):
    """The body for a new token. `roles` is JupyterHub's older form, which is replaced by the roles' scopes."""

    note: str | None = None
    expires_in: int | None = None
    scopes: list[str] | None = None
    roles: list[str] | None = None


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""
    return [
        bound(site, read("/users/{name:str}/tokens"), every),
        bound(site, post("/users/{name:str}/tokens"), make),
        bound(site, read("/users/{name:str}/tokens/{token_id:str}"), look),
        bound(site, delete("/users/{name:str}/tokens/{token_id:str}", status_code=200), revoke),
    ]


async def _known(site: Site, user: str, token_id: str) -> Token:
    token = await site.store.tokens.find(user, token_id)
    if token is None:
        raise NotFoundError(f"{user} has no token {token_id[:64]!r}.")
    return token


async def every(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """JupyterHub's list, oldest first, in pages. `_pagination` is Towpath's own."""
    name = request.path_params["name"]
    _, user = await need_user(site, request, "read:tokens", name)
    page = page_of(request)
    owners = await of_owner(site, user)
    tokens, total = await site.store.tokens.page(name, offset=page.offset, limit=page.limit)
    models, turns = [], Turns()
    for token in tokens:
        models.append(token_model(token, held(token, owners)))
        await turns.give()
    return reply({"api_tokens": models, "_pagination": place(site, request, page, total)})


async def make(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """201, with the secret in `token`. 403 for a user who does not exist or is not available to the caller."""
    name = request.path_params["name"]
    try:
        identity, user = await need_user(site, request, "tokens", name)
    except NotFoundError as error:
        raise NotAllowedError(str(error)) from error
    body = await read_json(request, TokenRequest) or TokenRequest()
    by_another = "" if identity.is_user(user.name) else f" by {identity.kind} {identity.name}"
    token, secret = await token_actions.issue(
        site,
        request,
        user,
        note=body.note or f"Requested via api{by_another}",
        expires_in=body.expires_in,
        requested=body.scopes,
        roles=body.roles or (),
    )
    return reply({**token_model(token, held(token, await of_owner(site, user))), "token": secret}, 201)


async def look(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return one token, without its secret."""
    name, token_id = request.path_params["name"], request.path_params["token_id"]
    _, user = await need_user(site, request, "read:tokens", name)
    token = await _known(site, name, token_id)
    return reply(token_model(token, held(token, await of_owner(site, user))))


async def revoke(site: Site, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Revoking a token that a server or service got at a sign-in revokes all its tokens of that user."""
    name, token_id = request.path_params["name"], request.path_params["token_id"]
    _, user = await need_user(site, request, "tokens", name)
    one = await _known(site, name, token_id)
    others = [] if not one.client else await of_client(site, name, one.client)
    await token_actions.revoke(site, request, user, (one.id, *others))
    return empty(204)
