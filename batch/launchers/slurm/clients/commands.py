"""Slurm's commands run as processes, with everything about them said: environment, account, folder, limit in time.

Owns one run of one command on this machine, its end when it takes too long, and what all that run commands have in
common. Does not know what commands print.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from batch.contract import LauncherError
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.script import PATH
from batch.processes import close_pipes, kill_group

PLACES: Final = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/opt/slurm/bin:/usr/local/slurm/bin"
UMASK: Final = 0o022
"""sbatch hands its umask on to the job."""
LAST_CHANCE: Final = 2.0
SETPRIV: Final = shutil.which("setpriv", path="/usr/bin:/bin") or ""
"""util-linux's. A child that changes its account in Python is a whole fork, which holds up the event loop: 5 ms of a
quiet machine's time for each submit, 70 ms where it is busy; one that does not is a vfork, 0.2 ms."""
NO_PRIVILEGE: Final = 127
"""setpriv's exit code where it may not do what it was told to."""


PROGRAMS: Final = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr")
ENVIRONMENT: Final = {
    "PATH": PATH,
    "LC_ALL": "C.UTF-8",
    # Not every time is written as seconds: the zone of those that are not is known.
    "TZ": "UTC0",
    "SLURM_TIME_FORMAT": "%s",
}
"""Of a command that queries Slurm."""


class Output(Struct, frozen=True, kw_only=True):
    """What a command said."""

    code: int
    out: str
    err: str


class CommandRunner(Protocol):
    """Where Slurm's commands run: on this machine, or on login nodes. Both methods may raise LauncherError."""

    @property
    def user(self) -> str:
        """The account of commands that query."""
        ...

    async def run(self, program: str, argv: Sequence[str]) -> Output:
        """Run a command that only queries. It may be run twice."""
        ...

    async def run_as(
        self,
        identity: Identity,
        program: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: str = "",
        once: bool = False,
    ) -> Output:
        """Run a command as this account, with `stdin` on its standard input.

        `once`: it must never run twice. If it is not known whether it has run, that is a transient error.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def find(name: str, folder: str = "") -> str:
    """The whole path of a program, in `folder` or where programs are. Raises LauncherError when it is not there."""
    path = shutil.which(name, path=folder or PLACES)
    if path is None:
        where = f" in {folder}" if folder else ""
        raise LauncherError(
            f"Slurm's program {name} was not found{where}.",
            transient=False,
            code="config",
            hint="Tell the hub's admins: set bin_dir in [cluster.slurm].",
        )
    return path


async def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float,
    stdin: str = "",
    become: Identity | None = None,
) -> Output:
    """Run a command in a session of its own, with `stdin` on its standard input; as another account when root asks.

    The input is a file in memory (memfd_create(2)), and not a pipe: if this process is killed while it writes a long
    script to a pipe, sbatch takes what has arrived for the whole and submits it.

    Its folder is `/`: root may not have access to every home. Raises LauncherError (transient) if it takes too long;
    its whole group has been killed then, but its request may still be carried out.
    """
    by_setpriv = become is not None and SETPRIV and not any(name.startswith("LD_") for name in environment)
    if become is not None and by_setpriv:
        argv = [SETPRIV, *privileges(become), "--", *argv]
    within = None if by_setpriv else become
    stdin_file = _file_in_memory(stdin.encode())
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin_file,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
            umask=UMASK,
            user=within.uid if within else None,
            group=within.gid if within else None,
            extra_groups=list(within.groups) if within else None,
        )
    except PermissionError as error:
        raise _not_root() from error
    except OSError as error:
        raise LauncherError(
            f"{argv[0]} cannot be started: {error.strerror}.", transient=True, code="command"
        ) from error
    finally:
        os.close(stdin_file)
    talk = asyncio.ensure_future(process.communicate())
    try:
        out, err = await asyncio.wait_for(asyncio.shield(talk), seconds)
    except TimeoutError:
        raise late(seconds) from None
    finally:
        if not talk.done():
            await _end(process, talk)
    if by_setpriv and process.returncode == NO_PRIVILEGE and err.startswith(b"setpriv:"):
        raise _not_root()
    return Output(code=process.returncode or 0, out=out.decode(errors="replace"), err=err.decode(errors="replace"))


def late(seconds: float) -> LauncherError:
    """The error for a command that took too long."""
    return LauncherError(f"Slurm has not answered within {seconds:.0f} seconds.", transient=True, code="no-answer")


def _file_in_memory(content: bytes) -> int:
    """Return the descriptor of a nameless file with this content, at its beginning."""
    descriptor = os.memfd_create("input")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def privileges(account: Identity) -> list[str]:
    """The arguments of setpriv for becoming an account, for good: user, group, and its groups and no others."""
    groups = ",".join(map(str, account.groups))
    become = [f"--reuid={account.uid}", f"--regid={account.gid}", "--inh-caps=-all"]
    return [*become, f"--groups={groups}" if groups else "--clear-groups"]


def _not_root() -> LauncherError:
    return LauncherError(
        "The hub has no permission to start programs as the job's user.",
        transient=False,
        code="config",
        hint="Tell the hub's admins: with submit_as = setuid the controller must run as root.",
    )


async def _end(process: asyncio.subprocess.Process, talk: "asyncio.Future[tuple[bytes, bytes]]") -> None:
    """Kill its group. One that is sudo's cannot be killed by us: sudo's own command_timeout ends it."""
    kill_group(process)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(talk, LAST_CHANCE)
    close_pipes(process)
