"""The hub's cookies: their names, how they are read, how they are set.

Owns: a ticket's way through the browser. Refuses to know what a ticket stands for.

With https the name has the `__Host-` prefix, so that no neighbour subdomain and no path can set it (RFC 6265bis
section 4.1.3.2). Two cookies of that name are one too many: somebody tossed one in, and neither is believed
(CVE-2024-28233).
"""

from typing import Final

PLAIN_NAME: Final = "towpath-session"
FLOW_NAME: Final = "towpath-sign-in"
"""Of the browser that has begun to sign in somewhere else: nobody is signed in by it."""
KNOWN_NAME: Final = "towpath-known"
"""Of a browser from which somebody has signed in with a password: it is counted apart from strangers, and no more."""

ORIGIN_NAME: Final = "towpath-origin"
"""Of a browser at the host of one person's servers: a token for these alone."""
ENTRANCE_NAME: Final = "towpath-entrance"
"""Of a browser that is on its way there."""

COOKIES: Final = "set_cookies"
"""Where a request keeps the Set-Cookie values that its answer has beside those that the portal sets."""

TICKET_MAX: Final = 128


class CookieJar:
    """Reads and writes one cookie of one hub: the session's, where no other is named."""

    def __init__(self, *, secure: bool, base_path: str, name: str = PLAIN_NAME) -> None:
        """`secure`: browsers come by https. `name`: without its prefix."""
        self.secure = secure
        self.base_path = base_path
        self.name = f"__Host-{name}" if secure else name
        self._needle = self.name.encode() + b"="
        # __Host- demands Path=/
        self._attributes = (
            "; Path=/; Secure; HttpOnly; SameSite=Lax" if secure else f"; Path={base_path}; HttpOnly; SameSite=Lax"
        )

    def ticket(self, cookie_headers: list[bytes]) -> str:
        """The ticket in the Cookie headers; `""` when there is none, or more than one."""
        found = b""
        needle = self._needle
        for header in cookie_headers:
            if needle not in header:
                continue
            for part in header.split(b";"):
                pair = part.strip(b" \t")
                if pair.startswith(needle):
                    value = pair[len(needle) :]
                    if found and found != value:
                        return ""
                    found = value
        if not found or len(found) > TICKET_MAX or not found.isascii():
            return ""
        return found.decode("ascii")

    def set(self, ticket: str, *, lifetime: int) -> str:
        """The Set-Cookie value that gives the browser this ticket for `lifetime` seconds."""
        return f"{self.name}={ticket}{self._attributes}; Max-Age={lifetime}"

    def clear(self) -> str:
        """The Set-Cookie value that takes it away."""
        return f"{self.name}={self._attributes}; Max-Age=0"
