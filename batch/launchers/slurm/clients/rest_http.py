"""HTTP to slurmrestd over TCP, TLS or a unix socket: one request, one JSON response; with a token for each user.

Owns the persistent connections, the tokens, and what a response without JSON means. Does not know about paths and what
a response contains. Only this module of the launchers imports aiohttp and joserfc.

Follows no redirect, uses no proxy from the environment, stores no cookies. Sources: Slurm's jwt.html and rest.html;
RFC 9110 section 9.2.2 (which requests may be repeated), RFC 9112 section 9.3.1 (after which failures).
"""

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from joserfc import jwt
from joserfc.jwk import OctKey

from batch.contract import LauncherError
from batch.launchers.slurm.clients import lenient_json
from batch.launchers.slurm.kind import SlurmConfig

TOKEN_SECONDS: Final = 300
RENEW_SECONDS: Final = 60
"""A token with less than this left is not used any more."""
CONNECTIONS: Final = 16
"""Further requests wait until one is free."""
IDLE_SECONDS: Final = 60.0
"""An idle connection is closed after this time, which is longer than the time between two polls."""
RESPONSE_MAX: Final = 256 * 1024 * 1024
"""Maximum size of a response's body, in bytes. 1,000 jobs take 4 to 9 MB."""
FIELD_MAX: Final = 64 * 1024
"""Maximum size of a line of a response's head, in bytes."""
KEY_MIN: Final = 32
"""slurm's jwt.html: at least 256 bits."""


def create_token(key: bytes, user: str, *, now: int, seconds: int = TOKEN_SECONDS) -> str:
    """Return a token for `user` that is valid until `now + seconds`, for auth/jwt: HS256; `sun`, `iat`, `exp`."""
    claims = {"sun": user, "iat": now, "exp": now + seconds}
    return jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, OctKey.import_key(key))


class Tokens:
    """The token of a request: one created for its user, or the operator's, which is used for all."""

    def __init__(self, config: SlurmConfig) -> None:
        """Read the file. Raises LauncherError if it cannot be used."""
        self._key = _secret(config.rest_key_file) if config.rest_key_file else b""
        self._token = _secret(config.rest_token_file).decode("ascii", "replace").strip() if not self._key else ""
        if self._key and len(self._key) < KEY_MIN:
            raise _unusable(f"{config.rest_key_file} is too short for a key of Slurm's tokens.")
        self._made: dict[str, tuple[float, str]] = {}

    def headers(self, user: str) -> dict[str, str]:
        """Return the headers that prove to slurmrestd that a request is from `user`."""
        return {"X-SLURM-USER-NAME": user, "X-SLURM-USER-TOKEN": self._token or self._of(user)}

    def _of(self, user: str) -> str:
        now = time.time()
        held = self._made.get(user)
        if held is None or held[0] < now:
            self._made = {name: made for name, made in self._made.items() if made[0] >= now}
            token = create_token(self._key, user, now=int(now))
            held = self._made[user] = (now + TOKEN_SECONDS - RENEW_SECONDS, token)
        return held[1]


def _secret(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unusable(f"{path} cannot be read: {error.strerror}.") from error


def _trusting(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:  # also an SSLError, where the file has no certificate
        raise _unusable(f"{ca} cannot be used as rest_ca: {error.strerror or 'it has no certificate'}.") from error


def _unusable(sentence: str) -> LauncherError:
    return LauncherError(sentence, transient=False, code="config", hint="Tell the hub's admins.")


class RestHttp:
    """The HTTP connections to one slurmrestd. They belong to the event loop that sends the first request.

    `close` must be called in that loop.
    """

    def __init__(self, url: str, *, seconds: float, ca: str = "") -> None:
        """`seconds`: from the request to the end of its response.

        `ca`: a file with the certificates to trust instead of the system's. Raises LauncherError if it has none.
        """
        parts = urlsplit(url)
        self._socket = parts.path if parts.scheme == "unix" else ""
        self._base = "http://localhost" if self._socket else f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._tls = _trusting(ca) if parts.scheme == "https" else None
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and JSON of the response; `{}` if it is none. Raises LauncherError (transient) without one.

        aiohttp repeats a GET or DELETE once if its connection breaks before the response, as a kept connection does
        when slurmrestd has restarted. A POST is never repeated: it may have submitted a job.
        """
        if self._session is None:
            self._session = self._opened()
        try:
            async with asyncio.timeout(self._seconds):
                status, text = await _answered(self._session, method, self._base + path, headers, body)
        except TimeoutError:
            message = f"Slurm has not answered within {self._seconds:.0f} seconds."
            raise LauncherError(message, transient=True, code="no-answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise LauncherError("Slurm's REST service does not answer.", transient=True, code="no-answer") from error
        try:
            answer = lenient_json.decode(text)
        except ValueError:
            answer = {}
        return status, answer if isinstance(answer, dict) else {}

    async def close(self) -> None:
        """Close the connections. A later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        connector = (
            aiohttp.UnixConnector(self._socket, limit=CONNECTIONS, keepalive_timeout=IDLE_SECONDS)
            if self._socket
            else aiohttp.TCPConnector(ssl=self._tls or True, limit=CONNECTIONS, keepalive_timeout=IDLE_SECONDS)
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Towpath", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
            max_line_size=FIELD_MAX,
            max_field_size=FIELD_MAX,
        )


async def _answered(
    session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None
) -> tuple[int, bytes]:
    text = None if body is None else json.dumps(body).encode()
    more = {} if text is None else {"Content-Type": "application/json"}
    request = session.request(method, url, headers={**headers, **more}, data=text, allow_redirects=False)
    async with request as response:
        content = bytearray()
        async for part in response.content.iter_any():
            content += part
            if len(content) > RESPONSE_MAX:
                message = f"Slurm's REST service has returned more than {RESPONSE_MAX} bytes."
                raise LauncherError(message, transient=True, code="no-answer")
        return response.status, bytes(content)
