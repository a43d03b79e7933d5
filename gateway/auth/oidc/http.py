"""Requests to a provider over a few connections that are kept: the one door to the HTTP client.

Owns: aiohttp, TLS and the proxy, bounds on what a provider may send, and the translation of errors. Refuses to know
OAuth and what an answer means. No redirect is followed, no proxy is taken from the environment, no cookie is kept.
"""

import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp

from gateway.auth.oidc.errors import AwayError, in_a_line

ANSWER_MAX: Final = 512 * 1024
"""Longest body of a provider's answer, in bytes, after decompression."""
FIELD_MAX: Final = 32 * 1024
CONNECTIONS: Final = 32
IDLE_SECONDS: Final = 60.0


class Got(NamedTuple):
    """An answer as it came. `next`: the next page's URL (RFC 8288); `""`: there is none.

    `media_type`: in lower case, without parameters.
    """

    status: int
    body: bytes
    next: str = ""
    media_type: str = ""


class Http:
    """For one provider. Connections are opened in the event loop that first asks."""

    def __init__(self, *, timeout: float, ca_file: str = "", proxy: str = "") -> None:
        """`timeout`: seconds from a question to the end of its answer."""
        self._tls = ssl.create_default_context(cafile=ca_file or None)
        self._timeout = timeout
        self._proxy = proxy or None
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Got:
        """One request. Raises AwayError, whose text has neither body nor headers in it."""
        if self._session is None:
            self._session = self._opened()
        try:
            async with self._session.request(method, url, headers=headers, data=body, allow_redirects=False) as answer:
                parts: list[bytes] = []
                size = 0
                async for part in answer.content.iter_any():
                    size += len(part)
                    if size > ANSWER_MAX:
                        raise AwayError(f"the answer is longer than {ANSWER_MAX} bytes")
                    parts.append(part)
                return Got(answer.status, b"".join(parts), _next(answer), answer.content_type)
        except aiohttp.ClientResponseError as error:  # its text has the proxy's URL in it, with the password there
            raise AwayError(f"{type(error).__name__}: {error.status} {error.message}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AwayError(in_a_line(error)) from error

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
