"""The end of a subprocess that may have left processes of its own behind.

Owns what asyncio leaves to its caller: it keeps a pipe open, and in Python 3.11 waits for a process that has ended,
until all other ends of its pipes are closed. A process that has left the group (a daemon, or sudo's) may hold one for
ever.
"""

import asyncio
import contextlib
import os
import signal


def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill a process that leads a group, and what it has started. One that is sudo's cannot be killed by us."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def close_pipes(process: asyncio.subprocess.Process) -> None:
    """Close our ends of the pipes, whichever process holds the others. Nothing more is read or written."""
    transport: asyncio.SubprocessTransport = process._transport  # type: ignore[attr-defined]  # noqa: SLF001
    for descriptor in range(3):
        pipe = transport.get_pipe_transport(descriptor)
        if isinstance(pipe, asyncio.WriteTransport) and pipe.get_write_buffer_size():
            pipe.abort()  # close would wait until it is read
        elif pipe is not None:
            pipe.close()
