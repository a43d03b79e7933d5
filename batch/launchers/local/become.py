"""A process as a user's Unix account, which runs what it gets on standard input.

Owns the change of account: by setuid in the child of a controller that is root, or by sudo with a fixed argv. The
account is looked up and checked each time, right before. No program of the user's own runs, and no shell. Does not know
what is sent and answered.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from batch.contract import LauncherError
from batch.launchers.local.kind import LocalConfig
from batch.launchers.ssh.answers import Account
from batch.launchers.ssh.pool import is_system_account
from batch.launchers.ssh.program import BOOTSTRAP
from batch.launchers.ssh.requests import TELL_ADMINS
from batch.processes import close_pipes, kill_group
from batch.ssh.output import Output
from batch.ssh.remote import accounts

PATH: Final = "/usr/local/bin:/usr/bin:/bin"
SUDO_PATH: Final = "/usr/bin:/bin:/usr/local/bin"
SUDO_RULE: Final = "deploy/sudoers/towpath-run"
SETPRIV: Final = "/usr/bin/setpriv"
HELPER: Final = Path(__file__).with_name("towpath_run.py")
MAX_OUTPUT: Final = 8 * 1024 * 1024
CHUNK: Final = 65536
END_SECONDS: Final = 2.0


class AccountIds(Struct, frozen=True, kw_only=True):
    """An account as setuid(2) needs it. `groups`: all of its groups, with the primary one."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def ids_of(name: str, min_uid: int, host: str) -> AccountIds:
    """Look an account up. Raises LauncherError if there is none, or if it is root's or another of the system's.

    Blocks: names may come from a directory service.
    """
    try:
        found = msgspec.convert(accounts.find(name), Account)
        groups = os.getgrouplist(name, found.gid) if found.found else []
    except OSError as error:
        raise LauncherError(
            "The account lookup failed. Try again in a moment.", transient=True, code="account-lookup"
        ) from error
    if not found.found:
        message = f"{host} has no account named {name}."
        raise LauncherError(message, transient=False, code="no-account", hint=TELL_ADMINS)
    if is_system_account(found, min_uid):
        message = f"The account {name} on {host} is a system account, which cannot have servers."
        raise LauncherError(message, transient=False, code="system-account", hint=TELL_ADMINS)
    return AccountIds(uid=found.uid, gid=found.gid, groups=tuple(sorted({*groups, found.gid})))


def setpriv_command(ids: AccountIds) -> list[str]:
    """Return the command by which root becomes an account, for good."""
    groups = ",".join(map(str, ids.groups))
    return [SETPRIV, f"--reuid={ids.uid}", f"--regid={ids.gid}", f"--groups={groups}", "--inh-caps=-all", "--"]


class Become:
    """Starts processes as accounts, in the way that the configuration names."""

    def __init__(self, config: LocalConfig, host: str) -> None:
        """`host`: what this machine is called in messages."""
        self._config = config
        self._host = host
        self._sudo = shutil.which("sudo", path=SUDO_PATH) if config.become == "sudo" else None

    def command(self, name: str) -> list[str]:
        """The command line for an account. With sudo it is the same for every request."""
        if self._config.become == "sudo":
            return [self._sudo or "sudo", "-n", "-u", name, "--", self._config.python, "-I", "-S", str(HELPER)]
        return [self._config.python, "-I", "-S", "-c", BOOTSTRAP]

    async def start(self, name: str, prefix: Sequence[str] = ()) -> asyncio.subprocess.Process:
        """Start a process as an account: it waits for what it shall run. Raises LauncherError; nothing runs then.

        `prefix`: what a controller that is root runs before it becomes the account.
        """
        ids = await asyncio.to_thread(ids_of, name, self._config.min_uid, self._host)
        argv = self.command(name)
        become: dict[str, Any] = {}
        if prefix:
            argv = [*prefix, *setpriv_command(ids), *argv]
        elif self._config.become == "setuid":
            become = {"user": ids.uid, "group": ids.gid, "extra_groups": list(ids.groups)}
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": PATH, "LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
                umask=0o077,
                **become,
            )
        except OSError as error:
            message = f"{argv[0]} cannot be run as {name}: {error.strerror}."
            raise LauncherError(message, transient=False, code="config", hint=TELL_ADMINS) from error

    def refusal(self, name: str, output: Output) -> LauncherError:
        """Why a process gave no answer."""
        if output.err.startswith("sudo:"):
            return LauncherError(
                f"sudo does not allow the hub to start servers as {name}.",
                transient=False,
                code="config",
                hint=f"Tell the hub's admins: {SUDO_RULE} lists the allowed users.",
            )
        if output.code < 0:
            message = f"The hub's program was killed while it ran as {name} (signal {-output.code})."
            return LauncherError(message, transient=True, code="no-answer")
        message = f"The hub's program did not run as {name} (exit code {output.code})."
        return LauncherError(message, transient=False, code="no-answer", hint=TELL_ADMINS)


async def converse(process: asyncio.subprocess.Process, given: bytes, *, seconds: float) -> Output:
    """Write to a process, and return what it printed when it has ended. Raises LauncherError if it takes too long.

    It runs as a user, who can print without end: more than 8 MiB is an error too.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    talk = asyncio.gather(_write(process.stdin, given), _read(process.stdout), _read(process.stderr), process.wait())
    try:
        _, out, err, code = await asyncio.wait_for(talk, seconds)
    except (TimeoutError, _TooMuchError) as error:
        why = (
            "produced too much output"
            if isinstance(error, _TooMuchError)
            else f"did not answer within {seconds:.0f} seconds"
        )
        raise LauncherError(f"The hub's program {why}.", transient=True, code="no-answer") from error
    finally:
        if process.returncode is None:
            await end(process)
        close_pipes(process)
    return Output(code=code, out=out, err=err.decode(errors="replace"))


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill a process and what it has started. One that is sudo's is ended by sudo's command_timeout."""
    kill_group(process)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), END_SECONDS)
    close_pipes(process)


class _TooMuchError(Exception):
    """More output than any answer has."""


async def _write(pipe: asyncio.StreamWriter, given: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # it has ended: its output says why
        pipe.write(given)
        await pipe.drain()
    pipe.close()


async def _read(pipe: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await pipe.read(CHUNK):
        parts.append(part)
        size += len(part)
        if size > MAX_OUTPUT:
            raise _TooMuchError
    return b"".join(parts)


def open_to_all(path: str, rights: int = 0o001) -> bool:
    """Return whether every account can reach this file and has these rights to it."""
    real = Path(os.path.realpath(path))
    try:
        reached = all(folder.stat().st_mode & 0o001 for folder in real.parents)
        return reached and real.stat().st_mode & rights == rights
    except OSError:
        return False


def rule_of(argv: Sequence[str]) -> str:
    """The command of a sudoers rule for a command line of `Become.command`."""
    return " ".join(argv[argv.index("--") + 1 :])
