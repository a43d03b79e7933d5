"""Where a request goes, by the bytes of its path.

Owns: the split between the hub's own pages and people's servers, and what no path may contain.
Refuses to know routes, people and headers: it only reads bytes.

A server is picked by the literal first segments under `user/`, each decoded once; everything after them goes to the
app byte for byte. So that no later reader can see another server in the same bytes, a path with a dot-segment
(RFC 3986 section 5.2.4), plain, encoded, with parameters or behind an encoded slash or a backslash, is refused.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

_DOT_SEGMENT: Final = re.compile(
    rb"(?:/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:(?:;|%3b)[^/\\]*?)?(?=/|\\|%2f|%5c|$)", re.IGNORECASE
)
_FORBIDDEN: Final = re.compile(rb"[\x00-\x20\x7f-\xff]|%00|%0[ad]", re.IGNORECASE)


class UserPath(NamedTuple):
    """A path under `user/`: whose, the next decoded segment (`""`: none), and whether a slash follows the name."""

    user: str
    segment: str
    complete: bool


class BadPathError(ValueError):
    """The path is one that two readers could read differently: answer 400. The message says what is wrong."""


def check(raw_path: bytes) -> None:
    """Refuse dot-segments, control bytes and bytes that RFC 3986 does not allow raw. Raises BadPathError."""
    if not raw_path.startswith(b"/"):
        raise BadPathError("The path must begin with a slash.")
    if _DOT_SEGMENT.search(raw_path):
        raise BadPathError("The path must not contain . or .. as a segment.")
    if _FORBIDDEN.search(raw_path):
        raise BadPathError("The path must not contain control characters or unencoded bytes.")


def user_path(raw_path: bytes, prefix: bytes) -> UserPath | None:
    """Read a path under `prefix` (`{base_path}user/`); None when it is elsewhere.

    A segment that is not UTF-8 once decoded raises BadPathError.
    """
    if not raw_path.startswith(prefix):
        return None
    user, slash, rest = raw_path[len(prefix) :].partition(b"/")
    return UserPath(_decode(user), _decode(rest.partition(b"/")[0]), slash == b"/")


def _decode(segment: bytes) -> str:
    if b"%" not in segment:
        return segment.decode("ascii")
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadPathError("The path's names must be UTF-8.") from error
