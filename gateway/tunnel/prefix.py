"""Apps without a base path: the server's prefix is removed from requests, and added to the URLs of responses.

Pure. Does not know which apps need it (`strip_prefix` of a profile).

A prefix is removed by its number of slashes, not by its text: a name can be written in several ways (`%61lice`), and
the gateway has read the same segments when it decided whose server it is. All that follows stays byte for byte.
"""

import re
from collections.abc import Callable, Collection
from typing import Final

from gateway.tunnel.headers import Fields

HEADER: Final = b"X-Forwarded-Prefix"
_ABSOLUTE: Final = re.compile(rb"(?:https?:)?//([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_PATH_END: Final = re.compile(rb"[?#]")
_REFRESH: Final = re.compile(
    rb"(\s*[0-9.]*\s*[;,]\s*(?:url\s*=\s*)?[\"']?)([^\"']*)([\"']?.*)", re.IGNORECASE | re.DOTALL
)
_LINK: Final = re.compile(rb"<([^<>]*)>")


def stripped(target: bytes, slashes: int) -> bytes:
    """Return `target` (path and query) from the last slash of its prefix, which has `slashes` slashes."""
    at = -1
    for _ in range(slashes):
        at = target.find(b"/", at + 1)
        if at < 0:
            return b"/"
    return target[at:]


def restored(fields: Fields, prefix: bytes, hosts: Collection[bytes] = ()) -> list[tuple[bytes, bytes]]:
    """Return a response's fields, in which the app's own URLs lie under `prefix` again.

    `hosts`: in lowercase, under which the app was asked: an absolute URL to one of them is the app's own, and becomes
    relative. Its scheme is often wrong, because the app sees plain HTTP.
    """
    out = []
    for name, value in fields:
        rule = _RULES.get(name.lower())
        out.append((name, value if rule is None else rule(value, prefix, hosts)))
    return out


def _url(value: bytes, prefix: bytes, hosts: Collection[bytes]) -> bytes:
    """Rewrite Location and other fields with one URL."""
    absolute = _ABSOLUTE.fullmatch(value)
    if absolute is not None:
        if _without_port(absolute[1].lower()) not in {_without_port(host) for host in hosts}:
            return value
        value = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    elif not value.startswith(b"/"):
        return value
    path = _PATH_END.split(value, maxsplit=1)[0]
    if path.startswith(prefix) or path == prefix[:-1]:
        return value
    return prefix + value[1:]


def _without_port(host: bytes) -> bytes:
    """Return a host without a default port, which nobody has to write."""
    return host.removesuffix(b":80").removesuffix(b":443")


def _refresh(value: bytes, prefix: bytes, hosts: Collection[bytes]) -> bytes:
    """Refresh: seconds, and a URL after `url=` (HTML Standard, section 4.2.5.3)."""
    found = _REFRESH.fullmatch(value)
    return value if found is None else found[1] + _url(found[2], prefix, hosts) + found[3]


def _links(value: bytes, prefix: bytes, hosts: Collection[bytes]) -> bytes:
    """Link: URLs in angle brackets (RFC 8288 section 3)."""
    return _LINK.sub(lambda found: b"<" + _url(found[1], prefix, hosts) + b">", value)


_RULES: Final[dict[bytes, Callable[[bytes, bytes, Collection[bytes]], bytes]]] = {
    b"location": _url,
    b"content-location": _url,
    b"service-worker-allowed": _url,
    b"refresh": _refresh,
    b"link": _links,
}
