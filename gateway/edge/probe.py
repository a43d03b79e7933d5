"""The check of the edge: sends requests to the public URL, and records the results.

Owns the requests and their order. `gateway.edge.diagnosis` interprets the observations. Nothing
on the hub is changed.
"""

import asyncio
import base64
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.edge.connection import BadResponseError, Connection, Fields, Response
from gateway.edge.contract import HEADER, PATH, Seen

STEP_SECONDS: Final = 20.0
CHUNK: Final = 2 * 1024 * 1024
"""More than JupyterLab sends in one request: 1 MiB in base64, in JSON."""
HUGE: Final = 10 * 1024**3
SPOOFED_ADDRESS: Final = "192.0.2.1"
SPOOFED_HOST: Final = "spoofed.invalid"
ODD_PATH: Final = "echo/a%2Fb//c%20d;e=f"
USER_LABEL: Final = "towpath-edge-check"
_ERRORS: Final = (OSError, EOFError, BadResponseError, ValueError, asyncio.IncompleteReadError)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is checked. `origin`: scheme, host and port of the public URL; `user_domain`: as configured, or `""`."""

    origin: str
    base_path: str
    secret: str
    user_domain: str = ""
    silence: float = 0.0
    """Seconds for which one request is silent; 0: not checked."""


@dataclass(kw_only=True)
class Observed:
    """The observations. None: the check did not get that far."""

    failed: str = ""
    """Why no connection is possible."""
    untrusted: str = ""
    """Why the certificate cannot be verified here."""
    days_left: float | None = None
    """Days until the certificate expires."""
    http2: bool | None = None
    status: int = 0
    """The status of the first response; 0: no response."""
    server: str = ""
    """The Server and Via fields, which identify the edge."""
    location: str = ""
    from_hub: bool = False
    """Whether a gateway answered the first request."""
    seen: Seen | None = None
    websocket: int | None = None
    """The status of the handshake; 1: the handshake succeeded, but the message did not come back."""
    event_gap: float | None = None
    """Seconds between the arrivals of two events that are sent with a pause; negative: they did not arrive."""
    chunk: int | None = None
    huge: int | None = None
    """The statuses of an upload of CHUNK bytes, and of one that announces HUGE bytes. 0: no response."""
    silence: int | None = None
    silent_for: float = 0.0
    """The status of the silent request, and the seconds after which it ended."""
    user_host: str | None = None
    """The problem with a user's host; `""`: none."""
    notes: list[str] = field(default_factory=list)


