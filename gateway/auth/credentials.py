"""What a request brings to prove who is asking.

Owns: one pass over the headers for the few that decide. Refuses to know whether the proof holds.
"""

from typing import Final

_SCHEMES: Final = (b"token ", b"bearer ")
_TOKEN_MAX: Final = 512


class Brought:
    """The deciding headers of a request."""

    __slots__ = ("accept", "authorization", "cookies", "fetch_mode", "fetch_site", "host", "origin")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        # A dict is built in C and is right unless a name came twice: then look closely.
        get = dict(headers).get
        cookie = get(b"cookie")
        self.cookies = [] if cookie is None else [cookie]
        self.authorization = get(b"authorization")
        self.origin = get(b"origin")
        self.fetch_site = get(b"sec-fetch-site")
        self.fetch_mode = get(b"sec-fetch-mode")
        self.host = get(b"host", b"")
        self.accept = get(b"accept", b"")
        names = [name for name, _ in headers]
        if len(set(names)) != len(names):
            self._settle_repeats(headers, names)

    def _settle_repeats(self, headers: list[tuple[bytes, bytes]], names: list[bytes]) -> None:
        """Cookies may come in several fields (RFC 9113 section 8.2.3); of what decides, two vouch for nothing."""
        self.cookies = [value for name, value in headers if name == b"cookie"]
        if names.count(b"authorization") > 1:
            self.authorization = b""
        if names.count(b"origin") > 1:
            self.origin = b"null"
        if names.count(b"sec-fetch-site") > 1:
            self.fetch_site = b"cross-site"

    @property
    def wants_page(self) -> bool:
        """Whether a person's browser asks for a page, rather than a program for data."""
        return self.fetch_mode == b"navigate" or (self.fetch_mode is None and b"text/html" in self.accept)


def bearer(authorization: bytes) -> str | None:
    """The secret of `token X` or `Bearer X` (RFC 6750, JupyterHub); None when it is neither or not printable."""
    lowered = authorization[:7].lower()
    for scheme in _SCHEMES:
        if lowered.startswith(scheme):
            secret = authorization[len(scheme) :].strip()
            if 0 < len(secret) <= _TOKEN_MAX and secret.isascii():
                return secret.decode("ascii")
    return None
