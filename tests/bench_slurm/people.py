"""The Unix accounts that the jobs run as: made for a run, removed after it.

Owns: the accounts, their homes, and what of the benchmark they must be able to read. Refuses to know Slurm.
"""

import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import HERE, BenchError

NOTE = "answered"  # where the stub writes when it first answered, in the home


@dataclass(frozen=True)
class People:
    """`names` use the hub; the jobs of `crowd` are the other people's on the cluster."""

    folder: Path
    names: list[str]
    crowd: str

    @property
    def stub(self) -> Path:
        """The app. A copy: the checkout may be where these accounts may not look."""
        return self.folder / "stub.py"

    def answered(self, name: str) -> float:
        """When the user's stub first answered, in seconds since the epoch."""
        return float((self.folder / "home" / name / NOTE).read_text())


@contextmanager
def accounts(number: int, count: int) -> Iterator[People]:
    """So many people for the cluster of that number.

    What a killed run has left for that number is removed first. Raises BenchError when there is an account of such a
    name already: it is somebody's.
    """
    names = [f"bench{number}u{one:03d}" for one in range(count + 1)]
    people = People(Path(f"/var/lib/towpath-bench-{number}"), names[1:], names[0])
    _remove(people.folder)
    people.folder.mkdir()
    people.folder.chmod(0o755)
    try:
        (people.folder / "home").mkdir(mode=0o755)
        (people.folder / "made").mkdir(mode=0o700)
        shutil.copyfile(HERE / "stub.py", people.stub)
        people.stub.chmod(0o644)
        for name in names:
            _add(name, people.folder)
        yield people
    finally:
        _remove(people.folder)


def _add(name: str, folder: Path) -> None:
    if _there(name):
        raise BenchError(f"There is an account {name} on this machine, and the benchmark did not make it.")
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
    """Raises BenchError when not everybody may read the file and enter the folders above it: jobs have to."""
    for part in (path, *path.parents):
        if part.stat().st_mode & 0o001 != 0o001:
            raise BenchError(f"{part} is closed to others, and jobs run what is in {path}: put the checkout elsewhere.")
