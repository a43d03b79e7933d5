"""One child process of the supervisor: started, watched, started again, ended.

A child ends with its parent, however that dies (PR_SET_PDEATHSIG, prctl(2)).
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from state.exit_reason import VARIABLE, take_reason

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

RESTART_FIRST: Final = 0.05
RESTART_MOST: Final = 5.0
STEADY: Final = 10.0
"""Seconds after which a child counts as up, and its next restart is immediate again."""
FAILING_ENDS: Final = 3
"""After this many ends in a row, each within `STEADY` seconds of the start, a child counts as failing."""
RECENT_SECONDS: Final = 300.0
RECENT_ENDS: Final = 5
"""The same for this many later ends within `RECENT_SECONDS`: it runs for a while each time, and then ends."""
WRONG_CONFIGURATION: Final = 2
"""The exit code of a process that would fail again the next time."""


class Failure(NamedTuple):
    """Why a child counts as failing. `since`: of its first such end, in seconds since the epoch."""

    since: float
    ends: int
    reason: str


class Child:
    """One supervised process."""

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        environment: Mapping[str, str],
        *,
        reason_file: Path | None = None,
        explain: Callable[[], str] = str,
    ) -> None:
        """`command` returns the argv; it is called before each start, and may prepare what the process needs.

        `reason_file`: where the process writes a sentence on why it ended. `explain`: returns one if it wrote none.
        """
        self.name = name
        self.process: Process | None = None
        self.failed = False
        """Whether it has ended by itself with an error, at least once."""
        self._command = command
        self._reason_file = reason_file
        self._explain = explain
        self._environment = {**environment, **({VARIABLE: str(reason_file)} if reason_file else {})}
        self._ending = False
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._quick: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT_ENDS)
        self._started_at = 0.0
        self._code = 0
        self._last_message = ""
        self._reason = ""

    async def start(self) -> None:
        """Start it and keep it running until `end`."""
        self._task = asyncio.create_task(self._keep())
        await self._started.wait()

    async def _keep(self) -> None:
        delay = RESTART_FIRST
        loop = asyncio.get_running_loop()
        while not self._ending:
            self._started_at = loop.time()
            self.process = await asyncio.create_subprocess_exec(
                *self._command(),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                start_new_session=True,  # the terminal's ^C is the supervisor's to pass on
                preexec_fn=_end_with(os.getpid()),
            )
            self._started.set()
            self._code = await self.process.wait()
            if self._ending:
                return
            self._note_end(steady=loop.time() - self._started_at > STEADY)
            delay = min(delay * 2, RESTART_MOST) if self._quick else RESTART_FIRST
            say(f"{self.name} ended ({self._ending_text()}); starting it again in {delay:.1f} s")
            if self._last_message:
                say(self._last_message)
            await asyncio.sleep(delay)

    def _note_end(self, *, steady: bool) -> None:
        if steady:
            self._quick.clear()
            self._recent.append(time.time())
        else:
            self._quick.append(time.time())
        self.failed = self.failed or self._code > 0
        self._last_message = self._explain() if self._code > 0 else ""
        self._reason = (take_reason(self._reason_file) if self._reason_file is not None else "") or self._last_message

    def _ending_text(self) -> str:
        return f"signal {-self._code}" if self._code < 0 else f"exit code {self._code}"

    @property
    def failure(self) -> Failure | None:
        """Return why this child counts as failing; None while it runs, or ends only occasionally."""
        running = self.process is not None and self.process.returncode is None
        if running and asyncio.get_running_loop().time() - self._started_at > STEADY:
            self._quick.clear()
        reason = self._reason or f"It ends with {self._ending_text()}; see the log."
        if len(self._quick) >= (1 if self._code == WRONG_CONFIGURATION else FAILING_ENDS):
            return Failure(self._quick[0], len(self._quick), reason)
        if len(self._recent) == RECENT_ENDS and time.time() - self._recent[0] < RECENT_SECONDS:
            return Failure(self._recent[0], RECENT_ENDS, reason)
        return None

    @property
    def pid(self) -> int:
        """Return the pid of the current process; 0 before the first start."""
        return self.process.pid if self.process else 0

    async def end(self, *, grace: float) -> None:
        """End it: SIGTERM, then SIGKILL after `grace` seconds. It is not started again."""
        self._ending = True
        process = self.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), grace)
            except TimeoutError:
                say(f"{self.name} did not end within {grace:.0f} s and is killed")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def say(sentence: str) -> None:
    """Print a message for the admin. A closed terminal is not an error."""
    with contextlib.suppress(OSError):
        print(f"towpath: {sentence}", file=sys.stderr, flush=True)


def _end_with(parent: int) -> Callable[[], None]:
    def in_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return in_child
