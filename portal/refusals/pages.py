"""Error pages for browsers, and errors as JSON for programs.

Owns the error pages, and the pages at `/user/...` if a server is not running; the gateway's data plane calls these
through `ErrorPages`, without Litestar. Does not know how the error came about.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec

from portal.servers.models import pending
from portal.site.site import JUPYTERHUB_VERSION, PAGE_HEADERS, Look
from portal.web.next_url import safe_next
from state.config.tables import Config
from state.records.models import Server

ERROR_TEXTS: Final[dict[int, tuple[str, str, str]]] = {
    400: ("Invalid request", "Something in the request is missing or malformed.", "Go back and try again."),
    403: (
        "Access denied",
        "Your account does not have this permission, or you are not signed in.",
        "Sign in with another account, or ask the owner or an admin.",
    ),
    404: ("Not found", "The address may be wrong, or the page does not exist any more.", ""),
    405: ("Method not allowed", "This address does not accept this kind of request.", ""),
    409: (
        "Someone else changed this first",
        "What you wanted to change has changed in the meantime.",
        "Reload the page and try again.",
    ),
    413: ("Request too large", "The request is larger than the hub accepts.", ""),
    424: ("This server is not running", "Start it to use this address.", ""),
    429: (
        "Too many requests",
        "The hub received too many requests from you in a short time.",
        "Wait a moment, then try again.",
    ),
    500: (
        "Internal error",
        "This is a fault in the hub, and not in your request.",
        "Try again. If it happens again, tell the hub's admins the time shown below.",
    ),
    503: (
        "The hub is temporarily unavailable",
        "A part of it is restarting or does not answer.",
        "Running servers are not affected. Try again in a moment.",
    ),
}
"""Status → title, message and hint."""


class Answer(NamedTuple):
    """A whole response, for any ASGI callable."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def error_text(status: int) -> tuple[str, str, str]:
    """Return title, message and hint of a status; for others, the standard's phrase."""
    if status in ERROR_TEXTS:
        return ERROR_TEXTS[status]
    try:
        return HTTPStatus(status).phrase, "The hub refused this request.", ""
    except ValueError:
        return "Something went wrong", "The hub refused this request.", ""


def error_page(look: Look, status: int, *, message: str = "", title: str = "", hint: str = "") -> bytes:
    """Return the page of an error. Given texts replace the usual ones."""
    usual = error_text(status)
    return look.render(
        "error.html",
        user=None,
        status=status,
        title=title or usual[0],
        message=message or usual[1],
        hint=hint or usual[2],
        now=look.clock(),
    )


def error_json(status: int, message: str = "") -> bytes:
    """Return JupyterHub's error body."""
    return msgspec.json.encode({"status": status, "message": message or error_text(status)[1]})


class ErrorPages:
    """Responses for the data plane: HTML for browsers and JSON for programs."""

    def __init__(self, config: Config, version: str, clock: Callable[[], float]) -> None:
        self._look = Look(config, version, clock)

    def error(self, status: int, *, html: bool, message: str = "", title: str = "", hint: str = "") -> Answer:
        """Return a response for any error."""
        if html:
            return _page(status, error_page(self._look, status, message=message, title=title, hint=hint))
        return _json(status, message or error_text(status)[1])

    def sign_in_first(self, *, html: bool, path: str) -> Answer:
        """Return a response if nobody is signed in: 302 to the sign-in page and back, or JSON 403.

        `path`: raw path and query.
        """
        if not html:
            return _json(403, "Sign in, or send a valid API token.")
        look = self._look
        return _redirect(look.at("login", next=safe_next(path, look.base)))

    def stopped_page(
        self,
        *,
        html: bool,
        user: str,
        name: str,
        server: Server | None,
        path: str,
        may_start: bool = True,
        may_look: bool = True,
    ) -> Answer:
        """Return a response for `/user/...` if the server is not running: 424, with a way to start it and come back.

        If the server is starting, browsers are redirected to its progress page (302). `path`: raw path and query. The
        caller has checked that the user may access this server. Users with a share may neither start it nor see its
        progress (`may_look`) or why it failed, because its log belongs to its owner. They see the id of its job.
        """
        look = self._look
        way = pending(server) if server else None
        label = f"{user}/{name}" if name else user
        if not html:
            state = {"spawn": "is starting", "stop": "is stopping"}.get(way or "", "is not running")
            return _json(424, f"The server {label} {state}.", retry=2 if way else 0)
        back = safe_next(path, look.base)
        if way == "spawn" and may_look:
            return _redirect(look.at("spawn-pending", user, name, next=back))
        return _page(
            424,
            look.render(
                "stopped.html",
                user=None,
                owner=user,
                name=name,
                server=server if may_look else None,
                last=server,
                way=way,
                may_start=may_start,
                start_url=look.at("spawn", user, name, next=back),
                retry_url=back,
            ),
        )

    def unreachable(
        self, status: int, message: str, *, user: str, name: str, server: Server | None, path: str, itself: bool
    ) -> Answer:
        """Return a page: the server should be running, but its app or node gave no answer.

        `message`: a sentence. `itself`: its own user asks.
        """
        return _page(
            status,
            self._look.render(
                "unreachable.html",
                user=None,
                status=status,
                message=message,
                owner=user,
                name=name,
                server=server,
                itself=itself,
                retry_url=safe_next(path, self._look.base),
            ),
        )


def _page(status: int, body: bytes) -> Answer:
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    headers += [(key.lower().encode(), value.encode()) for key, value in PAGE_HEADERS.items()]
    return Answer(status, headers, body)


def _json(status: int, message: str, retry: int = 0) -> Answer:
    body = error_json(status, message)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-jupyterhub-version", JUPYTERHUB_VERSION.encode()),
    ]
    if retry:
        headers.append((b"retry-after", b"%d" % retry))
    return Answer(status, headers, body)


def _redirect(url: str) -> Answer:
    status, headers, _ = _page(302, b"")
    return Answer(status, [*headers, (b"location", url.encode())], b"")
