"""The workers of all gateways as peers: which of them hold waiting connections, and streams through them.

Owns what this worker says of itself in the store, its listeners for others, and whom they trust: on a unix socket with
mode 0600 everyone, with TLS only gateways of this hub.
"""

import asyncio
import contextlib
import logging
import os
import random
import ssl
import time
from collections.abc import Collection, Coroutine
from pathlib import Path
from typing import Final, Protocol

from gateway.ways_in import unix_socket
from gateway.ways_in.errors import WayInError
from gateway.ways_in.identity import GatewayIdentity
from gateway.ways_in.reverse.peer_links import ASK_SECONDS, PeerAcceptor, PeerClient
from gateway.ways_in.reverse.stream import FramedStream
from gateway.ways_in.reverse.waiting import WaitingStreams
from gateway.ways_in.sockets import keep_alive
from state.errors import StateUnavailableError, TowpathError
from state.names import GATEWAY_NAME, REPORTS_NAME, attempt_of
from state.records.reverse import Holder

log = logging.getLogger("towpath.ways_in")

REFRESH_SECONDS: Final = 15.0
LIFE_SECONDS: Final = 40.0
AWAY_SECONDS: Final = 5.0
"""Seconds for which a gateway that cannot be reached is not asked again."""
CONNECT_SECONDS: Final = 2.0
KNOWN_MAX: Final = 10_000
BACKLOG: Final = 1024


class HolderStore(Protocol):
    """See `state.store.reverse_holders.ReverseHolders`."""

    async def hold(self, attempts: Collection[str], holder: Holder, *, until: float, now: float) -> None:
        """Note that a worker holds connections."""

    async def release(self, attempts: Collection[str], holder: Holder) -> None:
        """Note that it does not any more."""

    async def find(self, attempt: str, *, now: float) -> list[Holder]:
        """Return the workers that hold connections."""
        ...


