"""Control groups for jobs: a folder per job below `towpath`, with limits of memory, CPU and processes.

Owns these folders in the hierarchies of version 2 and of version 1. Nobody but the hub may write to them, so a job's
processes cannot leave. Does not know how a process is started.

Sources: the kernel's admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/pids.rst, scheduler/sched-bwc.rst.
"""

import contextlib
import errno
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

MOUNTS: Final = Path("/proc/self/mountinfo")
PARENT: Final = "towpath"
ATTEMPT_LENGTH: Final = 32
ATTEMPT: Final = re.compile(r"[0-9a-f]{32}")
CONTROLLERS: Final = {"memory": "memory", "cpu": "cores", "pids": "processes"}
"""The kernel's name of a controller → what it limits."""
PERIOD: Final = 100_000
"""Microseconds in which a group may use so much CPU."""
YOUNG_SECONDS: Final = 60.0
"""A folder without processes that is so young may be another start's."""
KILL_ROUNDS: Final = 20


class Amounts(Struct, frozen=True, kw_only=True):
    """What a job may use: bytes of memory, cores, processes and threads. 0: no limit."""

    memory: int = 0
    cores: int = 0
    processes: int = 0


class Hierarchy(Struct, frozen=True, kw_only=True):
    """A hierarchy in which the hub has a folder, and what can be limited there."""

    base: Path
    version: int
    limits: frozenset[str]


def find(mounts: str, delegated: str = "") -> list[Hierarchy]:
    """Create the hub's folders in all hierarchies where that is possible. What cannot be limited is in none of them.

    `mounts`: the text of /proc/self/mountinfo. `delegated`: a folder of version 2 that the hub may use.
    """
    found: list[Hierarchy] = []
    for kind, options, where in _mounts(mounts):
        top = Path(delegated) if delegated and kind == "cgroup2" else Path(where)
        names = options.split(",") if kind == "cgroup" else _delegate(top)
        controllers = frozenset(CONTROLLERS[name] for name in names if name in CONTROLLERS)
        limits = controllers.difference(*(one.limits for one in found))
        if limits or kind == "cgroup2":
            base = top / PARENT
            with contextlib.suppress(OSError):
                base.mkdir(exist_ok=True)
                limits = limits if kind == "cgroup" else limits & _passed_on(base)
                if os.access(base / "cgroup.procs", os.W_OK):
                    found.append(Hierarchy(base=base, version=2 if kind == "cgroup2" else 1, limits=limits))
    return found


def _mounts(text: str) -> Iterator[tuple[str, str, str]]:
    """(type, its options, mount point) of each mounted hierarchy, version 2 first. Source: proc(5)."""
    rows = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, more = before.split(), after.split()
        if len(fields) > 4 and len(more) > 2 and more[0] in ("cgroup", "cgroup2"):  # noqa: PLR2004 - of proc(5)
            rows.append((more[0], more[2], fields[4]))
    return iter(sorted(rows, reverse=True))


def _delegate(top: Path) -> list[str]:
    """Let the folders below a group of version 2 have its controllers. Return those that are there."""
    try:
        there = (top / "cgroup.controllers").read_text().split()
    except OSError:
        return []
    for name in set(there) & set(CONTROLLERS):
        with contextlib.suppress(OSError):  # the group has processes of its own
            (top / "cgroup.subtree_control").write_text(f"+{name}")
    return there


def _passed_on(base: Path) -> frozenset[str]:
    """Return what can be limited in folders below this one of version 2."""
    _delegate(base)
    try:
        names = (base / "cgroup.subtree_control").read_text().split()
    except OSError:
        return frozenset()
    return frozenset(CONTROLLERS[name] for name in names if name in CONTROLLERS)


class ControlGroups:
    """The jobs' groups. Methods do a few small reads and writes each."""

    def __init__(self, hierarchies: Sequence[Hierarchy]) -> None:
        self._hierarchies = hierarchies

    @property
    def limits(self) -> frozenset[str]:
        """What can be limited here: `memory`, `cores`, `processes`."""
        return frozenset().union(*(one.limits for one in self._hierarchies))

    def enter(self, attempt: str, pid: int, amounts: Amounts) -> frozenset[str]:
        """Create the job's group, and move a process there; return what is limited. Raises OSError."""
        limited: set[str] = set()
        for hierarchy in self._hierarchies:
            folder = hierarchy.base / attempt
            folder.mkdir(parents=True, exist_ok=True)
            for name in hierarchy.limits:
                if amount := getattr(amounts, name):
                    _limit(folder, hierarchy.version, name, amount)
                    limited.add(name)
            (folder / "cgroup.procs").write_text(str(pid))
        return frozenset(limited)

    def end(self, attempt: str) -> None:
        """Kill what is left of a job that has ended, and remove its group."""
        for hierarchy in self._hierarchies:
            folder = hierarchy.base / attempt
            if folder.exists():
                _kill_all(folder)
                with contextlib.suppress(OSError):  # the kernel has not finished yet: the next call removes it
                    folder.rmdir()

    def sweep(self, keep: Iterable[str], now: float | None = None) -> None:
        """Remove groups without processes, other than these and the youngest."""
        kept, now = set(keep), time.time() if now is None else now
        for hierarchy in self._hierarchies:
            for folder in hierarchy.base.glob("?" * ATTEMPT_LENGTH):
                with contextlib.suppress(OSError):  # it has processes, or is gone
                    if _is_old(folder, now) and folder.name not in kept:
                        folder.rmdir()


def _is_old(folder: Path, now: float) -> bool:
    return bool(ATTEMPT.fullmatch(folder.name)) and now - folder.stat().st_mtime > YOUNG_SECONDS


def _limit(folder: Path, version: int, name: str, amount: int) -> None:
    for file, value in limit_files(version, name, amount):
        try:
            (folder / file).write_text(value)
        except OSError as error:
            if "sw" not in file or error.errno not in (errno.ENOENT, errno.EACCES, errno.EOPNOTSUPP):
                raise  # only swap may be missing: then there is none, or it is not accounted


def limit_files(version: int, name: str, amount: int) -> list[tuple[str, str]]:
    """The files in which a limit is written, and what. Swap is not added to memory."""
    if name == "processes":
        return [("pids.max", str(amount))]
    if version == 1:
        if name == "cores":
            return [("cpu.cfs_period_us", str(PERIOD)), ("cpu.cfs_quota_us", str(PERIOD * amount))]
        return [("memory.limit_in_bytes", str(amount)), ("memory.memsw.limit_in_bytes", str(amount))]
    if name == "cores":
        return [("cpu.max", f"{PERIOD * amount} {PERIOD}")]
    return [("memory.max", str(amount)), ("memory.swap.max", "0")]


def _kill_all(folder: Path) -> None:
    """Kill every process in a group, also those that are started meanwhile."""
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")  # version 2, Linux 5.14
        return
    for _ in range(KILL_ROUNDS):
        with contextlib.suppress(OSError):
            pids = (folder / "cgroup.procs").read_text().split()
            if not pids:
                return
            for pid in map(int, pids):
                _kill_member(folder, pid)


def _kill_member(folder: Path, pid: int) -> None:
    """Kill a process through a handle, if it is still in the group: the id may have been given to another one."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if f"/{folder.name}\n" in Path(f"/proc/{pid}/cgroup").read_text():
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return
    finally:
        os.close(handle)
