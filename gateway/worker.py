"""One gateway worker: `python -m gateway.worker`. Granian, embedded, with one ASGI app on uvloop.

Owns: the process: its event loop, its listening socket (shared with the other workers by SO_REUSEPORT), its graceful
end. Refuses to know what a request means.
"""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from gateway.assembly import Gateway
from state.errors import TowpathError
from state.settings import Settings, load

MAX_OPEN = 1_000_000
"""Granian's backpressure counts every open WebSocket; a hub must not stop accepting because notebooks are open."""
DRAIN_SECONDS = 10.0
BACKLOG = 4096


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain: no new connections, WebSockets closed with 1012, requests finished."""
    gateway = await Gateway.open(settings)
    server = Server(
        gateway.app,
        address=settings.config.gateway.host,
        port=settings.config.gateway.port,
        interface=Interfaces.ASGINL,
        # HTTP/2 ends at the edge proxy: one framing less to disagree about, and WebSockets need HTTP/1.1 anyway
        http=HTTPModes.http1,
        backlog=BACKLOG,
        backpressure=MAX_OPEN,
        http1_settings=HTTP1Settings(header_read_timeout=30_000),
        log_enabled=False,
    )
    # What is here now stays: the collector need not walk it again, and runs less often (p99).
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(ending.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
        raise TowpathError("The web server ended by itself.")
    server.stop()  # type: ignore[no-untyped-call]
    await gateway.drain(DRAIN_SECONDS)
    await asyncio.wait({serving}, timeout=DRAIN_SECONDS)
    await gateway.close()


def main() -> int:
    """The process. Exit code 0: ended as asked; 1: could not serve."""
    parser = argparse.ArgumentParser(prog="python -m gateway.worker")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        uvloop.run(serve(load(arguments.config, arguments.data_dir)))
    except TowpathError as error:
        print(f"towpath worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
