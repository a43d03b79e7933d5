"""The unix socket on which a worker's portal listens for the same worker's door.

Owns the socket's path, and the removal of what dead workers left. Several gateways can share a data directory on one
volume: in containers with the same host name and the same process ids, or on several hosts. So a worker that is alive
is known by a lock (flock(2)) that it holds, not by its process id.
"""

import contextlib
import fcntl
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

_FOLDER: Final = "run"
PEERS: Final = ".peer"  # not longer than .sock
_PATH_MAX: Final = 107
"""unix(7): 108 bytes, with the NUL at the end."""


class PortalSocket:
    """The path of one worker's socket, until `close`. `peers`: that of another one, for the other workers."""

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        _remove_dead(folder)
        self._lock, self._fd = _locked(folder)
        self.path = self._lock.with_suffix(".sock")
        self._temporary = len(bytes(self.path)) > _PATH_MAX
        if self._temporary:
            self.path = Path(tempfile.mkdtemp(prefix="towpath-")) / "portal.sock"
        self.peers = self.path.with_suffix(PEERS)

    def close(self) -> None:
        """Remove the sockets."""
        self.path.unlink(missing_ok=True)
        self.peers.unlink(missing_ok=True)
        if self._temporary:
            self.path.parent.rmdir()
        self._lock.unlink(missing_ok=True)
        os.close(self._fd)


def _locked(folder: Path) -> tuple[Path, int]:
    """Create a lock file and lock it. One that another worker removed in between is replaced."""
    while True:
        path = folder / f"{secrets.token_hex(4)}.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(fd)):
                return path, fd
        os.close(fd)


def _remove_dead(folder: Path) -> None:
    """Remove the sockets of workers that do not hold their lock any more."""
    for lock in folder.glob("*.lock"):
        try:
            fd = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its worker is alive
        else:
            lock.with_suffix(".sock").unlink(missing_ok=True)
            lock.with_suffix(PEERS).unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
        finally:
            os.close(fd)
