"""Writes the cluster's folder before anything starts.

Owns files, owners and modes. Does not know about processes.
"""

import contextlib
import os
import secrets
import shutil
import stat
from pathlib import Path

from deploy.devcluster import accounts, another, clients, slurm_conf
from deploy.devcluster.errors import UsageError
from deploy.devcluster.layout import Layout
from deploy.devcluster.slurm_conf import Shape
from deploy.devcluster.users import RESTD

FAKE_MAJOR = 195  # NVIDIA's; without the driver, opening such a device fails
MAX_PATH = 60  # a unix socket's path has at most 107 characters (unix(7)); slurmd's are 40 below the folder


def claim(layout: Layout) -> None:
    """Create the folder. Raises UsageError if it is not empty, not root's, or its path is too long for sockets."""
    folder = layout.folder
    if len(str(folder)) > MAX_PATH:
        raise UsageError(f"{folder} is too long for unix sockets. Choose a --folder of at most {MAX_PATH} characters.")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o755, parents=True)
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != 0:
        raise UsageError(f"{folder} is not a folder of root. Choose another --folder.")
    if any(folder.iterdir()):
        raise UsageError(f"{folder} has other content. Choose another --folder.")
    folder.chmod(0o755)
    layout.marker.write_text(f"{layout.number}\n")


def number_of(folder: Path) -> int | None:
    """Return the number of the cluster in this folder, or None if `up` has created none."""
    marker = Layout(folder).marker
    try:
        ours = all(path.lstat().st_uid == 0 and not path.is_symlink() for path in (folder, marker))
        return int(marker.read_text()) if ours else None
    except (OSError, ValueError):
        return None


def remove(layout: Layout) -> None:
    """Remove the folder. The marker goes last, so that an interrupted removal can be continued."""
    for path in layout.folder.iterdir():
        if path != layout.marker:
            shutil.rmtree(path)
    shutil.rmtree(layout.folder)


def write(layout: Layout, shape: Shape) -> None:
    """Write the configuration, the keys and the folders that the daemons need."""
    for folder in (layout.etc, layout.log, layout.run, layout.state, layout.dev):
        _folder(folder, "root", 0o755)
    _folder(layout.log, "slurm", 0o755)
    _folder(layout.state / "slurmctld", "slurm", 0o700)
    _folder(layout.state / "mysql", "mysql", 0o700)
    _folder(layout.mysql_temporary, "mysql", 0o700)
    _folder(layout.mysql_socket.parent, "mysql", 0o755)
    _folder(layout.munge_folder, "munge", 0o755)
    _folder(layout.restd_socket.parent, RESTD, 0o755)
    _file(layout.slurm_conf, slurm_conf.slurm_conf(layout, shape))
    _file(layout.etc / "gres.conf", slurm_conf.gres_conf(layout))
    _file(layout.etc / "slurmdbd.conf", slurm_conf.slurmdbd_conf(layout), "slurm", 0o600)
    _file(layout.associations, accounts.associations(layout))
    _file(layout.hosts, slurm_conf.hosts(layout, Path("/etc/hosts").read_text()))
    _file(layout.jwt_key, secrets.token_bytes(32), "slurm", 0o600)
    _file(layout.munge_folder / "key", secrets.token_bytes(128), "munge", 0o400)
    if layout.debian:
        _folder(layout.bin, "root", 0o755)
        for command in another.COMMANDS:
            _file(layout.bin / command, another.script(layout.debian, command), mode=0o755)
    _file(layout.etc / "cgroup.conf", slurm_conf.cgroup_conf(shape, clients.version(layout)))
    for minor, path in enumerate(file for files in slurm_conf.gpu_files(layout).values() for file in files):
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(FAKE_MAJOR, minor))
        Path(path).chmod(0o666)


def _folder(path: Path, owner: str, mode: int) -> None:
    path.mkdir(exist_ok=True)
    shutil.chown(path, owner)
    path.chmod(mode)


def _file(path: Path, content: str | bytes, owner: str = "root", mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        shutil.chown(path, owner)
        file.write(content.encode() if isinstance(content, str) else content)
