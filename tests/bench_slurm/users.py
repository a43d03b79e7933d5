"""The Unix accounts of the jobs: created for a run and removed afterwards.

Owns the accounts, their homes, and the files that they must be able to read. Does not know about Slurm.
"""

import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import HERE, BenchError

NOTE = "answered"  # the file in the home to which the stub writes the time of its first response


@dataclass(frozen=True)
class BenchUsers:
    """`names`: the hub's users. `crowd`: the owner of all other jobs on the cluster."""

    folder: Path
    names: list[str]
    crowd: str

    @property
    def stub(self) -> Path:
        """The app: a copy, because these accounts may not be able to read the checkout."""
        return self.folder / "stub.py"

    def answered(self, name: str) -> float:
        """Return when the user's stub first answered, in seconds since the epoch."""
        return float((self.folder / "home" / name / NOTE).read_text())


@contextmanager
def accounts(number: int, count: int) -> Iterator[BenchUsers]:
    """Create `count` accounts for the cluster with this number, and one for the crowd.

    Accounts that a killed run has left are removed first. Raises BenchError if an account with such a name exists that
    the benchmark did not create.
    """
    names = [f"bench{number}u{one:03d}" for one in range(count + 1)]
    users = BenchUsers(Path(f"/var/lib/towpath-bench-{number}"), names[1:], names[0])
    _remove(users.folder)
    users.folder.mkdir()
    users.folder.chmod(0o755)
    try:
        (users.folder / "home").mkdir(mode=0o755)
        (users.folder / "made").mkdir(mode=0o700)
        shutil.copyfile(HERE / "stub.py", users.stub)
        users.stub.chmod(0o644)
        for name in names:
            _add(name, users.folder)
        yield users
    finally:
        _remove(users.folder)


def _add(name: str, folder: Path) -> None:
    if _there(name):
        raise BenchError(f"The account {name} exists on this machine, and the benchmark did not create it.")
    (folder / "made" / name).touch()
    home = folder / "home" / name
    _run("useradd", "--no-create-home", "--home-dir", str(home), "--shell", "/bin/bash", "--password", "*", name)
    home.mkdir(mode=0o700)
    shutil.chown(home, name, pwd.getpwnam(name).pw_gid)


def _remove(folder: Path) -> None:
    if folder.exists():
        for made in (folder / "made").glob("*"):
            if _there(made.name):
                _run("userdel", "--force", made.name)
        shutil.rmtree(folder)


def _there(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{argv[0]} {argv[-1]} failed: {done.stderr.strip()}")


def must_read(path: Path) -> None:
    """Raise BenchError if not all users can read the file and enter the folders above it, as jobs must."""
    for part in (path, *path.parents):
        if part.stat().st_mode & 0o001 != 0o001:
            raise BenchError(f"Other users cannot read {part}, but jobs run programs in {path}. Move the checkout.")
