"""Slurm of another Debian, from a folder that `another-debian.sh` filled.

Owns: how its daemons and its commands run on this machine. Refuses to know: which release it is.

Daemons and jobs get the folder's /usr in their mount namespace, and all else of this machine, so that addresses,
accounts and paths are the same inside and outside. Commands must run without privileges and outside of any namespace:
each is started by the dynamic loader of its own Debian, ld.so(8).
"""

import shlex
from pathlib import Path

from deploy.devcluster.errors import UsageError

COMMANDS = (
    *("sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "sdiag", "sinfo"),
    *("sprio", "squeue", "sreport", "srun", "sshare", "sstat"),
)


def binds(debian: Path) -> dict[Path, Path]:
    """What a daemon's namespace has from there."""
    return {debian / "usr": Path("/usr")}


def plugins(debian: Path) -> Path:
    """Slurm's plug-ins, at a path that is the same inside and outside. Raises UsageError when there are none."""
    return _only(debian, "usr/lib/*/slurm-wlm")


def argv(debian: Path, command: str) -> tuple[str, ...]:
    """What runs the command of that Debian, on this machine."""
    libraries = plugins(debian).parent
    loader = _only(debian, "usr/lib/*/ld-linux*.so.*")
    return (str(loader), "--library-path", f"{libraries}:{plugins(debian)}", f"{debian}/usr/bin/{command}")


def script(debian: Path, command: str) -> str:
    """A shell script that runs the command of that Debian."""
    return f'#!/bin/sh\nexec {shlex.join(argv(debian, command))} "$@"\n'


def pyslurm(debian: Path) -> Path | None:
    """The folder that a Python of that Debian imports pyslurm from; None: it was not built there."""
    folder = debian / "opt/pyslurm"
    return folder if folder.is_dir() else None


def _only(debian: Path, pattern: str) -> Path:
    found = sorted(debian.glob(pattern))
    if not found:
        raise UsageError(f"{debian} holds no Slurm: fill it with deploy/devcluster/another-debian.sh.")
    return found[0]
