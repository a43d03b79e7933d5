"""One gateway worker: `python -m gateway.worker`. Listens on the public port and runs the portal in Granian behind it.

Owns the process: its event loop, its servers and its graceful shutdown. Does not interpret requests.
"""

import argparse
import asyncio
import gc
import logging
import resource
import sys
from pathlib import Path

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as Granian

from gateway.assembly.gateway import Gateway
from gateway.door.client_limits import limits_of, uncounted
from gateway.door.report_listener import ReportListener
from gateway.door.tls_listener import TlsListener
from gateway.wire import Server
from state.errors import TowpathError
from state.exit_reason import leave_reason
from state.settings.loader import Settings, load
from state.signals import ending_signals

MAX_OPEN = 1_000_000
"""Granian's backpressure counts open requests. It must not stop accepting because many pages follow progress events."""
DRAIN_SECONDS = 10.0
BACKLOG = 4096


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain: no new connections, WebSockets closed with 1012, requests finished."""
    gateway = await Gateway.open(settings)
    try:
        await _serve(gateway, settings)
    finally:
        await gateway.close()


async def _serve(gateway: Gateway, settings: Settings) -> None:
    portal = Granian(
        gateway.portal,
        uds=gateway.portal_path,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=MAX_OPEN,
        http1_settings=HTTP1Settings(header_read_timeout=60_000),
        log_enabled=False,
    )
    portal.uds_permissions = 0o600
    door = Server(gateway.app, limits=limits_of(settings.config.gateway), uncounted=uncounted(settings.config.gateway))
    # Everything loaded so far is permanent: exclude it from garbage collection, and collect less often (p99 latency).
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in ending_signals():
        loop.add_signal_handler(number, ending.set)
    serving = asyncio.create_task(portal.serve())
    await _until_there(gateway.portal_path, serving)
    try:
        await door.listen(settings.config.gateway.host, settings.config.gateway.port)
    except OSError as error:
        raise TowpathError(f"Cannot listen: {error.strerror or error}") from error
    reports = await _listen_for_reports(gateway, settings)
    public = await _listen_with_tls(gateway, settings)
    gateway.edge_watch.start()
    waiting = asyncio.create_task(ending.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
        raise TowpathError("The web server ended unexpectedly.")
    every: tuple[Server | ReportListener | TlsListener | None, ...] = (door, reports, public)
    listeners = [each for each in every if each is not None]
    for each in listeners:
        each.stop_accepting()
    await gateway.drain(DRAIN_SECONDS)
    for each in listeners:
        each.close()
    portal.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait({serving}, timeout=DRAIN_SECONDS)


async def _listen_for_reports(gateway: Gateway, settings: Settings) -> ReportListener | None:
    """Open the listener for reports if it is configured. Raises TowpathError."""
    config = settings.config.gateway
    if not config.report_port:
        return None
    file = settings.data_dir / "tls" / "reports.pem"
    reports = ReportListener(gateway.app, certificate=file, base_path=config.base_path)
    await reports.open(config.report_host or config.host, config.report_port)
    return reports


async def _listen_with_tls(gateway: Gateway, settings: Settings) -> TlsListener | None:
    """Open the public TLS listener if it is configured. Raises TowpathError."""
    if not settings.config.gateway.tls_certificate:
        return None
    public = TlsListener(gateway.app, settings.config.gateway)
    await public.open()
    return public


async def _until_there(path: Path, serving: "asyncio.Task[None]") -> None:
    """Wait until the portal's socket exists. Raises TowpathError if the portal's server ends instead."""
    while not serving.done():
        if path.exists():  # noqa: ASYNC240 - short, and no request is served yet
            return
        await asyncio.sleep(0.005)
    await serving
    raise TowpathError("The web server ended unexpectedly.")


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each open request takes two."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Run the worker. Returns 0 if a signal ended it, 1 if it could not serve."""
    parser = argparse.ArgumentParser(prog="python -m gateway.worker")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    _raise_file_limit()
    try:
        uvloop.run(serve(load(arguments.config, arguments.data_dir)))
    except TowpathError as error:
        leave_reason(str(error))
        print(f"towpath worker: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        leave_reason(f"{type(error).__name__}: {error}")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
