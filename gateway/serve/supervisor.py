"""The supervisor: Valkey, workers and controller as one tree, from ready line to graceful end.

Owns: the order in which they start and end. Refuses to know what they do, and touches no user's server: those are
nobody's children here, and go on when the hub ends.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.serve import valkey
from gateway.serve.child import Child
from state.errors import StateUnavailableError, TowpathError
from state.settings.loader import SUPERVISOR
from state.store.all import Store

START_LIMIT: Final = 60.0
"""Seconds in which the hub must answer, or `serve` gives up and says so."""
DRAIN_GRACE: Final = 15.0
END_GRACE: Final = 10.0


class ServeError(TowpathError):
    """The hub cannot be served: in words, for the terminal."""


class DataDirLock:
    """One `serve` per data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "serve.lock"
        self._file = self._path.open("a+")
        self._path.chmod(0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            raise ServeError(
                f"A hub is already being served from {data_dir} (process {holder})."
                " Stop that one first, or give another --data-dir."
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()


def pick_port(host: str, port: int) -> int:
    """The port to serve on (0: a free one). Raises ServeError when it is taken or not ours to take.

    Workers share it by SO_REUSEPORT, which would hide that somebody else has it: so it is bound once without.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # as a restarted server would: connections in TIME_WAIT do not matter, a listener does
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(
                f"Cannot listen on {host} port {port}: {error.strerror or error}. Choose another with --port."
            ) from error
        chosen: int = probe.getsockname()[1]
        return chosen


async def answers(host: str, port: int, path: str) -> bool:
    """Whether GET `path` is answered with 200."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2)
    except (OSError, TimeoutError):
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        line = await asyncio.wait_for(reader.readline(), 5)
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return line.startswith(b"HTTP/1.1 200")


class Supervisor:
    """One run of `towpath serve`."""

    def __init__(
        self,
        *,
        data_dir: Path,
        redis_url: str,
        workers: int,
        arguments: list[str],
        environment: Mapping[str, str],
        with_workers: bool = True,
        with_controller: bool = True,
    ) -> None:
        """Nothing is started yet.

        `redis_url` empty: an embedded Valkey. `arguments` (`--config`, `--data-dir`) and `environment` are what each
        child of ours is given.
        """
        self.redis_url = redis_url or valkey.url(data_dir)
        self._data_dir = data_dir
        self._embedded = not redis_url
        self._workers = workers if with_workers else 0
        self._with_controller = with_controller
        self._arguments = arguments
        self._environment = {
            **environment,
            "TOWPATH_STATE_REDIS_URL": self.redis_url,
            SUPERVISOR: str(os.getpid()),
        }
        self._valkey: Child | None = None
        self._controller: Child | None = None
        self._worker_children: list[Child] = []
        self.ending = asyncio.Event()
        """Set when a signal says to end."""

    async def start_state(self) -> Store:
        """Valkey first, where it is ours; returns the open store. Raises ServeError."""
        if self._embedded:
            self._valkey = Child("valkey", lambda: valkey.command(self._data_dir), self._environment)
            await self._valkey.start()
        deadline = asyncio.get_running_loop().time() + START_LIMIT
        while True:
            try:
                return await Store.open(self.redis_url)
            except StateUnavailableError as error:
                if not self._embedded or asyncio.get_running_loop().time() > deadline:
                    raise ServeError(f"The state store does not answer: {error}") from error
                await asyncio.sleep(0.02)

    async def make_certificates(self) -> None:
        """Have the batch side make the hub's own certificates, or those that grow old anew. Raises ServeError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "batch",
            "tls",
            "--with-gateway",
            *self._arguments,
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        if process.returncode:
            raise ServeError(said.decode(errors="replace").strip())

    async def start_rest(self) -> None:
        """Workers and controller."""
        python = [sys.executable, "-m"]
        if self._with_controller:
            holder = f"{socket.gethostname()}-{secrets.token_hex(4)}"
            controller = [*python, "batch", "controller", "--with-gateway", *self._arguments, "--holder", holder]
            self._controller = Child("controller", lambda: controller, self._environment)
            await self._controller.start()
        worker = [*python, "gateway.worker", *self._arguments]
        for number in range(self._workers):
            child = Child(f"worker {number + 1}", lambda: worker, self._environment)
            self._worker_children.append(child)
            await child.start()

    async def wait_ready(self, host: str, port: int, path: str) -> None:
        """Until a request is answered. Raises ServeError after START_LIMIT, or when a signal came first."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_LIMIT
        while not await answers(host, port, path):
            if self.ending.is_set():
                raise ServeError("Interrupted before the hub was ready.")
            if loop.time() > deadline:
                raise ServeError(f"The hub did not answer within {START_LIMIT:.0f} s; see the messages above.")
            await asyncio.sleep(0.02)

    def end_on_signals(self) -> None:
        """SIGTERM and SIGINT end the run gracefully."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ending.set)

    async def wait(self) -> None:
        """Until a signal says to end."""
        await self.ending.wait()

    async def end(self) -> None:
        """Workers drain and end, the controller gives its lease back, Valkey last. Users' servers go on."""
        await asyncio.gather(*(child.end(grace=DRAIN_GRACE) for child in self._worker_children))
        if self._controller is not None:
            await self._controller.end(grace=END_GRACE)
        if self._valkey is not None:
            await self._valkey.end(grace=END_GRACE)
