"""A network link that can be cut: two network namespaces, the hub's and a host's, joined by a pair of interfaces.

The addresses are in 127.0.0.0/8, which both namespaces have to themselves, so that a test that is outside by mistake
reaches nothing. When the link is cut, packets are dropped: no connection is refused or reset.
"""

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
ADDRESSES = {"hub": "127.79.0.1", "host": "127.79.0.2"}


def _namespace(process: str) -> Path:
    return Path(f"/proc/{process}/ns/net").readlink()


class Link:
    """Two namespaces, which exist while the link is open."""

    def __init__(self) -> None:
        self._holders = {
            side: subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
            for side in ADDRESSES
        }
        own = _namespace("self")
        for holder in self._holders.values():
            while _namespace(str(holder.pid)) == own:
                time.sleep(0.01)
        self._ip("hub", "link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns", self._pid("host"))
        for side, address in ADDRESSES.items():
            self._ip(side, "addr", "add", f"{address}/24", "dev", "link0")
            setting = "echo 1 > /proc/sys/net/ipv4/conf/link0/route_localnet"
            subprocess.run([*self.inside(side), "/bin/sh", "-c", setting], check=True)
            self._ip(side, "link", "set", "link0", "up")

    def _pid(self, side: str) -> str:
        return str(self._holders[side].pid)

    def inside(self, side: str) -> list[str]:
        """Return the prefix of a command that runs in a namespace."""
        return ["nsenter", f"--net=/proc/{self._pid(side)}/ns/net", "--"]

    def _ip(self, side: str, *words: str) -> None:
        subprocess.run([*self.inside(side), "ip", *words], check=True)

    def cut(self) -> None:
        """Drop all packets from now on."""
        self._ip("hub", "link", "set", "link0", "down")

    def restore(self) -> None:
        self._ip("hub", "link", "set", "link0", "up")

    def run(self, side: str, work: Callable[[], T]) -> T:
        """Call a function in a thread that has entered a namespace."""
        found: list[Any] = []

        def entered() -> None:
            fd = os.open(f"/proc/{self._pid(side)}/ns/net", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                assert _namespace("thread-self") == _namespace(self._pid(side))
                found.append((True, work()))
            except BaseException as error:
                found.append((False, error))
            finally:
                os.close(fd)

        thread = threading.Thread(target=entered)
        thread.start()
        thread.join()
        good, value = found[0]
        if not good:
            raise value
        return value

    def close(self) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.wait()
