"""The certificates of a gateway on its own data directory: asked for once, waited for, and kept fresh.

Importing this is cheap: `cryptography` is loaded only when there is something to make or to check.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from state.config.addresses import report_names
from state.config.tables import Config
from state.errors import StateUnavailableError, TowpathError
from state.records.joining import GatewayCertificates, JoinRequest, JoinToken, RenewedCertificates
from state.store.joining import Joining

log = logging.getLogger("towpath.gateway")

FOLDER: Final = "tls"
FILES: Final = ("authority.pem", "gateway.pem", "reports.pem")
PATIENCE_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 3600.0
OUTAGE_PAUSE: Final = 5.0
WARN_BEFORE: Final = timedelta(days=30)
WARN_SECONDS: Final = 24 * 3600.0
HOW_TO_JOIN: Final = (
    "On the controller's host, run: towpath controller invite; then, as this account: towpath gateway join"
)


def have_certificates(data_dir: Path) -> bool:
    """Return whether a gateway's certificates are in this data directory."""
    return all((data_dir / FOLDER / name).is_file() for name in FILES)


async def join(store: Joining, token: JoinToken, config: Config, data_dir: Path) -> None:
    """Get this gateway's certificates from the controller. Raises TowpathError."""
    from gateway.joining.keys import GatewayKey  # noqa: PLC0415 - 80 ms
    from state.joining import ask_to_join  # noqa: PLC0415
    from state.names import GATEWAY_NAME  # noqa: PLC0415

    key = GatewayKey.new()
    request = JoinRequest(
        role="gateway",
        host=socket.gethostname(),
        gateway_request=key.request((GATEWAY_NAME,)),
        reports_request=key.request(_names(config)),
    )
    answer = await ask_to_join(store, token, request, patience=PATIENCE_SECONDS)
    key.install(
        data_dir / FOLDER,
        RenewedCertificates(authority=answer.authority, gateway=answer.gateway, reports=answer.reports),
    )


async def wait_for_certificates(data_dir: Path, say: Callable[[str], None], ending: asyncio.Event) -> bool:
    """Wait until the gateway has joined; `say` is told once that it waits. Returns False when `ending` came first."""
    if have_certificates(data_dir):
        return True
    say(f"This gateway has no certificates yet ({data_dir / FOLDER}). {HOW_TO_JOIN}. Waiting.")
    while not have_certificates(data_dir):
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await ending.wait()
        except TimeoutError:
            continue
        return False
    say("The certificates are there.")
    return True


class CertificateKeeper:
    """Publishes the gateway's certificates in the store and takes renewed ones from there, without a restart."""

    def __init__(self, store: Joining, config: Config, data_dir: Path) -> None:
        self._store = store
        self._config = config
        self._folder = data_dir / FOLDER
        self._published: tuple[str, GatewayCertificates] | None = None
        self._marks: tuple[tuple[int, int], ...] = ()
        self._warn_at = 0.0

    async def run(self) -> None:
        """Look when there is news, and once an hour, until cancelled."""
        position = "0"
        while True:
            try:
                await self.look()
                position, _ = await self._store.news(position, timeout=LOOK_SECONDS)
            except (TowpathError, OSError) as error:
                if not isinstance(error, StateUnavailableError):
                    log.error("Gateway certificates not checked reason=%s", error)  # noqa: TRY400 - a sentence
                await asyncio.sleep(OUTAGE_PAUSE)

    async def look(self) -> bool:
        """Publish what is new here, take what is new there. Returns whether certificates were taken."""
        gateway_id, held = await self._publish()
        renewed = await self._store.renewed(gateway_id)
        if renewed is None or (renewed.gateway.strip(), renewed.reports.strip()) == (
            held.gateway.strip(),
            held.reports.strip(),
        ):
            return False
        if not await asyncio.to_thread(self._install, renewed):
            return False
        log.info("Gateway certificates renewed folder=%s", self._folder)
        await self._publish()
        return True

    async def _publish(self) -> tuple[str, GatewayCertificates]:
        gateway_id, held = await asyncio.to_thread(self._read)
        if (gateway_id, held) != self._published:
            await self._store.publish(gateway_id, held)
            self._published = gateway_id, held
        return gateway_id, held

    def _read(self) -> tuple[str, GatewayCertificates]:
        """What the files say; the same as before while they have not changed."""
        marks = tuple((facts.st_ino, facts.st_mtime_ns) for facts in ((self._folder / name).stat() for name in FILES))
        if self._published is not None and marks == self._marks:
            self._warn()
            return self._published
        from gateway.joining.keys import GatewayKey, published  # noqa: PLC0415 - 80 ms

        key = GatewayKey.load(self._folder)
        held = published(self._folder, key, host=socket.gethostname(), names=_names(self._config))
        self._marks = marks
        self._warn()
        return key.id, held

    def _warn(self) -> None:
        if time.monotonic() < self._warn_at:
            return
        self._warn_at = time.monotonic() + WARN_SECONDS
        from gateway.joining.keys import expiry  # noqa: PLC0415 - loaded already

        ends = expiry(self._folder)
        left = ends - datetime.now(UTC)
        if left < timedelta(0):
            log.error("Gateway certificates have expired ended=%s. %s", ends.isoformat(), HOW_TO_JOIN)
        elif left < WARN_BEFORE:
            log.warning("Gateway certificates expire soon end=%s: no controller renews them", ends.isoformat())

    def _install(self, renewed: RenewedCertificates) -> bool:
        """Keep them, unless they end before those that are here: a store may have been restored from a backup."""
        from gateway.joining.keys import GatewayKey, end_of, expiry  # noqa: PLC0415 - loaded already

        if end_of(renewed.gateway) < expiry(self._folder):
            return False
        GatewayKey.load(self._folder).install(self._folder, renewed)
        return True


def _names(config: Config) -> tuple[str, ...]:
    return report_names(config, (socket.gethostname(), socket.getfqdn()))
