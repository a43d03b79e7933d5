"""The way in `ssh`: passes, connections and streams put together, for one worker.

Owns which connection a stream goes over, a second try on a new one, and the end of connections that nobody uses. Where
a stream may lead is in the pass, which the controller makes from its own records: never in a request.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.ways_in.contract import P
from gateway.ways_in.errors import WayInError
from gateway.ways_in.ssh.errors import HostError, LinkFullError, LinkLostError
from gateway.ways_in.ssh.lines import Line
from gateway.ways_in.ssh.passes import Passes, PassStore
from state.records.models import Endpoint
from state.records.ssh import SshPass
from state.sealing.private_files import PrivateFileError, is_private_file

if TYPE_CHECKING:
    from gateway.ways_in.ssh.door import GatewayKey, Link

CONNECT_SECONDS: Final = 8.0
"""For TCP, key exchange and authentication: less than the tunnel waits, so that the user is told what failed."""
SWEEP_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 300.0
"""Seconds for which a connection stays open after its last stream."""
TRIES: Final = 3
QUEUE_PAUSES: Final = (0.01, 0.03, 0.1, 0.2)

LineKey = tuple[tuple[str, str, int, str], ...]


async def _opened(link: "Link", path: str, protocol: Callable[[], P]) -> P:
    """Open a stream; a little later again while the app's queue of connections may be full.

    sshd does not wait for room there, and does not say why a connection failed (see `gateway.ways_in.unix_socket`).
    """
    for pause in QUEUE_PAUSES:
        try:
            return await link.open(path, protocol)
        except ConnectionRefusedError:
            await asyncio.sleep(pause)
    return await link.open(path, protocol)


class SshWayIn:
    """See `gateway.ways_in.contract.WayIn`: endpoints of kind `ssh-socket`."""

    def __init__(self, store: PassStore, certificate: Path, *, idle_seconds: float = IDLE_SECONDS) -> None:
        """`certificate`: the file with the gateway's certificate and key."""
        self._certificate = certificate
        self._idle_seconds = idle_seconds
        self._passes = Passes(store, self._gateway_id)
        self._lines: dict[LineKey, Line] = {}
        self._key: tuple[tuple[int, int], GatewayKey] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, endpoint: Endpoint, protocol: Callable[[], P]) -> P:
        """See the contract."""
        another = False
        for last in (*[False] * (TRIES - 1), True):
            made = await self._passes.get(endpoint)
            line = self._line(made)
            try:
                link = await line.link(made, another=another)
                return await _opened(link, endpoint.path, protocol)
            except LinkFullError:
                another = True
                if last:
                    raise
            except LinkLostError:  # it had ended, and nobody had noticed
                if last:
                    raise
            except HostError as error:
                if not error.renew or not self._passes.not_accepted(endpoint, made) or last:
                    raise
        raise AssertionError  # the last turn returns or raises

    def _line(self, made: SshPass) -> Line:
        key = tuple((hop.name, hop.address, hop.port, hop.user) for hop in made.hops)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(f"{made.hops[-1].user}@{made.hops[-1].name}", self._connect)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        return line

    async def _connect(self, made: SshPass) -> "Link":
        from gateway.ways_in.ssh.door import connect  # noqa: PLC0415 - loaded already, with the key

        return await connect(made.hops, await self._gateway_key(), seconds=CONNECT_SECONDS)

    async def _gateway_id(self) -> str:
        return (await self._gateway_key()).id

    async def _gateway_key(self) -> "GatewayKey":
        return await asyncio.to_thread(self._load)

    def _load(self) -> "GatewayKey":
        """Load asyncssh, and the key if its file has changed. Raises WayInError."""
        from gateway.ways_in.ssh.door import GatewayKey  # noqa: PLC0415 - 150 ms, and only with hosts over SSH

        try:
            if not is_private_file(self._certificate):
                message = f"This gateway has no certificate ({self._certificate}). To get one: towpath gateway join."
                raise WayInError("identity", message)
            facts = self._certificate.stat()
            mark = (facts.st_ino, facts.st_mtime_ns)
            if self._key is None or self._key[0] != mark:
                self._key = mark, GatewayKey(self._certificate.read_bytes())
        except (OSError, PrivateFileError) as error:
            raise WayInError("identity", str(error)) from error
        return self._key[1]

    def _sweep(self) -> None:
        """Close connections on which nothing was open for a while."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep)
        self._passes.forget()
        for key, line in list(self._lines.items()):
            if not line.idle:
                line.last_used = loop.time()
            elif loop.time() - line.last_used > self._idle_seconds:
                del self._lines[key]
                task = loop.create_task(line.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        if not self._lines:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """See the contract."""
        if self._timer is not None:
            self._timer.cancel()
        self._passes.close()
        lines, self._lines = list(self._lines.values()), {}
        await asyncio.gather(*(line.close() for line in lines), *self._closing)
