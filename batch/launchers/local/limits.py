"""What a job's processes may use, and how this machine enforces it: a systemd scope, control groups, or not at all.

Owns the choice, and the order of steps: a process is in its group before it is told what to run, so nothing of a user's
runs outside. A limit counts as enforced only if it was written, or read back from systemd's group.
"""

import asyncio
import contextlib
import logging
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from batch.contract import LauncherError
from batch.launchers.local.become import Become, end
from batch.launchers.local.cgroups import MOUNTS, Amounts, ControlGroups, find
from batch.launchers.local.kind import LocalConfig

log = logging.getLogger("towpath.local")

SYSTEMD: Final = Path("/run/systemd/system")
PROGRAMS: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
SCOPE_SECONDS: Final = 10.0
STEP_SECONDS: Final = 0.01
NAMES: Final = (("memory", "memory"), ("cores", "CPU"), ("processes", "number of processes"))
FILES: Final = {"memory": "memory.max", "cores": "cpu.max", "processes": "pids.max"}


class Limits:
    """Starts processes of jobs in their groups, and ends what is left in them."""

    def __init__(
        self, local: LocalConfig, become: Become, *, systemd: Path = SYSTEMD, programs: str = PROGRAMS
    ) -> None:
        """`systemd`: exists where systemd runs. `programs`: where its commands are."""
        self._become = become
        self._processes = local.max_processes
        self._systemd_run = shutil.which("systemd-run", path=programs)
        self._systemctl = shutil.which("systemctl", path=programs) or "systemctl"
        root = local.become == "setuid"  # scopes and groups of other accounts are root's to make, if none are delegated
        self._by_systemd = root and systemd.is_dir() and not local.cgroup and self._systemd_run is not None
        by_groups = bool(local.cgroup) or (root and not systemd.is_dir())
        self._groups = ControlGroups(find(MOUNTS.read_text(), local.cgroup) if by_groups else ())
        self._starting: dict[str, int] = {}

    @property
    def enforced(self) -> frozenset[str]:
        """What can be limited, as far as is known before a start."""
        return frozenset(FILES) if self._by_systemd else self._groups.limits

    @property
    def own(self) -> bool:
        """Whether limits are the controller's to set. Otherwise the user's own systemd manager may set them."""
        return self._by_systemd or bool(self._groups.limits)

    def text(self) -> str:
        """What is limited and what is not, for `towpath check`."""
        yes = [message for name, message in NAMES if name in self.enforced]
        no = [message for name, message in NAMES if name not in self.enforced]
        parts = []
        if yes:
            how = "systemd scopes" if self._by_systemd else "control groups"
            parts.append(f"Limited by {how}: {', '.join(yes)}.")
        if no:
            parts.append(f"Not limited: {', '.join(no)}.")
        return " ".join(parts)

    async def start(
        self, account: str, attempt: str, *, memory: int, cores: int
    ) -> tuple[asyncio.subprocess.Process, frozenset[str]]:
        """Start a process as an account in the job's group: (the process, what is limited). Raises LauncherError.

        Within `starting`.
        """
        amounts = Amounts(memory=memory, cores=cores, processes=self._processes)
        if self._by_systemd:
            return await self._in_scope(account, attempt, amounts)
        process = await self._become.start(account)
        try:
            return process, await asyncio.to_thread(self._groups.enter, attempt, process.pid, amounts)
        except OSError as error:
            await end(process)
            log.warning("Control group not created group=%s error=%s", attempt, error)
            message = "The control group of the server cannot be created."
            raise LauncherError(message, transient=True, code="limits") from error

    @contextlib.contextmanager
    def starting(self, attempt: str) -> Iterator[None]:
        """While a job is started: polls that do not find it yet do not `tidy` its group away."""
        self._starting[attempt] = self._starting.get(attempt, 0) + 1
        try:
            yield
        finally:
            self._starting[attempt] -= 1
            if not self._starting[attempt]:
                del self._starting[attempt]

    async def tidy(self, ended: Collection[str]) -> None:
        """End what is left of these jobs, and remove the groups of jobs that nobody runs."""
        await asyncio.to_thread(self._tidy, ended)

    def _tidy(self, ended: Iterable[str]) -> None:
        for attempt in ended:
            if attempt in self._starting:
                continue
            if self._by_systemd:
                self._stop_scope(attempt)
            else:
                self._groups.end(attempt)
        self._groups.sweep(self._starting)

    # --- systemd

    async def _in_scope(
        self, account: str, attempt: str, amounts: Amounts
    ) -> tuple[asyncio.subprocess.Process, frozenset[str]]:
        process = await self._become.start(account, self._scope(attempt, amounts))
        folder = await _until(lambda: _scope_folder(process, attempt), SCOPE_SECONDS)
        if folder is None:
            await end(process)
            log.warning("Scope not created unit=%s", _unit(attempt))
            return await self._become.start(account), frozenset()
        return process, frozenset(name for name in FILES if getattr(amounts, name) and _is_set(folder, FILES[name]))

    def _scope(self, attempt: str, amounts: Amounts) -> list[str]:
        """Return the arguments of systemd-run(1). The scope is the system's, so it outlives all logins of the user."""
        assert self._systemd_run is not None  # checked by the caller
        argv = [self._systemd_run, "--scope", "--quiet", "--collect", f"--unit={_unit(attempt)}"]
        if amounts.memory:
            argv += [f"--property=MemoryMax={amounts.memory}", "--property=MemorySwapMax=0"]
        if amounts.cores:
            argv.append(f"--property=CPUQuota={100 * amounts.cores}%")
        if amounts.processes:
            argv.append(f"--property=TasksMax={amounts.processes}")
        return [*argv, "--"]

    def _stop_scope(self, attempt: str) -> None:
        if any(Path("/sys/fs/cgroup").glob(f"*.slice/{_unit(attempt)}")):
            try:
                subprocess.run(  # noqa: S603 - our own command line
                    [self._systemctl, "kill", "--signal=SIGKILL", _unit(attempt)],
                    stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SCOPE_SECONDS,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:  # the next poll tries again
                log.warning("Scope not ended unit=%s reason=%r", _unit(attempt), str(error))


def _unit(attempt: str) -> str:
    return f"towpath-{attempt}.scope"


def _scope_folder(process: asyncio.subprocess.Process, attempt: str) -> Path | None:
    """The folder of the process's group of version 2, once it is in its scope. Raises OSError when it has ended."""
    rows = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
    found = next((row.removeprefix("0::") for row in rows if row.startswith("0::")), "")
    if attempt not in found:
        return None
    return Path("/sys/fs/cgroup" + found)


def _is_set(folder: Path, file: str) -> bool:
    try:
        return (folder / file).read_text().split()[:1] != ["max"]
    except OSError:
        return False


async def _until(look: Callable[[], Path | None], seconds: float) -> Path | None:
    """Return what is found in time; None: nothing, or the process has ended."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + seconds
    with contextlib.suppress(OSError):
        while loop.time() < limit:
            if (found := look()) is not None:
                return found
            await asyncio.sleep(STEP_SECONDS)
    return None
