"""One run of a hook as a process: JSON in and out, a time limit, and nothing left behind."""

import asyncio
import contextlib
import signal
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from typing import Final

from batch.processes import close_pipes, kill_group

ANSWER_MAX: Final = 1024 * 1024
"""Bytes that a hook may print in all."""
STDERR_SECONDS: Final = 1.0
"""How long stderr is still read after the end, should a process that left the group hold it open."""
STDERR_MAX: Final = 2000
"""Characters of its stderr that the log gets."""


class HookFailedError(Exception):
    """A run failed. `str` says how, for the log; `stderr`: the end of what the hook wrote on stderr."""

    def __init__(self, message: str, stderr: bytes = b"") -> None:
        super().__init__(message)
        self.stderr = stderr.decode(errors="replace").strip()[-STDERR_MAX:]


async def run(command: tuple[str, ...], document: bytes, environment: Mapping[str, str], *, seconds: float) -> bytes:
    """Run the command and return its stdout. Raises HookFailedError.

    The process has a group of its own, which is killed at the time limit, at a cancellation, and when it has ended
    itself: a hook leaves nothing running.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(environment), cwd="/", start_new_session=True
        )
    except OSError as error:
        raise HookFailedError(f"it cannot be started: {error.strerror or error}") from error
    stderr = bytearray()
    reading = asyncio.create_task(_drain(process.stderr, stderr))
    try:
        async with asyncio.timeout(seconds):
            out = await _exchange(process, document)
            code = await process.wait()
    except TimeoutError:
        raise HookFailedError(f"it did not end within {seconds:g} s and was killed", bytes(stderr)) from None
    finally:
        kill_group(process)
        await asyncio.wait({reading}, timeout=STDERR_SECONDS)
        reading.cancel()
        close_pipes(process)
        await process.wait()
    if out is None:
        raise HookFailedError(f"it printed more than {ANSWER_MAX} bytes", bytes(stderr))
    if code < 0:
        raise HookFailedError(f"it was killed by {signal.Signals(-code).name}", bytes(stderr))
    if code:
        raise HookFailedError(f"it ended with exit code {code}", bytes(stderr))
    return out


async def _exchange(process: asyncio.subprocess.Process, document: bytes) -> bytes | None:
    """Write the input and read the output; None: there was too much."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a hook need not read its input
        process.stdin.write(document)
        await process.stdin.drain()
        process.stdin.close()
    out = bytearray()
    while chunk := await process.stdout.read(65536):
        out += chunk
        if len(out) > ANSWER_MAX:
            kill_group(process)
            return None
    return bytes(out)


async def _drain(stream: asyncio.StreamReader | None, tail: bytearray) -> None:
    """Keep the end of what it writes on stderr, so that it never waits for a reader."""
    assert stream is not None
    while chunk := await stream.read(65536):
        tail += chunk
        del tail[:-ANSWER_MAX]
