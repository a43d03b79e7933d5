"""Linux namespaces: a user namespace that maps only ourselves, and a network namespace with a loopback of its own.

Sources: user_namespaces(7), network_namespaces(7), netdevice(7).
"""

import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Sequence

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
IFREQ_BYTES = 40
KINDS = (("user", CLONE_NEWUSER), ("net", CLONE_NEWNET))


def _libc(name: str) -> "Callable[..., None]":
    """Return a function of the C library that is new in Python 3.12."""
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), name)

    def call(*arguments: int) -> None:
        if function(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return call


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (unshare(2)). Raises OSError."""
    (getattr(os, "unshare", None) or _libc("unshare"))(flags)


def setns(fd: int, flags: int) -> None:
    """Join a namespace (setns(2)). Raises OSError."""
    (getattr(os, "setns", None) or _libc("setns"))(fd, flags)


def write(path: str, text: str) -> None:
    """Write to a file of /proc in one call. Raises OSError."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def leave_network() -> None:
    """Move this process, which must have one thread, to a network of its own. Raises OSError if that is forbidden.

    Root needs no user namespace, and keeps its rights on files. For others it maps their own user and group; after an
    exec they have no capabilities in it.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            unshare(CLONE_NEWNET)
        except OSError:  # a container's root without CAP_SYS_ADMIN
            pass
        else:
            raise_loopback()
            return
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", "%d %d 1" % (uid, uid))
    write("/proc/self/gid_map", "%d %d 1" % (gid, gid))
    raise_loopback()


def raise_loopback() -> None:
    """Bring the interface `lo` up (netdevice(7)), and check that it carries connections. Raises OSError."""
    import fcntl

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        request = b"lo".ljust(IFREQ_BYTES, b"\0")
        answer = fcntl.ioctl(sock.fileno(), SIOCGIFFLAGS, request)
        flags = int.from_bytes(answer[16:18], sys.byteorder) | IFF_UP
        request = b"lo".ljust(16, b"\0") + flags.to_bytes(2, sys.byteorder)
        fcntl.ioctl(sock.fileno(), SIOCSIFFLAGS, request.ljust(IFREQ_BYTES, b"\0"))
        sock.bind(("127.0.0.1", 0))
    finally:
        sock.close()


def open_namespaces(pid: int) -> "list[tuple[int, int]]":
    """Return the namespaces of a process that differ from this process's: (descriptor, kind). Raises OSError."""
    found = []
    for name, kind in KINDS:
        path = "/proc/%%s/ns/%s" % name
        if os.readlink(path % pid) != os.readlink(path % "self"):
            found.append((os.open(path % pid, os.O_RDONLY), kind))
    return found


def join(namespaces: "Sequence[tuple[int, int]]") -> None:
    """Move this process, which must have one thread, into these namespaces. Raises OSError."""
    for fd, kind in namespaces:
        setns(fd, kind)
