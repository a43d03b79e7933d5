"""Processes of the job that the kernel has killed because the job reached its memory limit.

A notebook's kernel that is killed leaves its server running, so no scheduler reports it. Linux counts such kills for
each control group. The counter of a control group that the job shares with others proves nothing about the job, so it
is only read if the group's path names the job.

Sources: cgroups(7); the kernel's admin-guide/cgroup-v2.rst (memory.events) and cgroup-v1/memory.rst
(memory.oom_control).
"""

import os

from batch.starter.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from batch.starter.app import App

KILLED = 128 + 9
OUT_OF_MEMORY = "The server ran out of memory%s."
MORE_MEMORY = "Start it again with more memory."
NO_LIMIT = 1 << 60  # bytes; in version 1, a number near 2**63 means "no limit"
FILES = {1: ("memory.oom_control", "memory.limit_in_bytes"), 2: ("memory.events", "memory.max")}
"""Version of control groups → the files with the number of kills and the limit."""


class MemoryKills:
    """Counts the kills from now on."""

    def __init__(self, attempt: str, own: "Mapping[str, str]") -> None:
        """`own`: the environment that the scheduler gave the starter."""
        self.folder, self.version = "", 2
        job = own.get("SLURM_JOB_ID", "")
        try:
            groups, mounts = read_file("/proc/self/cgroup").decode(), read_file("/proc/self/mountinfo").decode()
            folder, version = find_group(groups, mounts)
        except (OSError, ValueError):
            folder, version = "", 2
        if attempt in folder or (job and "job_" + job in folder.split("/")):
            self.folder, self.version = folder, version
        self.before = self.reported = self.total()

    def total(self) -> int:
        """Return how many processes were killed in the life of the control group."""
        try:
            rows = read_file(self.folder + "/" + FILES[self.version][0]).splitlines() if self.folder else []
        except OSError:
            rows = []
        return next((int(row.split()[1]) for row in rows if row.split()[:1] == [b"oom_kill"]), 0)

    def news(self) -> str:
        """Return the number of kills and the limit, if there was a kill since the last call; else `""`."""
        total = self.total()
        if total <= self.reported:
            return ""
        self.reported = total
        return ", ".join(filter(None, [self.limit(), "processes killed so far: %d" % (total - self.before)]))

    def end_of(self, app: "App") -> "tuple[str, str, str] | None":
        """Return code, message and hint of the end of an app that the kernel killed for memory; None: it did not."""
        if app.exit_code != KILLED or app.killed or self.total() <= self.before:
            return None
        limit = self.limit()
        return "out-of-memory", OUT_OF_MEMORY % (" (%s)" % limit if limit else ""), MORE_MEMORY

    def limit(self) -> str:
        """Return the job's memory limit for readers; `""`: none was found."""
        folder = self.folder
        while folder.count("/") > 2:
            try:
                size = int(read_file(folder + "/" + FILES[self.version][1]))
            except (OSError, ValueError):  # version 2 says `max`
                size = NO_LIMIT
            if size < NO_LIMIT:
                return "limit %.1f GiB" % (size / 2**30) if size >= 2**30 else "limit %d MiB" % (size // 2**20)
            folder = os.path.dirname(folder)
        return ""


def find_group(groups: str, mounts: str) -> "tuple[str, int]":
    """Return the folder of our memory control group, and its version; `""`: there is none.

    `groups`, `mounts`: the texts of /proc/self/cgroup and /proc/self/mountinfo. Of several mounts in one place, the
    last one counts: it hides those before it.
    """
    paths = {}
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        paths["" if not controllers else "memory" if "memory" in controllers.split(",") else controllers] = path
    for name, kind, version in (("memory", "cgroup", 1), ("", "cgroup2", 2)):
        for line in reversed(mounts.splitlines()):
            fields, _, rest = line.partition(" - ")
            root, point = fields.split()[3:5]
            options = rest.split()
            if options[0] != kind or name not in paths or (name and name not in options[2].split(",")):
                continue
            path = paths[name]
            if root != "/" and (path + "/").startswith(root + "/"):
                path = path[len(root) :]
            return point + path.rstrip("/"), version
    return "", 2
