"""The worker's second listener: starters' reports over TLS, connections of starters to the hub, and nothing else.

Owns its certificate file, and reloading it. Does not know what a report is: the door's
handler processes it as on the public port.
"""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

from gateway.door.reverse_dials import PATH as DIALS
from gateway.wire import Handler, Server
from state.errors import TowpathError

log = logging.getLogger("towpath.gateway")

LOOK_SECONDS: Final = 10.0
PATH: Final = b"hub/api/towpath/report"


class ReportListener:
    """The listener for reports. Call `open` once and `close` once."""

    def __init__(self, handler: Handler, *, certificate: Path, base_path: str) -> None:
        """`certificate`: the file with certificate and key (PEM)."""
        self._file = certificate
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        base = base_path.encode()
        upgrades = base + DIALS.encode()
        self._server = Server(handler, tls=self._context, only=(b"POST", base + PATH), upgrades=upgrades)
        self._renewing: asyncio.Task[None] | None = None
        self._mark: tuple[int, int] | None = None

    async def open(self, host: str, port: int) -> None:
        """Listen. Raises TowpathError with a message for the admin."""
        await self._load()
        try:
            await self._server.listen(host, port)
        except OSError as error:
            message = f"Cannot listen for jobs' reports on {host}, port {port}: {error.strerror or error}"
            raise TowpathError(message) from error
        self._renewing = asyncio.create_task(self._renew())

    async def _load(self) -> None:
        """Load the file if it has changed. Raises TowpathError."""
        try:
            facts = self._file.stat()
            mark = (facts.st_ino, facts.st_mtime_ns)
            if mark != self._mark:
                await asyncio.to_thread(self._context.load_cert_chain, self._file)
                self._mark = mark
        except OSError as error:  # ssl.SSLError is one
            raise TowpathError(
                f"The certificate for jobs' reports cannot be used ({self._file}): {error.strerror or error}."
            ) from error

    async def _renew(self) -> None:
        """Check the file periodically, so that new connections get a renewed certificate."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._load()
            except TowpathError as error:
                log.error("The certificate for jobs' reports was not renewed. reason=%r", str(error))  # noqa: TRY400

    def stop_accepting(self) -> None:
        """Stop accepting connections."""
        self._server.stop_accepting()

    def close(self) -> None:
        """Close the remaining connections."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._server.close()
