"""The Unix accounts: alice, bob and carol who have jobs, and one that slurmrestd runs as.

Owns: making them, and removing those that it made when no cluster uses them any more. Refuses to know: what they may do
in Slurm, or in the hub.

The accounts are the machine's, so clusters side by side share them: each leaves a note in `FOLDER/uses`.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.devcluster.errors import DevclusterError
from deploy.devcluster.layout import Layout

PEOPLE = ("alice", "bob", "carol")
RESTD = "towpath-restd"  # slurmrestd refuses to be root or SlurmUser
FOLDER = Path("/var/lib/towpath-devcluster")


def provide(layout: Layout) -> None:
    """Have the accounts, and note that this cluster uses them. An account that is there already is used as it is."""
    with _alone():
        for folder in (FOLDER, FOLDER / "home", FOLDER / "uses", FOLDER / "made"):
            folder.mkdir(mode=0o755, exist_ok=True)
        (FOLDER / "uses" / layout.cluster).write_text(f"{layout.folder}\n")
        for name in (*PEOPLE, RESTD):
            if not exists(name):
                (FOLDER / "made" / name).touch()
                _make(name)


def release(layout: Layout) -> None:
    """This cluster uses them no more; the last one to say so removes what was made, homes included."""
    with _alone():
        (FOLDER / "uses" / layout.cluster).unlink(missing_ok=True)
        if not FOLDER.is_dir() or any(_in_use(note) for note in (FOLDER / "uses").glob("*")):
            return
        for made in (FOLDER / "made").glob("*"):
            if exists(made.name):
                # --force: a process that somebody left running as this user is no reason to keep the account.
                _run("userdel", "--force", made.name)
        shutil.rmtree(FOLDER)


def _make(name: str) -> None:
    if name == RESTD:
        _run(
            "useradd",
            "--system",
            "--no-create-home",
            "--home-dir",
            "/nonexistent",
            "--shell",
            "/usr/sbin/nologin",
            name,
        )
        return
    home = FOLDER / "home" / name
    # A password of '*' rather than '!': sshd without PAM takes the second for a locked account and refuses its keys.
    _run("useradd", "--no-create-home", "--home-dir", str(home), "--shell", "/bin/bash", "--password", "*", name)
    home.mkdir(mode=0o700, exist_ok=True)
    account = pwd.getpwnam(name)
    os.chown(home, account.pw_uid, account.pw_gid)


def _in_use(note: Path) -> bool:
    folder = Path(note.read_text().strip())
    return Layout(folder).mark.exists()


def exists(name: str) -> bool:
    """Whether there is an account of this name."""
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - our own command lines
    if done.returncode:
        raise DevclusterError(f"{argv[0]} {argv[-1]} failed: {done.stderr.strip()}")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One at a time on this machine; the lock is on a folder that is always there, so that nothing is left behind."""
    descriptor = os.open(FOLDER.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
