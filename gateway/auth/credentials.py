"""The credentials in a request's headers.

Owns a single pass over the headers. Does not check whether the credentials are valid.
"""

from typing import Final

_SCHEMES: Final = (b"token ", b"bearer ")
_TOKEN_MAX: Final = 512


class Brought:
    """The headers of a request that authentication needs."""

    __slots__ = ("accept", "authorization", "cookies", "fetch_mode", "fetch_site", "host", "origin")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        # Building a dict is fast, and correct unless a name occurs twice. That case is handled separately.
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
        """Handle repeated fields: cookies are joined (RFC 9113 section 8.2.3), other credentials become invalid."""
        self.cookies = [value for name, value in headers if name == b"cookie"]
        if names.count(b"authorization") > 1:
            self.authorization = b""
        if names.count(b"origin") > 1:
            self.origin = b"null"
        if names.count(b"sec-fetch-site") > 1:
            self.fetch_site = b"cross-site"

    @property
    def wants_page(self) -> bool:
        """Whether a browser requests a page (and not a script or program data)."""
        return self.fetch_mode == b"navigate" or (self.fetch_mode is None and b"text/html" in self.accept)


def bearer(authorization: bytes) -> str | None:
    """Return the secret of `token X` or `Bearer X` (RFC 6750, JupyterHub); None if it has another form."""
    lowered = authorization[:7].lower()
    for scheme in _SCHEMES:
        if lowered.startswith(scheme):
            secret = authorization[len(scheme) :].strip()
            if 0 < len(secret) <= _TOKEN_MAX and secret.isascii():
                return secret.decode("ascii")
    return None
