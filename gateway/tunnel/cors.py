"""Requests from pages of other origins (CORS), to servers whose profile names those origins. Pure.

The gateway answers for the app: the app's own Access-Control fields are dropped. Credentials are never allowed, so a
page of another origin can send a token in Authorization, but no cookie of the hub.

Source: Fetch Standard, sections 3.3.2 to 3.3.4 (the CORS protocol).
"""

import re
from collections.abc import Iterable
from typing import Final

from gateway.tunnel.headers import Fields

FIELD_PREFIX: Final = b"access-control-"
_MAX_AGE: Final = b"600"
_METHOD: Final = re.compile(rb"[A-Z]{1,32}")
_NAMES: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,4096}")


class AllowedOrigins:
    """The origins of `cors_origins`, of one profile or of all."""

    __slots__ = ("_any", "_origins")

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._any = b"*" in self._origins

    def __bool__(self) -> bool:
        return bool(self._origins)

    def origin_of(self, fields: Fields) -> bytes:
        """Return the origin of a request if it is allowed, else `b""`."""
        found = [value for name, value in fields if name == b"origin"]
        return found[0] if len(found) == 1 and (self._any or found[0] in self._origins) else b""

    def preflight(self, fields: Fields) -> list[tuple[bytes, bytes]]:
        """Return the fields of the response to a preflight request; none: it is not one, or not allowed.

        A preflight request has no credentials. What it allows is a request, which is authorized like any other.
        """
        origin = self.origin_of(fields)
        headers = dict(fields)
        method = headers.get(b"access-control-request-method")
        names = headers.get(b"access-control-request-headers", b"")
        if not origin or method is None or not _METHOD.fullmatch(method) or not _NAMES.fullmatch(names):
            return []
        return [
            *response_fields(origin),
            (b"access-control-allow-methods", method),
            (b"access-control-allow-headers", names),  # `*` would not include Authorization
            (b"access-control-max-age", _MAX_AGE),
        ]


def response_fields(origin: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields that let a page of `origin` read a response; `b""`: no page may."""
    if not origin:
        return [(b"vary", b"Origin")]
    return [
        (b"vary", b"Origin"),
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"*"),
    ]


def without_own(fields: Fields) -> Fields:
    """Return an app's fields without those of the CORS protocol."""
    return [pair for pair in fields if not pair[0].lower().startswith(FIELD_PREFIX)]
