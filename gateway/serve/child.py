"""One child process of the supervisor: started, watched, started again, ended.

Owns: the process and when to start it again. Refuses to know what it runs.
A child ends with its parent, however that dies (PR_SET_PDEATHSIG, prctl(2)).
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

RESTART_FIRST: Final = 0.05
RESTART_MOST: Final = 5.0
STEADY: Final = 10.0
"""Seconds after which a child counts as up, and its next restart is immediate again."""


def _end_with(parent: int) -> Callable[[], None]:
    def in_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return in_child


class Child:
    """One supervised process."""

    def __init__(self, name: str, command: Callable[[], Sequence[str]], environment: Mapping[str, str]) -> None:
        """`command` gives the argv; it is asked before each start, to make what the process needs to be there."""
        self.name = name
        self.process: Process | None = None
        self._command = command
        self._environment = dict(environment)
        self._ending = False
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()

    async def start(self) -> None:
        """Start it and keep it running until `end`."""
        self._task = asyncio.create_task(self._keep())
        await self._started.wait()

    async def _keep(self) -> None:
        delay = RESTART_FIRST
        loop = asyncio.get_running_loop()
        while not self._ending:
            begun = loop.time()
            self.process = await asyncio.create_subprocess_exec(
                *self._command(),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                start_new_session=True,  # the terminal's ^C is the supervisor's to pass on
                preexec_fn=_end_with(os.getpid()),
            )
            self._started.set()
            code = await self.process.wait()
            if self._ending:
                return
            delay = RESTART_FIRST if loop.time() - begun > STEADY else min(delay * 2, RESTART_MOST)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            print(f"towpath: {self.name} ended ({how}); starting it again in {delay:.1f} s", file=sys.stderr)
            await asyncio.sleep(delay)

    @property
    def pid(self) -> int:
        """The pid of the process as it runs now; 0 before the first start."""
        return self.process.pid if self.process else 0

    async def end(self, *, grace: float) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds. Not started again."""
        self._ending = True
        process = self.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), grace)
            except TimeoutError:
                print(f"towpath: {self.name} did not end within {grace:.0f} s and is killed", file=sys.stderr)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
