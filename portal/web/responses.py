"""Responses and bodies: JSON, pages, redirects.

Owns media types, headers and size limits of what the portal sends and reads. Does not know the contents.
"""

from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from portal.site.site import JUPYTERHUB_VERSION, PAGE_HEADERS, PAGE_VALUES, Site
from portal.web.clicks import check_form, check_page, form_token
from state.rights.identity import Identity

JSON: Final = "application/json"
API_HEADERS: Final = {
    "X-JupyterHub-Version": JUPYTERHUB_VERSION,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
BODY_LIMIT: Final = 1024 * 1024
"""Maximum size of the body of an API request, in bytes; more is 413."""

FORM_LIMIT: Final = 64 * 1024
"""Maximum size of a posted form, in bytes."""

Body = TypeVar("Body")
_encode = msgspec.json.Encoder().encode


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Return `value` as JSON."""
    merged = API_HEADERS if headers is None else {**API_HEADERS, **headers}
    return Response(_encode(value), status_code=status, media_type=JSON, headers=merged)


def empty(status: int) -> Response[bytes]:
    """Return a response without a body: 201, 202, 204."""
    return Response(b"", status_code=status, media_type="text/plain", headers=API_HEADERS)


async def read_json(request: Request[Any, Any, Any], kind: type[Body], *, limit: int = BODY_LIMIT) -> Body | None:
    """Return the body as `kind`; None if it is empty.

    Raises 415 for a browser's body with another content type (a form from another site; programs with a token may leave
    it to their HTTP client, as with JupyterHub), 413 for one over `limit` bytes, and 400 for invalid JSON or another
    form.
    """
    body = await read_body(request, limit)
    if not body.strip():
        return None
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    identity = request.scope["state"].get("identity")
    by_session = identity is not None and identity.session is not None
    if by_session and content_type not in {"", JSON}:
        raise HTTPException(status_code=415, detail="Send the body as application/json.")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise HTTPException(status_code=400, detail=f"The body is invalid: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(status_code=400, detail="The body is not valid JSON.") from error


async def read_body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """Return the whole body. Raises 413 as soon as it is over `limit` bytes."""
    parts = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise HTTPException(status_code=413, detail=f"The body is larger than {limit} bytes.")
        parts.append(part)
    return b"".join(parts)


def page(
    site: Site, request: Request[Any, Any, Any], template: str, status: int = 200, **values: Any
) -> Response[bytes]:
    """Return a page for a user, with the secret of the session for its forms. Raises 403: see `check_page`."""
    check_page(request)
    identity: Identity | None = request.scope["state"].get("identity")
    xsrf = form_token(identity) if identity is not None and identity.session is not None else ""
    body = site.render(template, xsrf=xsrf, **request.scope["state"].get(PAGE_VALUES, {}), **values)
    return Response(body, status_code=status, media_type="text/html", headers=site.page_headers)


def go(url: str, *, status: int = 303, cookie: str = "") -> Response[bytes]:
    """Redirect the browser, with a Set-Cookie header if given."""
    headers = {**PAGE_HEADERS, "Location": url}
    if cookie:
        headers["Set-Cookie"] = cookie
    return Response(b"", status_code=status, media_type="text/html", headers=headers)


def raw_target(request: Request[Any, Any, Any]) -> str:
    """Return the path and query exactly as they were requested."""
    scope = request.scope
    path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    query = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def with_slash(request: Request[Any, Any, Any]) -> bool:
    """Return whether the path ends with a slash, which means the default server."""
    return raw_target(request).partition("?")[0].endswith("/")


def arguments(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the query's fields, the last of each name; malformed ones as far as possible."""
    return dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))


async def read_form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the fields of a posted HTML form, the last of each name.

    Raises 403 (see `check_form`), 415, 413 and 400.
    """
    fields = await read_open_form(request)
    check_form(request, fields)
    return fields


async def read_open_form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """As `read_form`, for a form that can be sent from anywhere."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read_body(request, FORM_LIMIT)
    if body and content_type != "application/x-www-form-urlencoded":
        raise HTTPException(status_code=415, detail="Send the form as application/x-www-form-urlencoded.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=200, errors="strict"))
    except ValueError as error:
        raise HTTPException(status_code=400, detail="The form is not valid UTF-8 text.") from error
