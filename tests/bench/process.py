"""Starts, awaits and ends child processes."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BENCH_PYTHON = str(ROOT / ".venv-bench/bin/python")
PATIENCE = 180.0  # seconds within which a process must start


class BenchError(Exception):
    """The run cannot continue; the message is for the user who started it."""


class Child:
    """A process in its own process group, with its output in a log file."""

    def __init__(self, command: list[str], log: Path, *, environment: dict[str, str] | None = None,
                 folder: Path | None = None) -> None:  # fmt: skip
        self.log = log
        self.started = time.perf_counter()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})}, cwd=folder or ROOT, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.process.pid

    def output(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Raise BenchError if it has ended."""
        if self.process.poll() is not None:
            raise BenchError(f"{self.process.args!r} ended with {self.process.returncode}:\n{self.output()[-2000:]}")

    async def until_listening(self, port: int) -> None:
        """Wait until a connection to the port is accepted."""
        deadline = time.perf_counter() + PATIENCE
        while True:
            self.check()
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5):
                    return
            except OSError:
                if time.perf_counter() > deadline:
                    raise BenchError(f"nothing listens on {port}:\n{self.output()[-2000:]}") from None
            await asyncio.sleep(0.005)

    async def wait_for_output(self, text: str) -> float:
        """Wait for a text in its output; return the seconds since its start."""
        while text not in self.output():
            self.check()
            if time.perf_counter() - self.started > PATIENCE:
                raise BenchError(f"{text!r} is not in the output:\n{self.output()[-2000:]}")
            await asyncio.sleep(0.002)
        return time.perf_counter() - self.started

    def age(self) -> float:
        """Seconds since it was started."""
        return time.perf_counter() - self.started

    async def pause(self) -> None:
        """Wait for a moment."""
        await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Send SIGTERM, wait, then send SIGKILL to its group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            for _ in range(300):
                if self.process.poll() is not None:
                    break
                await asyncio.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


_uvloop_folder: list[tempfile.TemporaryDirectory[str]] = []


def bench_environment() -> dict[str, str]:
    """Return the environment for a load or upstream in .venv-bench, with the uvloop of Towpath's own environment."""
    if not _uvloop_folder:
        found = find_spec("uvloop")
        if found is None or not found.submodule_search_locations:
            raise BenchError("uvloop is missing in this environment")
        folder = tempfile.TemporaryDirectory(prefix="tb-")
        Path(folder.name, "uvloop").symlink_to(found.submodule_search_locations[0])
        _uvloop_folder.append(folder)
    return {"PYTHONPATH": _uvloop_folder[0].name}


async def output_of(command: list[str], *, environment: dict[str, str] | None = None) -> str:
    """Run a command and return its output. Raises BenchError if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})}, cwd=ROOT,
    )  # fmt: skip
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise BenchError(f"{command[0]} {command[1] if len(command) > 1 else ''} failed: {errors.decode()[-1500:]}")
    return output.decode()


def base_python() -> str:
    """Return the interpreter of the virtual environment's base, which starts fastest."""
    return str(Path(sys.executable).resolve())
