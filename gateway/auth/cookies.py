"""The hub's cookies: their names, how they are read, how they are set, and what happens when there are too many.

With https the name has the `__Host-` prefix, so that no other subdomain and no path can set it (RFC 6265bis
section 4.1.3.2). Browsers send a host's cookies to every port and every path of it that matches, so a name also has the
hub's base path and port in it: two hubs on one host have cookies of different names.

Over plain http a page on the same host can set a second cookie of the same name, with a longer path or for a parent
domain, and the hub cannot distinguish them (CVE-2024-28233). The values are candidates then: invalid ones are
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
"""The cookie of a browser that is signing in at a provider. It is not a session."""
KNOWN_NAME: Final = "towpath-known"
"""The cookie of a browser in which a user has signed in with a password. Its failures are counted separately."""
ORIGIN_NAME: Final = "towpath-origin"
"""The cookie at the host of one user's servers: a token that is valid only there."""
ENTRANCE_NAME: Final = "towpath-entrance"
"""The cookie of a browser that is being redirected to that host."""
NAMES: Final = (PLAIN_NAME, FLOW_NAME, KNOWN_NAME, ORIGIN_NAME, ENTRANCE_NAME)

COOKIES: Final = "set_cookies"
"""The key in a request's state with Set-Cookie values that are added to its response."""

TICKET_MAX: Final = 128
CANDIDATES_MAX: Final = 4
"""How many values of one name are examined."""
_STRAY_PATHS_MAX: Final = 8
_DOMAINS_MAX: Final = 4
_PLAIN_PART: Final = re.compile(r"[a-z0-9-]{1,32}")
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._~@%+-]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def mark_of(config: GatewayConfig) -> str:
    """Return the suffix of a hub's cookie names: its base path and, if it is not the scheme's default, its port."""
    base = config.base_path.strip("/")
    part = base if _PLAIN_PART.fullmatch(base) else hashlib.sha256(base.encode()).hexdigest()[:12]
    public = urlsplit(config.public_url)
    port = public.port if config.public_url else config.port
    shown = "" if port in (None, _DEFAULT_PORTS.get(public.scheme or "http")) else f".{port}"
    return (f"-{part}" if base else "") + shown


class CookieJar:
    """Reads and writes one cookie of one hub, by default the session cookie."""

    def __init__(self, *, secure: bool, base_path: str, name: str = PLAIN_NAME, mark: str = "") -> None:
        """`secure`: browsers use https. `name`: without prefix and mark. `mark`: see `mark_of`."""
        self.secure = secure
        self.base_path = base_path
        self.mark = mark
        self.name = f"__Host-{name}{mark}" if secure else f"{name}{mark}"
        self._needle = self.name.encode() + b"="
        # __Host- requires Path=/
        self._attributes = (
            "; Path=/; Secure; HttpOnly; SameSite=Lax" if secure else f"; Path={base_path}; HttpOnly; SameSite=Lax"
        )

    def another(self, name: str, *, base_path: str = "") -> "CookieJar":
        """Return the jar of another cookie of this hub. `base_path`: the cookie's path; empty: the same path."""
        return CookieJar(secure=self.secure, base_path=base_path or self.base_path, name=name, mark=self.mark)

    def tickets(self, cookie_headers: Iterable[bytes]) -> tuple[str, ...]:
        """Return the distinct tickets in the Cookie headers, in order, at most CANDIDATES_MAX."""
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
        """Return the ticket in the Cookie headers; `""` if there is none or more than one."""
        found = self.tickets(cookie_headers)
        return found[0] if len(found) == 1 else ""

    def set(self, ticket: str, *, lifetime: int) -> str:
        """Return the Set-Cookie value for this ticket. `lifetime`: seconds."""
        return f"{self.name}={ticket}{self._attributes}; Max-Age={lifetime}"

    def clear(self) -> str:
        """Return the Set-Cookie value that deletes the cookie."""
        return f"{self.name}={self._attributes}; Max-Age=0"

    def without_strays(self, path: str, host: str) -> list[str]:
        """Return Set-Cookie values that delete every cookie of this name except the hub's own.

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
    """Finds cookies of the hub that were sent more than once, and deletes those that the hub did not set."""

    def __init__(self, jar: CookieJar) -> None:
        """`jar`: the jar of the session cookie."""
        pages = f"{jar.base_path}hub/"
        self._jars = (
            jar,
            jar.another(FLOW_NAME, base_path=pages),
            jar.another(KNOWN_NAME, base_path=pages),
            jar.another(ORIGIN_NAME),
            jar.another(ENTRANCE_NAME),
        )

    def found(self, headers: Iterable[tuple[bytes, bytes]], path: str) -> list[str]:
        """Return Set-Cookie values for the response to a request for `path`; empty if no cookie was sent twice."""
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
    """Return the paths of cookies that a browser sends with a request for this path, shortest first."""
    found = ["/"]
    parts = path.strip("/").split("/") if _PLAIN_PATH.fullmatch(path) else []
    for end in range(1, len(parts) + 1):
        whole = "/" + "/".join(parts[:end])
        found += [whole, f"{whole}/"]
    return list(dict.fromkeys(found))[: 2 * _STRAY_PATHS_MAX]


def _domains(host: str) -> list[str]:
    """Return the possible Domain attributes for a host: itself and its parent domains (none for an IP address)."""
    if not re.fullmatch(r"[a-z0-9.-]+", host) or host.replace(".", "").isdigit():
        return []
    labels = host.split(".")
    return [".".join(labels[at:]) for at in range(len(labels))][:_DOMAINS_MAX]
