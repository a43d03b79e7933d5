"""HTTP to slurmrestd: one request, one JSON answer; over TCP, TLS or a unix socket; with a token for each user.

Owns the connection, the tokens, what an answer without JSON means. Does not know paths and what is in an answer.

The standard library's client in threads: requests are few (one poll a tick, a submit now and then), and an HTTP library
of its own would be one more thing that every hub has to keep up to date. Sources: slurm's jwt.html and rest.html.
"""

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey

from batch.contract import LauncherError
from batch.launchers.slurm.clients import lenient_json
from batch.launchers.slurm.kind import SlurmConfig

TOKEN_SECONDS: Final = 300
RENEW_SECONDS: Final = 60
"""A token with less than this left is not used any more."""
THREADS: Final = 16
KEY_MIN: Final = 32
"""slurm's jwt.html: at least 256 bits."""


def mint(key: bytes, user: str, *, now: int, seconds: int = TOKEN_SECONDS) -> str:
    """A token for `user` that is valid until `now + seconds`, as auth/jwt reads it: HS256; `sun`, `iat`, `exp`."""
    claims = {"sun": user, "iat": now, "exp": now + seconds}
    return jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, OctKey.import_key(key))


class Tokens:
    """The token of a request: one made for its user, or the operator's own for all."""

    def __init__(self, config: SlurmConfig) -> None:
        """Reads the file. Raises LauncherError when it cannot be used."""
        self._key = _secret(config.rest_key_file) if config.rest_key_file else b""
        self._token = _secret(config.rest_token_file).decode("ascii", "replace").strip() if not self._key else ""
        if self._key and len(self._key) < KEY_MIN:
            raise _unusable(f"{config.rest_key_file} is too short for a key of Slurm's tokens.")
        self._made: dict[str, tuple[float, str]] = {}

    def headers(self, user: str) -> dict[str, str]:
        """What proves to slurmrestd that a request is `user`'s."""
        return {"X-SLURM-USER-NAME": user, "X-SLURM-USER-TOKEN": self._token or self._of(user)}

    def _of(self, user: str) -> str:
        now = time.time()
        held = self._made.get(user)
        if held is None or held[0] < now:
            self._made = {name: made for name, made in self._made.items() if made[0] >= now}
            token = mint(self._key, user, now=int(now))
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


class Http:
    """Requests to one slurmrestd."""

    def __init__(self, url: str, *, seconds: float, ca: str = "") -> None:
        """`ca`: a file with the certificates to trust in place of the system's. Raises LauncherError if it is none."""
        self._url = urlsplit(url)
        self._tls = _trusting(ca) if self._url.scheme == "https" else None
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="slurmrestd")

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer; `{}` where it is none. Raises LauncherError (transient) without an answer."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._ask, method, path, dict(headers), body)
        try:
            async with asyncio.timeout(self._seconds):
                status, text = await work
        except TimeoutError:
            words = f"Slurm has not answered within {self._seconds:.0f} seconds."
            raise LauncherError(words, transient=True, code="no-answer") from None
        except (OSError, http.client.HTTPException) as error:
            raise LauncherError("Slurm's REST service does not answer.", transient=True, code="no-answer") from error
        try:
            answer = lenient_json.decode(text)
        except ValueError:
            answer = {}
        return status, answer if isinstance(answer, dict) else {}

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        text = None if body is None else json.dumps(body).encode()
        if text is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            base = "" if self._url.scheme == "unix" else self._url.path.rstrip("/")
            connection.request(method, base + path, text, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._url.scheme == "unix":
            return _UnixConnection(self._url.path, self._seconds)
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._seconds, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._seconds)


class _UnixConnection(http.client.HTTPConnection):
    """To a socket's path; the name in the Host header is for form's sake."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """See http.client."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
