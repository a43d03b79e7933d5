"""Control groups for the jobs: one folder of our own in each hierarchy that Slurm wants.

Owns: whether this machine has them, making the folders, removing them. Refuses to know: what Slurm does inside.

Only version 1 is used: Slurm's plug-in for version 2 asks systemd for a scope, and there may be none. Elsewhere the
cluster runs without (`Shape.cgroups` false).
"""

import contextlib
import os
from pathlib import Path

BASE = Path("/sys/fs/cgroup")
NEEDED = ("cpuset", "memory", "devices", "freezer", "cpuacct")  # proctrack, task and jobacct_gather/cgroup want these


def hierarchies(base: Path = BASE) -> list[Path]:
    """The version 1 hierarchies, each once though several names may lead to it; empty: not all are there."""
    found = [base / name for name in NEEDED]
    if not all((path / "cgroup.procs").exists() and (path / "tasks").exists() for path in found):
        return []
    return sorted({path.resolve() for path in found})


def usable(base: Path = BASE) -> bool:
    """True where folders can be made in every hierarchy that is needed."""
    probe = f"towpath-devcluster-probe-{os.getpid()}"  # another run may be looking, too
    try:
        make(probe, base)
    except OSError:
        return False
    finally:
        remove(probe, base)
    return bool(hierarchies(base))


def make(name: str, base: Path = BASE) -> dict[Path, Path]:
    """Make the folders; the answer maps each to the hierarchy that it is to stand for."""
    made = {}
    for hierarchy in hierarchies(base):
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        # A cpuset without CPUs and memory nodes takes no process (cpuset(7)).
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((hierarchy / file).read_text())
        made[folder] = hierarchy
    return made


def remove(name: str, base: Path = BASE) -> None:
    """Remove the folders and all in them; those that still hold a process stay."""
    for hierarchy in hierarchies(base):
        top = hierarchy / name
        below = sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for folder in [*below, top]:
            with contextlib.suppress(OSError):
                folder.rmdir()
