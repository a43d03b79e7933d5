"""Control groups for the jobs: a folder of the cluster in each hierarchy that Slurm needs.

Owns detecting, creating and removing these folders. Does not know what Slurm does in them.

Only version 1 is used, because Slurm's plug-in for version 2 asks systemd for a scope, and there may be no systemd. On
other machines the cluster runs without control groups (`Shape.cgroups` is false).
"""

import contextlib
import os
from pathlib import Path

BASE = Path("/sys/fs/cgroup")
NEEDED = ("cpuset", "memory", "devices", "freezer", "cpuacct")  # for proctrack, task and jobacct_gather/cgroup


def hierarchies(base: Path = BASE) -> list[Path]:
    """Return the version 1 hierarchies, without duplicates (several names can lead to one); empty if one is missing."""
    found = [base / name for name in NEEDED]
    if not all((path / "cgroup.procs").exists() and (path / "tasks").exists() for path in found):
        return []
    return sorted({path.resolve() for path in found})


def usable(base: Path = BASE) -> bool:
    """Return whether folders can be created in every hierarchy that is needed."""
    probe = f"towpath-devcluster-probe-{os.getpid()}"  # another run may probe at the same time
    try:
        make(probe, base)
    except OSError:
        return False
    finally:
        remove(probe, base)
    return bool(hierarchies(base))


def make(name: str, base: Path = BASE) -> dict[Path, Path]:
    """Create the folders and return each with the hierarchy that it replaces."""
    made = {}
    for hierarchy in hierarchies(base):
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        # A cpuset without CPUs and memory nodes accepts no process (cpuset(7)).
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((hierarchy / file).read_text())
        made[folder] = hierarchy
    return made


def remove(name: str, base: Path = BASE) -> None:
    """Remove the folders and everything in them, except those that still contain a process."""
    for hierarchy in hierarchies(base):
        top = hierarchy / name
        below = sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for folder in [*below, top]:
            with contextlib.suppress(OSError):
                folder.rmdir()
