"""Exports the audit as JSON lines to a file and as RFC 5424 messages to syslog, and limits its size.

Owns the delivery of each entry once, and what an unavailable destination means. Does not know what an entry says. It
runs in the leader's term: its position is a cursor in Redis, moved under the fencing token.

A crash between writing and moving the cursor duplicates nothing in a file, whose last line tells the position. A
datagram leaves no trace: there the cursor moves after every message, and the last one is sent again if the controller
is killed at that moment; its `id` shows that it is the same.
"""

import asyncio
import fcntl
import logging
import os
import socket
import stat
import time
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from state.config.tables import AuditConfig
from state.errors import StateUnavailableError
from state.records.audit import Entry, line, syslog
from state.store.audit import AT_ONCE, Audit, position

log = logging.getLogger("towpath.audit")

WAIT_SECONDS: Final = 5.0
TRIM_SECONDS: Final = 60.0
BACK_OFF: Final = (0.5, 30.0)
SEND_SECONDS: Final = 5.0
TAIL: Final = 64 * 1024
"""More than the longest line, in bytes."""
DAY: Final = 24 * 3600.0


class Sink(Protocol):
    """A destination of entries. `name` is that of its cursor; `most` entries are written at once."""

    name: str
    most: int

    def write(self, entries: list[Entry]) -> None:
        """Write entries in order; blocks. Raises OSError: none, or not all, may have been written."""

    def close(self) -> None:
        """Close what is open."""


class File:
    """JSON lines, appended (0600). The file is opened for each write, so that it can be moved away (logrotate)."""

    most = AT_ONCE

    def __init__(self, path: str) -> None:
        self.name = f"file {path}"
        self._path = path

    def write(self, entries: list[Entry]) -> None:
        """See `Sink`. Entries that the file already has are skipped, and an incomplete last line is removed."""
        handle = os.open(
            self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
        )
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(f"{self._path} is not a file")
            fcntl.flock(handle, fcntl.LOCK_EX)  # a former leader may not know yet that it lost the lease
            last = _last_written(handle)
            rest = memoryview(b"".join(line(entry) for entry in entries if position(entry.id) > last))
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        """Nothing is open between two writes."""


class Syslog:
    """Datagrams to a unix socket (such as /dev/log) or over UDP (RFC 5426)."""

    most = 1

    def __init__(self, url: str) -> None:
        self.name = f"syslog {url}"
        self._url = urlsplit(url)
        self._host = socket.gethostname()
        self._line: socket.socket | None = None

    def write(self, entries: list[Entry]) -> None:
        """See `Sink`."""
        try:
            if self._line is None:
                self._line = self._connect()
            for entry in entries:
                self._line.send(syslog(entry, host=self._host, pid=os.getpid()))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """The next write connects again."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _connect(self) -> socket.socket:
        family: int = socket.AF_UNIX
        address: Any = self._url.path
        if self._url.scheme == "udp":
            found = socket.getaddrinfo(self._url.hostname, self._url.port or 514, type=socket.SOCK_DGRAM)[0]
            family, address = found[0], found[4]
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.settimeout(SEND_SECONDS)
        try:
            made.connect(address)
        except OSError:
            made.close()
            raise
        return made


def sinks(config: AuditConfig) -> list[Sink]:
    """Return the destinations in the configuration."""
    made: list[Sink] = []
    if config.file:
        made.append(File(config.file))
    if config.syslog:
        made.append(Syslog(config.syslog))
    return made


async def export(audit: Audit, sink: Sink, *, fence: int) -> None:
    """Write new entries to the sink until cancelled. Raises FencedError for a former leader."""
    try:
        await _follow(audit, sink, fence)
    finally:
        sink.close()


async def _follow(audit: Audit, sink: Sink, fence: int) -> None:
    pause = BACK_OFF[0]
    at = ""
    while True:
        try:
            at = at or await audit.cursor(sink.name)
            entries, position_after = await audit.after(at, timeout=WAIT_SECONDS)
            for start in range(0, len(entries), sink.most):
                part = entries[start : start + sink.most]
                await _export(audit, sink, part, fence)
                at = part[-1].id
            at = position_after
            if pause != BACK_OFF[0]:
                log.info("The audit is exported again sink=%s", sink.name)
            pause = BACK_OFF[0]
        except StateUnavailableError:
            at = ""
            await asyncio.sleep(BACK_OFF[0])
        except OSError as error:
            log.warning(
                "The audit cannot be exported and waits in the store sink=%s reason=%s",
                sink.name,
                error.strerror or error,
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACK_OFF[1])


async def _export(audit: Audit, sink: Sink, entries: list[Entry], fence: int) -> None:
    """Write entries and move the cursor. The end of the term waits for both."""

    async def both() -> None:
        await asyncio.to_thread(sink.write, entries)
        await audit.advance(sink.name, entries[-1].id, fence=fence)

    work = asyncio.ensure_future(both())
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


async def keep(audit: Audit, config: AuditConfig) -> None:
    """Keep the stream within the configured limits until cancelled.

    Log when entries are dropped that were not exported.
    """
    readers = [sink.name for sink in sinks(config)]
    while True:
        try:
            first = {reader: await _next(audit, reader) for reader in readers}
            if await audit.trim(entries=config.entries, oldest=time.time() - config.days * DAY):
                for reader in readers:
                    if first[reader] and first[reader] != await _next(audit, reader):
                        log.error("The audit has dropped entries that were not exported yet sink=%s", reader)
        except StateUnavailableError:
            pass  # retried at the next interval
        await asyncio.sleep(TRIM_SECONDS)


async def _next(audit: Audit, reader: str) -> str:
    """Return the id of the first entry after a reader's cursor, or `""`."""
    entries, _ = await audit.after(await audit.cursor(reader), most=1)
    return entries[0].id if entries else ""


def _last_written(handle: int) -> tuple[int, int]:
    """Return the position in the file's last complete line. Anything after that line is removed."""
    size = os.fstat(handle).st_size
    tail = os.pread(handle, TAIL, max(0, size - TAIL))
    whole = tail[: tail.rfind(b"\n") + 1]
    if len(whole) < len(tail) and (whole or size <= TAIL):
        os.ftruncate(handle, size - (len(tail) - len(whole)))
    last = whole[:-1].rpartition(b"\n")[2]
    try:
        return position(str(msgspec.json.decode(last, type=dict).get("id", "")))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return (0, 0)
