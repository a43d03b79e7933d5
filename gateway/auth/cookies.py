"""The hub's cookies: their names, how they are read, how they are set, and what happens when there are too many.

With https the name has the `__Host-` prefix, so that no neighbour subdomain and no path can set it (RFC 6265bis
section 4.1.3.2). Browsers send a host's cookies to every port and every path of it that matches, so a name also has the
hub's base path and port in it: two hubs on one host have cookies of different names.

Over plain http a page on the same host can set a second cookie of the same name, with a longer path or for a parent
domain, and nothing tells the two apart (CVE-2024-28233). The values are candidates then: those that are not valid are
ignored, two valid ones of different users sign nobody in, and the answer deletes every cookie of that name but the one
that the hub sets itself, so that nobody is locked out.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import GatewayConfig

PLAIN_NAME: Final = "towpath-session"
FLOW_NAME: Final = "towpath-sign-in"
"""Of a browser that has begun to sign in at a provider: nobody is signed in by it."""
KNOWN_NAME: Final = "towpath-known"
"""Of a browser from which somebody has signed in with a password: its failures are counted apart from strangers'."""
ORIGIN_NAME: Final = "towpath-origin"
"""Of a browser at the host of one user's servers: a token for these alone."""
ENTRANCE_NAME: Final = "towpath-entrance"
"""Of a browser that is on its way there."""
NAMES: Final = (PLAIN_NAME, FLOW_NAME, KNOWN_NAME, ORIGIN_NAME, ENTRANCE_NAME)

COOKIES: Final = "set_cookies"
"""Where a request keeps the Set-Cookie values that its answer has beside those that the portal sets."""

TICKET_MAX: Final = 128
CANDIDATES_MAX: Final = 4
"""Values of one name that are looked at."""
_STRAY_PATHS_MAX: Final = 8
_DOMAINS_MAX: Final = 4
_PLAIN_PART: Final = re.compile(r"[a-z0-9-]{1,32}")
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._~@%+-]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def mark_of(config: GatewayConfig) -> str:
    """What the names of a hub's cookies end with: its base path and, where it is not the scheme's own, its port."""
    base = config.base_path.strip("/")
    part = base if _PLAIN_PART.fullmatch(base) else hashlib.sha256(base.encode()).hexdigest()[:12]
    public = urlsplit(config.public_url)
    port = public.port if config.public_url else config.port
    shown = "" if port in (None, _DEFAULT_PORTS.get(public.scheme or "http")) else f".{port}"
    return (f"-{part}" if base else "") + shown


class CookieJar:
    """Reads and writes one cookie of one hub: the session's, unless another is named."""

    def __init__(self, *, secure: bool, base_path: str, name: str = PLAIN_NAME, mark: str = "") -> None:
        """`secure`: browsers come by https. `name`: without prefix and mark. `mark`: see `mark_of`."""
        self.secure = secure
        self.base_path = base_path
        self.mark = mark
        self.name = f"__Host-{name}{mark}" if secure else f"{name}{mark}"
        self._needle = self.name.encode() + b"="
        # __Host- demands Path=/
        self._attributes = (
            "; Path=/; Secure; HttpOnly; SameSite=Lax" if secure else f"; Path={base_path}; HttpOnly; SameSite=Lax"
        )

    def another(self, name: str, *, base_path: str = "") -> "CookieJar":
        """The jar of another cookie of the same hub. `base_path`: its path; empty: the same."""
        return CookieJar(secure=self.secure, base_path=base_path or self.base_path, name=name, mark=self.mark)

    def tickets(self, cookie_headers: Iterable[bytes]) -> tuple[str, ...]:
        """The different tickets in the Cookie headers, in their order, at most CANDIDATES_MAX."""
        found: dict[bytes, None] = {}
        needle = self._needle
        for header in cookie_headers:
            if needle not in header:
                continue
            for part in header.split(b";"):
                pair = part.strip(b" \t")
                if pair.startswith(needle):
                    found[pair[len(needle) :]] = None
        return tuple(
            value.decode("ascii") for value in found if value and len(value) <= TICKET_MAX and value.isascii()
        )[:CANDIDATES_MAX]

    def ticket(self, cookie_headers: Iterable[bytes]) -> str:
        """The ticket in the Cookie headers; `""` when there is none, or more than one."""
        found = self.tickets(cookie_headers)
        return found[0] if len(found) == 1 else ""

    def set(self, ticket: str, *, lifetime: int) -> str:
        """The Set-Cookie value that gives the browser this ticket for `lifetime` seconds."""
        return f"{self.name}={ticket}{self._attributes}; Max-Age={lifetime}"

    def clear(self) -> str:
        """The Set-Cookie value that takes it away."""
        return f"{self.name}={self._attributes}; Max-Age=0"

    def without_strays(self, path: str, host: str) -> list[str]:
        """Set-Cookie values that delete every cookie of this name but the hub's own, as sent with a request.

        `path` and `host` (without port) are the request's: a cookie that came with it has a prefix of the path and the
        host or a parent domain of it (RFC 6265 section 5.1). With `__Host-` there is only one, and nothing to delete.
        """
        if self.secure:
            return []
        gone = f"{self.name}=; Max-Age=0"
        paths = [one for one in _prefixes(path) if one != self.base_path]
        own = [f"{gone}; Path={one}" for one in paths]
        return own + [f"{gone}; Path={one}; Domain={domain}" for domain in _domains(host) for one in ("/", *paths)]


class Strays:
    """Finds cookies of a hub's names that came more than once, and deletes those that the hub did not set."""

    def __init__(self, jar: CookieJar) -> None:
        """`jar`: of the session."""
        pages = f"{jar.base_path}hub/"
        self._jars = (
            jar,
            jar.another(FLOW_NAME, base_path=pages),
            jar.another(KNOWN_NAME, base_path=pages),
            jar.another(ORIGIN_NAME),
            jar.another(ENTRANCE_NAME),
        )

    def found(self, headers: Iterable[tuple[bytes, bytes]], path: str) -> list[str]:
        """Set-Cookie values for the answer to a request for `path`; none: nothing came more than once."""
        fields = [(name, value) for name, value in headers if name in {b"cookie", b"host"}]
        cookies = [value for name, value in fields if name == b"cookie"]
        if not cookies or self._jars[0].secure:
            return []
        host = next((value for name, value in fields if name == b"host"), b"").decode("latin-1").lower()
        plain = host.rpartition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return [
            value for jar in self._jars if len(jar.tickets(cookies)) > 1 for value in jar.without_strays(path, plain)
        ]


def _prefixes(path: str) -> list[str]:
    """The paths of cookies that are sent with a request for this path, the shortest first."""
    found = ["/"]
    parts = path.strip("/").split("/") if _PLAIN_PATH.fullmatch(path) else []
    for end in range(1, len(parts) + 1):
        whole = "/" + "/".join(parts[:end])
        found += [whole, f"{whole}/"]
    return list(dict.fromkeys(found))[: 2 * _STRAY_PATHS_MAX]


def _domains(host: str) -> list[str]:
    """The host and its parent domains: what a Domain attribute may be (not for addresses, and no single label)."""
    if not re.fullmatch(r"[a-z0-9.-]+", host) or host.replace(".", "").isdigit():
        return []
    labels = host.split(".")
    return [".".join(labels[at:]) for at in range(len(labels))][:_DOMAINS_MAX]
