"""The supervisor of Valkey, workers and controller, from the first start to a graceful end.

Owns the order in which they start and end. Does not know what they do. Users' servers are not its children, and
continue when the hub ends.
"""

import asyncio
import fcntl
import os
import secrets
import socket
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.serve import append_only, readiness, valkey
from gateway.serve.child import Child, say
from gateway.serve.errors import ServeError
from state.errors import StateUnavailableError
from state.settings.loader import SUPERVISOR
from state.signals import ending_signals
from state.store.all import Store

T = TypeVar("T")

START_LIMIT: Final = 60.0
"""Seconds in which the hub must respond, or `serve` ends with an error."""
SAY_SECONDS: Final = 30.0
"""Seconds between two messages that the hub waits for an external store."""
STORE_RETRY_SECONDS: Final = 0.5
DRAIN_GRACE: Final = 15.0
END_GRACE: Final = 10.0
LOADING_GRACE: Final = 1.0
"""For a Valkey that is still reading its files: it has written nothing that could be lost."""


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
    """Return the port to serve on (0: any free one). Raises ServeError if it is in use or not permitted.

    Workers share it with SO_REUSEPORT, which would hide that another program uses it. So it is first bound without.
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
        take_over: bool = False,
    ) -> None:
        """Start nothing yet.

        `redis_url` empty: an embedded Valkey. `arguments` (`--config`, `--data-dir`) and `environment` are what each
        child of ours is given. `take_over`: the controller takes over local clusters from a machine that is gone.
        """
        self.redis_url = redis_url or valkey.url(data_dir)
        self._run = secrets.token_hex(4)  # several gateways can share a data directory
        self._data_dir = data_dir
        self._embedded = not redis_url
        self._workers = workers if with_workers else 0
        self._with_controller = with_controller
        self._take_over = take_over
        self._arguments = arguments
        self._environment = {
            **environment,
            "TOWPATH_STATE_REDIS_URL": self.redis_url,
            SUPERVISOR: str(os.getpid()),
        }
        self._valkey: Child | None = None
        self._opened = False
        self._controller: Child | None = None
        self._worker_children: list[Child] = []
        self.ending = asyncio.Event()
        """Set by a signal that ends the hub."""

    async def start_state(self) -> Store:
        """Start the embedded Valkey, if it is used, and return the open store. Raises ServeError."""
        if self._embedded:
            if append_only.without_manifest(self._data_dir):
                raise ServeError(f"The hub's store is damaged: its manifest is missing. {valkey.CHECK}")
            self._valkey = Child(
                "valkey",
                lambda: valkey.command(self._data_dir),
                self._environment,
                explain=lambda: valkey.why_it_ended(self._data_dir) if self._opened else "",
            )
            await self._valkey.start()
        deadline = asyncio.get_running_loop().time() + START_LIMIT
        say_at = 0.0
        while True:
            try:
                store = await self._unless_ending(Store.open(self.redis_url))
            except StateUnavailableError as error:
                if self._valkey is not None and self._valkey.failed:
                    raise ServeError(valkey.why_it_ended(self._data_dir)) from error
                now = asyncio.get_running_loop().time()
                if self._embedded and now > deadline:
                    raise ServeError(f"The state store does not answer: {error}") from error
                if not self._embedded and now >= say_at:
                    say(f"Waiting for the state store: {error}")
                    say_at = now + SAY_SECONDS
                await self._unless_ending(asyncio.sleep(0.02 if self._embedded else STORE_RETRY_SECONDS))
            else:
                self._opened = True
                return store

    async def _unless_ending(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. Raises ServeError if a signal comes first."""
        task, signalled = asyncio.create_task(work), asyncio.create_task(self.ending.wait())
        try:
            await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ServeError("Interrupted before the hub was ready.")
            return task.result()
        finally:
            task.cancel()
            signalled.cancel()

    async def make_certificates(self) -> None:
        """Have `batch` create the hub's own certificates, or renew old ones. Raises ServeError."""
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
        _, output = await process.communicate()
        if process.returncode:
            raise ServeError(output.decode(errors="replace").strip())

    async def start_rest(self) -> None:
        """Start the controller and the workers."""
        python = [sys.executable, "-m"]
        if self._with_controller:
            holder = f"{socket.gethostname()}-{secrets.token_hex(4)}"
            more = ["--with-gateway", *(["--take-over"] if self._take_over else [])]
            controller = [*python, "batch", "controller", *more, *self._arguments, "--holder", holder]
            self._controller = self._child("controller", controller)
            await self._controller.start()
        worker = [*python, "gateway.worker", *self._arguments]
        for number in range(self._workers):
            child = self._child(f"worker {number + 1}", worker)
            self._worker_children.append(child)
            await child.start()

    def _child(self, name: str, command: list[str]) -> Child:
        folder = self._data_dir / "run"
        folder.mkdir(mode=0o700, exist_ok=True)
        reason_file = folder / f"{name.replace(' ', '-')}-{self._run}.reason"
        return Child(name, lambda: command, self._environment, reason_file=reason_file)

    @property
    def children(self) -> list[Child]:
        """Return the controller and the workers."""
        return [*([] if self._controller is None else [self._controller]), *self._worker_children]

    async def wait_ready(self, store: Store, host: str, port: int, path: str, *, part: str) -> None:
        """Wait until a request is answered, a controller leads if this hub runs one, and the check has passed.

        Raises ServeError if that fails: after START_LIMIT, if a process ends again and again, if the check finds a
        permanent problem, or if a signal came first. `part`: of the hub, for the check; `""`: none.
        """
        check = asyncio.create_task(readiness.check(part, self._arguments, self._environment, say))
        try:
            await self._wait_serving(store, check, host, port, path)
            await self._unless_ended(check)
        finally:
            check.cancel()
            await asyncio.gather(check, return_exceptions=True)

    async def _wait_serving(self, store: Store, check: "asyncio.Task[None]", host: str, port: int, path: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_LIMIT
        while not (await readiness.answers(host, port, path) and await self._led(store)):
            if self.ending.is_set():
                raise ServeError("Interrupted before the hub was ready.")
            if check.done():
                check.result()
            for child in self.children:
                if child.failure is not None:
                    raise ServeError(f"The {child.name} does not keep running. {child.failure.reason}")
            if loop.time() > deadline:
                raise ServeError(f"The hub did not answer within {START_LIMIT:.0f} s; see the messages above.")
            await asyncio.sleep(0.02)

    async def _led(self, store: Store) -> bool:
        """Return whether a controller leads, here or on another host. True if this hub runs none."""
        if self._controller is None:
            return True
        try:
            return (await store.health.look())[1]
        except StateUnavailableError:
            return False

    async def _unless_ended(self, check: "asyncio.Task[None]") -> None:
        ended = asyncio.create_task(self.ending.wait())
        await asyncio.wait({check, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not check.done():
            raise ServeError("Interrupted before the hub was ready.")
        check.result()

    def end_on_signals(self) -> None:
        """End the run gracefully at SIGTERM, SIGINT and SIGHUP (see `ending_signals`)."""
        loop = asyncio.get_running_loop()
        for number in ending_signals():
            loop.add_signal_handler(number, self.ending.set)

    async def wait(self) -> None:
        """Wait for a signal that ends the hub."""
        await self.ending.wait()

    async def end(self) -> None:
        """End the workers, which drain first, then the controller, which releases its lease, then Valkey."""
        await asyncio.gather(*(child.end(grace=DRAIN_GRACE) for child in self._worker_children))
        if self._controller is not None:
            await self._controller.end(grace=END_GRACE)
        if self._valkey is not None:
            await self._valkey.end(grace=END_GRACE if self._opened else LOADING_GRACE)
        for left in (self._data_dir / "run").glob(f"*-{self._run}.reason"):
            left.unlink(missing_ok=True)
