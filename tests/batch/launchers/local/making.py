"""The tests' users on this machine, and launchers of kind `local` that run servers under their accounts."""

import contextlib
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batch.contract import LauncherContext
from batch.launchers.local.kind import LocalConfig
from batch.launchers.local.users_launcher import UsersLauncher
from batch.launchers.opening import open_launcher
from deploy.devcluster import users
from deploy.devcluster.layout import Layout
from state.config.tables import ClusterConfig

SEAL_KEY = secrets.token_bytes(32)
HOMES = users.FOLDER / "home"
"""Where the homes of alice, bob and carol are."""


@contextlib.contextmanager
def unix_users(*more: str) -> Iterator[Path]:
    """The accounts of alice, bob, carol and `more`, with homes. Yields a folder that all can read, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="towpath-users-"))
    folder.chmod(0o755)
    layout = Layout(folder=folder, number=9000)
    layout.marker.write_text(f"{layout.number}\n")  # users.py counts on a marker in the folder of each of its callers
    users.provide(layout, *more)
    try:
        yield folder
    finally:
        layout.marker.unlink()
        users.release(layout)
        shutil.rmtree(folder)
        for base in (*Path("/sys/fs/cgroup").glob("*/towpath"), *Path("/sys/fs/cgroup").glob("towpath")):
            for group in (*(one for one in base.iterdir() if one.is_dir()), base):
                with contextlib.suppress(OSError):  # it has processes, of another test
                    group.rmdir()


def jobs_of(user: str) -> Path:
    """The folder of a user's jobs."""
    return HOMES / user / ".towpath" / "jobs"


def cluster_of(**options: Any) -> ClusterConfig:
    """The cluster `lab` on this machine."""
    return ClusterConfig(name="lab", kind="local", options=LocalConfig(run_as="user", **options))


def users_launcher(key: bytes = SEAL_KEY, **options: Any) -> UsersLauncher:
    """A launcher of that cluster, with a memory of its own."""
    context = LauncherContext(data_dir=Path("/nonexistent"), seal_key=lambda: key)
    launcher = open_launcher(cluster_of(**options), context)
    assert isinstance(launcher, UsersLauncher)
    return launcher


def users_maker(**options: Any) -> Callable[[], UsersLauncher]:
    """Makes launchers of one cluster, whose jobs those of no other test are."""
    key = secrets.token_bytes(32)
    return lambda: users_launcher(key, **options)


NODE = socket.gethostname()
