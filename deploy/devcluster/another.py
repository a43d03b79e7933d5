"""Slurm of another Debian release, from a folder that `another-debian.sh` filled.

Owns how its daemons and commands run on this machine. Does not know which release it is.

Daemons and jobs get the folder's /usr in their mount namespace and everything else from this machine, so that
addresses, accounts and paths are the same inside and outside. Commands must run without privileges and outside of any
namespace, so each is started by the dynamic loader of its own Debian, ld.so(8).
"""

import shlex
from pathlib import Path

from deploy.devcluster.errors import UsageError

COMMANDS = (
    *("sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "sdiag", "sinfo"),
    *("sprio", "squeue", "sreport", "srun", "sshare", "sstat"),
)


def binds(debian: Path) -> dict[Path, Path]:
    """Return the bind mounts for a daemon's namespace, source to target."""
    return {debian / "usr": Path("/usr")}


def plugins(debian: Path) -> Path:
    """Return the folder of Slurm's plug-ins, which has the same path inside and outside.

    Raises UsageError if there are none.
    """
    return _only(debian, "usr/lib/*/slurm-wlm")


def argv(debian: Path, command: str) -> tuple[str, ...]:
    """Return the command line that runs a command of that Debian on this machine."""
    libraries = plugins(debian).parent
    loader = _only(debian, "usr/lib/*/ld-linux*.so.*")
    return (str(loader), "--library-path", f"{libraries}:{plugins(debian)}", f"{debian}/usr/bin/{command}")


def script(debian: Path, command: str) -> str:
    """Return a shell script that runs a command of that Debian."""
    return f'#!/bin/sh\nexec {shlex.join(argv(debian, command))} "$@"\n'


def pyslurm(debian: Path) -> Path | None:
    """Return the folder from which that Debian's Python imports pyslurm, or None if it was not built."""
    folder = debian / "opt/pyslurm"
    return folder if folder.is_dir() else None


def _only(debian: Path, pattern: str) -> Path:
    found = sorted(debian.glob(pattern))
    if not found:
        raise UsageError(f"There is no Slurm in {debian}. Fill it with deploy/devcluster/another-debian.sh.")
    return found[0]
