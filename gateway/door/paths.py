"""Routes a request by the bytes of its path.

Owns the distinction between the hub's own pages and users' servers, and what no path may contain.
Does not know about routes, users and headers: it only reads bytes.

A server is chosen by the literal first segments under `user/`, each decoded once; everything after them goes to the
app unchanged. So that no later parser can read another server from the same bytes, a path with a dot segment
(RFC 3986 section 5.2.4), plain, encoded, with parameters or after an encoded slash or a backslash, is rejected.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from state.names import escape

_DOT_SEGMENT: Final = re.compile(
    rb"(?:/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:(?:;|%3b)[^/\\]*?)?(?=/|\\|%2f|%5c|$)", re.IGNORECASE
)
_FORBIDDEN: Final = re.compile(rb"[\x00-\x20\x7f-\xff]|%00|%0[ad]", re.IGNORECASE)


class UserPath(NamedTuple):
    """A path under `user/`.

    `user` and `segment` (`""`: none) are its first two segments, decoded. `complete`: a slash follows the user's name,
    which is written as the hub writes it. `segment_complete`: as much holds for the segment.
    """

    user: str
    segment: str
    complete: bool
    segment_complete: bool


class BadPathError(ValueError):
    """The path is ambiguous: respond with 400. The message says what is wrong."""


def check(raw_path: bytes) -> None:
    """Reject dot segments, control bytes and bytes that RFC 3986 does not allow unencoded. Raises BadPathError."""
    if not raw_path.startswith(b"/"):
        raise BadPathError("The path must begin with a slash.")
    if _DOT_SEGMENT.search(raw_path):
        raise BadPathError("The path must not contain . or .. as a segment.")
    if _FORBIDDEN.search(raw_path):
        raise BadPathError("The path must not contain control characters or unencoded bytes.")


def user_path(raw_path: bytes, prefix: bytes) -> UserPath | None:
    """Parse a path under `prefix` (`{base_path}user/`); None for other paths.

    A segment that is not UTF-8 once decoded raises BadPathError.
    """
    if not raw_path.startswith(prefix):
        return None
    raw_user, slash, rest = raw_path[len(prefix) :].partition(b"/")
    raw_segment, second_slash, _ = rest.partition(b"/")
    user, segment = _decode(raw_user), _decode(raw_segment)
    return UserPath(
        user,
        segment,
        slash == b"/" and escape(user).encode() == raw_user,
        second_slash == b"/" and escape(segment).encode() == raw_segment,
    )


def proper(raw_path: bytes, prefix: bytes, user: str, name: str) -> bytes:
    """Return a path of `user`'s server `name` (`""`: the default one) as the hub writes it.

    The names are escaped in the one way of `state.names.escape`, and a slash follows. All other bytes stay.
    """
    rest = raw_path[len(prefix) :].partition(b"/")[2]
    head = f"{escape(user)}/"
    if name:
        rest = rest.partition(b"/")[2]
        head += f"{escape(name)}/"
    return prefix + head.encode() + rest


def _decode(segment: bytes) -> str:
    if b"%" not in segment:
        return segment.decode("ascii")
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadPathError("The path's names must be UTF-8.") from error