class Probe:
    """One run of the check. `run` returns the observations, and never raises because of an edge's response."""

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.origin)
        self._target = target
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._netloc = parts.netloc
        self._context = _context(verified=True) if self._tls else None
        self.observed = Observed()

    async def run(self) -> Observed:
        """Run all checks that can be run."""
        observed = self.observed
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self._reach()
        except _ERRORS as error:
            observed.failed = _reason(error)
            return observed
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self._echo()
        except _ERRORS as error:
            observed.notes.append(_reason(error))
        if observed.seen is None:
            return observed
        await asyncio.gather(
            self._guarded(self._websocket, "websocket", 0),
            self._guarded(self._events, "event_gap", -1.0),
            self._guarded(self._chunk, "chunk", 0),
            self._guarded(self._huge, "huge", 0),
            self._guarded(self._user_host, "user_host", "no answer"),
            self._guarded(self._silence, "silence", 0, seconds=self._target.silence + STEP_SECONDS),
        )
        return observed

    async def _guarded(
        self, step: Callable[[], Awaitable[object]], name: str, otherwise: object, *, seconds: float = STEP_SECONDS
    ) -> None:
        try:
            async with asyncio.timeout(seconds):
                setattr(self.observed, name, await step())
        except _ERRORS:
            setattr(self.observed, name, otherwise)

    async def _open(self, *, server_name: str | None = None) -> Connection:
        return await Connection.open(self._host, self._port, context=self._context, server_name=server_name)

    def _fields(self, *more: tuple[bytes, bytes], host: str = "") -> Fields:
        own = [(b"Host", (host or self._netloc).encode()), (HEADER, self._target.secret.encode())]
        return [*own, (b"User-Agent", b"towpath-edge-check"), *more]

    def _at(self, part: str) -> str:
        return f"{self._target.base_path}{PATH}{part}"

    async def _reach(self) -> None:
        """Connect once, to inspect the certificate and HTTP/2."""
        if self._context is None:
            (await self._open()).close()
            return
        offering = _context(verified=True)
        offering.set_alpn_protocols(["h2", "http/1.1"])
        try:
            connection = await Connection.open(self._host, self._port, context=offering)
        except ssl.SSLCertVerificationError as error:
            self.observed.untrusted = error.verify_message
            self._context = _context(verified=False)
            offering = _context(verified=False)
            offering.set_alpn_protocols(["h2", "http/1.1"])
            connection = await Connection.open(self._host, self._port, context=offering)
        line: ssl.SSLObject = connection.writer.get_extra_info("ssl_object")
        self.observed.http2 = line.selected_alpn_protocol() == "h2"
        ends = (line.getpeercert() or {}).get("notAfter")
        if isinstance(ends, str):
            self.observed.days_left = (ssl.cert_time_to_seconds(ends) - time.time()) / 86400
        connection.close()

    async def _echo(self) -> None:
        """Check how a request arrives whose headers a client must not be able to set."""
        observed = self.observed
        connection = await self._open()
        try:
            scheme = b"http" if self._tls else b"https"
            fields = self._fields(
                (b"Origin", self._target.origin.encode()),
                (b"Sec-Fetch-Site", b"same-origin"),
                (b"X-Forwarded-For", SPOOFED_ADDRESS.encode()),
                (b"X-Forwarded-Host", SPOOFED_HOST.encode()),
                (b"X-Forwarded-Proto", scheme),
                (b"Forwarded", f"for={SPOOFED_ADDRESS};host={SPOOFED_HOST}".encode()),
            )
            response = await connection.ask("GET", self._at(ODD_PATH), fields)
            if response.status != 200:  # noqa: PLR2004 - perhaps it is the odd path alone
                connection.close()
                connection = await self._open()
                plain = await connection.ask("GET", self._at("echo/"), fields)
                response = plain if plain.status == 200 else response  # noqa: PLR2004 - HTTP
            observed.status = response.status
            observed.server = " ".join(filter(None, (response.value(b"server"), response.value(b"via"))))
            observed.location = response.value(b"location")
            observed.from_hub = bool(response.value(b"x-jupyterhub-version"))
            body = await connection.body(response)
            if response.status == 200:  # noqa: PLR2004 - HTTP
                observed.seen = msgspec.json.decode(body, type=Seen)
        finally:
            connection.close()

    async def _websocket(self) -> int:
        connection = await self._open()
        try:
            key = base64.b64encode(os.urandom(16))
            fields = self._fields(
                (b"Origin", self._target.origin.encode()),
                (b"Connection", b"Upgrade"),
                (b"Upgrade", b"websocket"),
                (b"Sec-WebSocket-Version", b"13"),
                (b"Sec-WebSocket-Key", key),
            )
            response = await connection.ask("GET", self._at("websocket"), fields)
            if response.status != 101:  # noqa: PLR2004 - HTTP
                return response.status
            connection.writer.write(b"\x81\x85\x00\x00\x00\x00hello")
            came = await connection.reader.readexactly(7)
            return 101 if came == b"\x81\x05hello" else 1
        finally:
            connection.close()

    async def _events(self) -> float:
        connection = await self._open()
        try:
            fields = self._fields((b"Accept", b"text/event-stream"))
            response = await connection.ask("GET", self._at("events"), fields)
            came: list[float] = []
            text = b""
            while response.status == 200 and (part := await connection.part(response)):  # noqa: PLR2004 - HTTP
                text += part
                came += [time.monotonic()] * (text.count(b"\n\n") - len(came))
            return came[1] - came[0] if len(came) > 1 else -1.0
        finally:
            connection.close()

    async def _chunk(self) -> int:
        return await self._upload(CHUNK, bytes(CHUNK), "body")

    async def _huge(self) -> int:
        """Announce a large upload. An edge with a limit rejects it immediately; others wait for the body."""
        try:
            async with asyncio.timeout(3):
                return await self._upload(HUGE, b"", "limit")
        except TimeoutError:
            return 200

    async def _upload(self, length: int, body: bytes, part: str) -> int:
        connection = await self._open()
        try:
            fields = self._fields(
                (b"Origin", self._target.origin.encode()),
                (b"Sec-Fetch-Site", b"same-origin"),
                (b"Content-Type", b"application/octet-stream"),
                (b"Content-Length", b"%d" % length),
            )
            asking = asyncio.create_task(connection.ask("POST", self._at(part), fields, body))
            response: Response = await asking
            return response.status
        finally:
            connection.close()

    async def _silence(self) -> int | None:
        if not self._target.silence:
            return None
        connection = await self._open()
        begun = time.monotonic()
        try:
            response = await connection.ask("GET", self._at(f"silence/{self._target.silence:.0f}"), self._fields())
            return response.status
        finally:
            self.observed.silent_for = time.monotonic() - begun
            connection.close()

    async def _user_host(self) -> str | None:
        """Check whether a user's host reaches the hub. The gateway redirects from there to the hub's own host."""
        if not self._target.user_domain:
            return None
        host = f"{USER_LABEL}.{self._target.user_domain}"
        port = self._netloc.rpartition(":")[2] if ":" in self._netloc else ""
        netloc = f"{host}:{port}" if port else host
        try:
            connection = await Connection.open(host, self._port, context=self._context)
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not valid for that name ({error.verify_message})"
        except OSError as error:
            return f"it cannot be reached ({_reason(error)})"
        try:
            response = await connection.ask("GET", f"{self._target.base_path}hub/home", self._fields(host=netloc))
        finally:
            connection.close()
        if response.value(b"location").startswith(f"{self._target.origin}/"):
            return ""
        return f"it is not led to the hub (the answer was {response.status})"


def _context(*, verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if not verified:
        # No password or token is sent. The check only needs to know whether requests arrive.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {STEP_SECONDS:.0f} s"
    if isinstance(error, EOFError | asyncio.IncompleteReadError):
        return "the connection was closed"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
