"""Slurm's commands, run against one cluster.

Owns: the environment they get, and a time limit on each. Refuses to know: what is asked.
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
    """An explicit one: nothing of the caller's reaches a daemon, or a job that a daemon starts."""
    return {"LANG": "C.UTF-8", **layout.environment}


def attempt(
    layout: Layout, argv: Sequence[str], *, user: str = "", given: str = "", seconds: float = SECONDS
) -> "subprocess.CompletedProcess[str]":
    """Run a command; the answer may be a failure. A command that does not end in time counts as failed (rc 124).

    With `user` it runs as that account, in its home, with no environment but its own.
    """
    account = pwd.getpwnam(user) if user else None
    own = {"HOME": account.pw_dir, "USER": user, "LOGNAME": user, "SHELL": account.pw_shell} if account else {}
    try:
        return subprocess.run(  # noqa: S603 - our own command lines
            argv,
            input=given,
            capture_output=True,
            text=True,
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


def run(layout: Layout, argv: Sequence[str], *, user: str = "", given: str = "", seconds: float = SECONDS) -> str:
    """What the command prints. Raises DevclusterError with its words when it fails."""
    done = attempt(layout, argv, user=user, given=given, seconds=seconds)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise DevclusterError(f"{' '.join(argv)} failed ({done.returncode}): {words}")
    return done.stdout


def version(layout: Layout) -> tuple[int, int]:
    """Slurm's version, such as (22, 5)."""
    major, minor = run(layout, ("sinfo", "--version")).split()[1].split(".")[:2]
    return int(major), int(minor)
