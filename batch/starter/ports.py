"""Loopback ports that an app shares with the whole node."""

import _socket
import os

from batch.starter.files import read_file

TCP_LISTEN = "0A"  # proc(5), the column `st` of /proc/net/tcp


def free_port() -> int:
    """Return a loopback port that is free at this moment."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
    finally:
        sock.close()


def is_taken(port: int) -> bool:
    """Return whether another process has the loopback port."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.bind(("127.0.0.1", port))
        return False
    except OSError:
        return True
    finally:
        sock.close()


def is_listener_ours(port: int) -> bool:
    """Return whether our own user listens on the loopback port: another user of the node may have been faster."""
    suffix = ":%04X" % port
    owners = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = read_file(table).decode("ascii", "replace").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[1].endswith(suffix) and fields[3] == TCP_LISTEN:
                owners.add(int(fields[7]))
    return not owners or owners == {os.geteuid()}
