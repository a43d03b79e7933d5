"""Filters the cookies that pass through the tunnel.

Owns hiding the hub's cookies from apps, and keeping an app's cookies under its own path. Pure functions over
bytes. Does not know what the cookies mean.

Sources: RFC 6265bis sections 4.1.3, 5.6 (name prefixes, nameless cookies), JupyterHub CVE-2024-28233.
"""

import re
from collections.abc import Iterable

_PREFIXES = re.compile(rb"(?:__host-|__secure-)+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Hidden:
    """The names of the hub's cookies, in every form that a browser or a lenient parser accepts.

    A name with another suffix (`towpath-session-hub2.8443`) belongs to another hub on the same host, and is hidden too.
    """

    __slots__ = ("_is_name", "_remove")

    def __init__(self, names: Iterable[bytes]) -> None:
        plain = sorted({_bare(name.lower()) for name in names})
        either = b"(?:%b)(?:[.-][a-z0-9.-]*)?" % b"|".join(map(re.escape, plain))
        self._is_name = re.compile(either, re.IGNORECASE).fullmatch if plain else None
        # A nameless cookie is sent as `name=value` or `=name=value`: both are removed, also with quoted names.
        pattern = rb'(?:^|;)[\s="]*(?:__host-|__secure-)*%b[\s"]*(?:=[^;]*)?(?=;|$)' % either
        self._remove = re.compile(pattern, re.IGNORECASE).sub if plain else None

    def holds(self, name: bytes) -> bool:
        """Return whether this is a name of the hub's cookies, in any case and with any prefix."""
        return self._is_name is not None and self._is_name(_bare(name.strip().strip(b'"').lower())) is not None

    def cut(self, value: bytes) -> bytes:
        """Return a Cookie header's value without the hub's cookies and their duplicates; `b""`: nothing is left."""
        if self._remove is None:
            return value
        return self._remove(b"", value).strip(b"; \t")


def _bare(name: bytes) -> bytes:
    """Return the name without prefixes. One pass: an app can send thousands of them in one name."""
    found = _PREFIXES.match(name)
    return name[found.end() :] if found else name


def confine(value: bytes, path: bytes, hidden: Hidden) -> bytes | None:
    """Return a Set-Cookie value restricted to `path` (a route's prefix, ending with a slash); None: reject it.

    Rejected are the hub's names, `__Host-` (it requires the path `/`), and cookies without a name, which some browsers
    send as if their value were `name=value`. Domain is dropped; a Path outside `path` becomes `path`.
    """
    if _CONTROL.search(value):
        return None
    pair, *attributes = value.split(b";")
    name, equals, _ = pair.partition(b"=")
    name = name.strip()
    if not equals or not name or hidden.holds(name) or name.lower().startswith(b"__host-"):
        return None
    kept = [pair.strip()]
    new_path = path
    for attribute in attributes:
        key, _, content = attribute.partition(b"=")
        match key.strip().lower():
            case b"domain" | b"":
                continue
            case b"path":
                # The last one counts (RFC 6265bis section 5.6).
                content = content.strip()
                inside = (content + b"/").startswith(path) and b".." not in content and b"%" not in content
                new_path = content if inside and content.isascii() else path
            case _:
                kept.append(attribute.strip())
    kept.append(b"Path=" + new_path)
    return b"; ".join(kept)
