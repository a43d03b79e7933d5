"""Requests to a provider over persistent connections. Only this module imports the HTTP client.

Owns aiohttp, TLS and the proxy, limits on the size of responses, and the translation of errors. Does not know about
OAuth and what a response means. Follows no redirect, uses no proxy from the environment, stores no cookies.
"""

import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp

from gateway.auth.oidc.errors import UnreachableError, in_a_line

ANSWER_MAX: Final = 512 * 1024
"""Maximum size of a response's body, in bytes, after decompression."""
FIELD_MAX: Final = 32 * 1024
CONNECTIONS: Final = 32
IDLE_SECONDS: Final = 60.0


class Got(NamedTuple):
    """A response. `next`: the next page's URL (RFC 8288); `""`: there is none.

    `media_type`: in lower case, without parameters.
    """

    status: int
    body: bytes
    next: str = ""
    media_type: str = ""


class Http:
    """The HTTP connections to one provider. They belong to the event loop that sends the first request."""

    def __init__(self, *, timeout: float, ca_file: str = "", proxy: str = "") -> None:
        """`timeout`: seconds from the request to the end of its response."""
        self._tls = ssl.create_default_context(cafile=ca_file or None)
        self._timeout = timeout
        self._proxy = proxy or None
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Got:
        """Send a request. Raises UnreachableError, whose text contains neither body nor headers."""
        if self._session is None:
            self._session = self._opened()
        try:
            async with self._session.request(method, url, headers=headers, data=body, allow_redirects=False) as answer:
                parts: list[bytes] = []
                size = 0
                async for part in answer.content.iter_any():
                    size += len(part)
                    if size > ANSWER_MAX:
                        raise UnreachableError(f"the response is longer than {ANSWER_MAX} bytes")
                    parts.append(part)
                return Got(answer.status, b"".join(parts), _next(answer), answer.content_type)
        except aiohttp.ClientResponseError as error:  # its text contains the proxy's URL with its password
            raise UnreachableError(f"{type(error).__name__}: {error.status} {error.message}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(in_a_line(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=CONNECTIONS, keepalive_timeout=IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Towpath"},
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            proxy=self._proxy,
            trust_env=False,
            max_line_size=FIELD_MAX,
            max_field_size=FIELD_MAX,
        )


def _next(answer: aiohttp.ClientResponse) -> str:
    if "Link" not in answer.headers:
        return ""
    found = answer.links.get("next")
    return "" if found is None else str(found["url"])
