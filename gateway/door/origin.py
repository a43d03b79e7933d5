"""Whether a request that carries a cookie was sent by our own pages.

Owns: the rule on Origin and Sec-Fetch-Site. Refuses to know sessions. A request proven by a token in its
Authorization header needs no such rule: no foreign page can add that header.

Sources: Fetch Metadata (W3C), RFC 6454, RFC 6455 section 10.2; field.md E1 (CVE-2026-40864: Sec-Fetch-Mode is not
looked at; only Sec-Fetch-Site says who sent it).
"""

from typing import Final

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def own_origin(scheme: str, host: bytes) -> bytes:
    """The origin of a request to ourselves, as a browser would write it."""
    origin = scheme.encode("ascii") + b"://" + host.lower()
    if scheme == "https" and origin.endswith(b":443"):
        return origin[:-4]
    if scheme == "http" and origin.endswith(b":80"):
        return origin[:-3]
    return origin


def from_ourselves(*, origin: bytes | None, fetch_site: bytes | None, own: bytes) -> bool:
    """For an unsafe request or a WebSocket with a cookie. Default deny: one of the headers must vouch for it.

    Both are checked where both are there. `same-site` is a neighbour subdomain: refused. `none` (typed by the
    person) does not come with an unsafe request from a page: refused.
    """
    if fetch_site is not None and fetch_site != b"same-origin":
        return False
    if origin is not None:
        return origin.lower() == own
    return fetch_site is not None
