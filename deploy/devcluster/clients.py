"""Runs Slurm's commands against one cluster.

Owns their environment and time limit. Does not know what the commands do.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.devcluster.errors import DevclusterError
from deploy.devcluster.layout import Layout

SECONDS = 30


def environment(layout: Layout) -> dict[str, str]:
    """Return the whole environment of a command: daemons and their jobs get nothing from the caller's."""
    return {"LANG": "C.UTF-8", **layout.environment}


def attempt(
    layout: Layout, argv: Sequence[str], *, user: str = "", stdin: str = "", seconds: float = SECONDS
) -> "subprocess.CompletedProcess[str]":
    """Run a command and return the result, which may be a failure. A command that takes too long has exit code 124.

    With `user` it runs as that account, in its home, with that account's environment only.
    """
    account = pwd.getpwnam(user) if user else None
    own = {"HOME": account.pw_dir, "USER": user, "LOGNAME": user, "SHELL": account.pw_shell} if account else {}
    try:
        return subprocess.run(  # noqa: S603 - our own command lines
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",  # job names may be anything
            check=False,
            timeout=seconds,
            env={**environment(layout), **own},
            cwd=account.pw_dir if account and Path(account.pw_dir).is_dir() else os.sep,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=os.getgrouplist(user, account.pw_gid) if account else None,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"no answer within {seconds} s")


def run(layout: Layout, argv: Sequence[str], *, user: str = "", stdin: str = "", seconds: float = SECONDS) -> str:
    """Run a command and return its output. Raises DevclusterError with the error output if it fails."""
    done = attempt(layout, argv, user=user, stdin=stdin, seconds=seconds)
    if done.returncode:
        output = (done.stderr or done.stdout).strip()
        raise DevclusterError(f"{' '.join(argv)} failed ({done.returncode}): {output}")
    return done.stdout


def version(layout: Layout) -> tuple[int, int]:
    """Return Slurm's version, such as (22, 5)."""
    major, minor = run(layout, ("sinfo", "--version")).split()[1].split(".")[:2]
    return int(major), int(minor)
