"""The Unix accounts: alice, bob and carol, who run jobs, and one for slurmrestd.

Owns creating them, and removing the ones it created when no cluster uses them any more. Does not know what they may do
in Slurm or in the hub.

The accounts belong to the machine, so several clusters share them: each leaves a note in `FOLDER/uses`, by its folder,
which no two can share.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from deploy.devcluster.errors import DevclusterError
from deploy.devcluster.layout import Layout

USERS = ("alice", "bob", "carol")
RESTD = "towpath-restd"  # slurmrestd does not run as root or SlurmUser
FOLDER = Path("/var/lib/towpath-devcluster")


def provide(layout: Layout, *more: str) -> None:
    """Create the accounts that do not exist yet (also `more`), and record that this cluster uses them."""
    with _exclusive():
        for folder in (FOLDER, FOLDER / "home", FOLDER / "uses", FOLDER / "made"):
            folder.mkdir(mode=0o755, exist_ok=True)
        note(layout).write_text(f"{layout.folder}\n")
        for name in (*USERS, RESTD, *more):
            if not exists(name):
                (FOLDER / "made" / name).touch()
                _make(name)


def release(layout: Layout) -> None:
    """Record that this cluster no longer uses the accounts. The last cluster removes those created here, with homes."""
    with _exclusive():
        note(layout).unlink(missing_ok=True)
        if not FOLDER.is_dir() or any(_in_use(each) for each in (FOLDER / "uses").glob("*")):
            return
        for made in (FOLDER / "made").glob("*"):
            if exists(made.name):
                # --force: a process that still runs as this user must not keep the account.
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
    # The password is '*' and not '!': sshd without PAM treats the latter as a locked account and rejects its keys.
    _run("useradd", "--no-create-home", "--home-dir", str(home), "--shell", "/bin/bash", "--password", "*", name)
    home.mkdir(mode=0o700, exist_ok=True)
    account = pwd.getpwnam(name)
    os.chown(home, account.pw_uid, account.pw_gid)


def note(layout: Layout) -> Path:
    """Return the file that says that this cluster uses the accounts."""
    return FOLDER / "uses" / urllib.parse.quote(str(layout.folder), safe="")


def _in_use(path: Path) -> bool:
    folder = Path(path.read_text().strip())
    return Layout(folder).marker.exists()


def exists(name: str) -> bool:
    """Return whether there is an account of this name."""
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - our own command lines
    if done.returncode:
        raise DevclusterError(f"{argv[0]} {argv[-1]} failed: {done.stderr.strip()}")


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """Lock the accounts of this machine. The lock is on a folder that always exists, so that no lock file is left."""
    descriptor = os.open(FOLDER.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