class PeerNetwork:
    """See `gateway.ways_in.reverse.way_in.Peers`. Call `start` once."""

    def __init__(
        self, waiting: WaitingStreams, store: HolderStore, identity: GatewayIdentity, *, socket: Path, host: str = ""
    ) -> None:
        """`socket`: the path of this worker's unix socket. `host`: its address for other gateways; `""`: none."""
        self._waiting = waiting
        self._store = store
        self._identity = identity
        self._own = Holder(path=str(socket), host=host)
        self._announced: dict[str, float] = {}  # attempts of which the store knows that we hold some, and since when
        self._known: dict[str, list[Holder]] = {}  # the last answers of the store, for while it is away
        self._away: dict[Holder, float] = {}
        self._servers: list[asyncio.Server] = []
        self._certificate: PeerCertificate | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, certificates: Path) -> None:
        """Listen for other workers. `certificates`: the folder of this gateway's. Raises TowpathError."""
        loop = asyncio.get_running_loop()
        path = Path(self._own.path)
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - at the start
        before = os.umask(0o177)
        try:
            server = await loop.create_unix_server(
                lambda: PeerAcceptor(self._waiting, _everyone), str(path), backlog=BACKLOG
            )
        except OSError as error:
            raise TowpathError(f"Cannot listen on {path}: {error.strerror or error}.") from error
        finally:
            os.umask(before)
        self._servers.append(server)
        if self._own.host:
            await self._listen(certificates)
        self._waiting.on_arrival = self._arrived
        self._spawn(self._refresh())

    async def _listen(self, certificates: Path) -> None:
        """Listen for other gateways, on a port that the kernel chooses."""
        loop = asyncio.get_running_loop()
        try:
            certificate = await asyncio.to_thread(PeerCertificate, certificates)
            server = await loop.create_server(
                lambda: PeerAcceptor(self._waiting, is_gateway),
                self._own.host,
                0,
                ssl=certificate.context,
                backlog=BACKLOG,
            )
        except OSError as error:  # ssl.SSLError is one
            raise TowpathError(f"Cannot listen for other gateways on {self._own.host}: {error}.") from error
        self._certificate = certificate
        self._servers.append(server)
        self._own = Holder(path=self._own.path, host=self._own.host, port=server.sockets[0].getsockname()[1])

    # --- what we hold

    def _arrived(self, name: str) -> None:
        attempt = attempt_of(name)
        if time.monotonic() - self._announced.get(attempt, -REFRESH_SECONDS) >= REFRESH_SECONDS:
            self._announced[attempt] = time.monotonic()
            self._spawn(self._tell([attempt]))

    async def _tell(self, attempts: list[str]) -> None:
        now = time.time()
        try:
            await self._store.hold(attempts, self._own, until=now + LIFE_SECONDS, now=now)
        except StateUnavailableError:
            for attempt in attempts:
                self._announced.pop(attempt, None)

    async def _refresh(self) -> None:
        """Tell the store again and again what we hold."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            held = {attempt_of(name): time.monotonic() for name in self._waiting.names()}
            self._announced = held
            await self._tell(list(held))
            if self._certificate is not None:
                await asyncio.to_thread(self._certificate.renew)

    # --- what others hold

    async def take(self, name: str) -> FramedStream | None:
        """See Peers."""
        attempt = attempt_of(name)
        try:
            holders = await self._store.find(attempt, now=time.time())
        except StateUnavailableError:
            holders = self._known.get(attempt, [])
        else:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[attempt] = holders
        others = [holder for holder in holders if holder != self._own and not self._is_away(holder)]
        random.shuffle(others)
        for holder in others:
            stream = await self._ask(holder, name)
            if stream is not None and stream.usable:
                return stream
        return None

    def _is_away(self, holder: Holder) -> bool:
        return self._away.get(holder, 0.0) > time.monotonic()

    async def _ask(self, holder: Holder, name: str) -> FramedStream | None:
        """Return a stream through a worker, or None."""
        try:
            peer = await self._connect(holder, name)
        except (OSError, TimeoutError, WayInError) as error:
            if holder not in self._away:
                log.info("Another worker cannot be reached. path=%s host=%s reason=%r", holder.path, holder.host, error)
            now = time.monotonic()
            self._away = {each: until for each, until in self._away.items() if until > now}
            self._away[holder] = now + AWAY_SECONDS
            return None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await peer.answer
        except TimeoutError:
            peer.give_up()
            return None
        except BaseException:
            peer.give_up()
            raise

    async def _connect(self, holder: Holder, name: str) -> PeerClient:
        """Connect to a worker. Raises OSError, TimeoutError and WayInError."""
        with contextlib.suppress(OSError):  # it is on another host, or has ended
            _, peer = await unix_socket.connect(lambda: PeerClient(name), holder.path)
            return peer
        if not holder.port:
            raise FileNotFoundError(holder.path)
        context = await self._identity.context()
        async with asyncio.timeout(CONNECT_SECONDS):
            transport, peer = await asyncio.get_running_loop().create_connection(
                lambda: PeerClient(name), holder.host, holder.port, ssl=context, server_hostname=REPORTS_NAME
            )
        keep_alive(transport)
        return peer

    # --- the end

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """See Peers."""
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(StateUnavailableError):
            await self._store.release(list(self._announced), self._own)


def _everyone(_transport: asyncio.Transport) -> bool:
    return True


def is_gateway(transport: asyncio.Transport) -> bool:
    """Return whether the other end has a gateway's certificate. The authority has also signed those of jobs."""
    certificate = transport.get_extra_info("ssl_object").getpeercert() or {}
    return ("DNS", GATEWAY_NAME) in certificate.get("subjectAltName", ())


class PeerCertificate:
    """The TLS context for other gateways, with the certificate that this gateway also has for reports."""

    def __init__(self, folder: Path) -> None:
        """Raise OSError if the files cannot be used (`ssl.SSLError` is one)."""
        self._authority, self._own = folder / "authority.pem", folder / "reports.pem"
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_REQUIRED
        self._mark = self._read_mark()
        self._load()

    def _read_mark(self) -> list[int]:
        return [path.stat().st_mtime_ns for path in (self._authority, self._own)]

    def _load(self) -> None:
        self.context.load_verify_locations(self._authority)
        self.context.load_cert_chain(self._own)

    def renew(self) -> None:
        """Use files that have changed, for new connections. The last valid ones stay in use. Blocks."""
        try:
            mark = self._read_mark()
            if mark != self._mark:
                self._load()
                self._mark = mark
        except OSError as error:
            log.warning("The certificate for other gateways was not renewed. reason=%r", error.strerror or str(error))
