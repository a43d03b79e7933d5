"""TCP ports for tests: no two tests on a machine ever get the same one.

Owns the range and its division among test processes. A port that the kernel picks can be given to another process, or
to an outgoing connection, as soon as it is closed. These ports are below the range that Linux picks from, and below the
ports of the tests' clusters (deploy/devcluster/layout.py). A test process takes them in blocks: it holds an abstract unix
socket named after the block, which disappears with the process.
"""

import itertools
import os
import socket
from collections.abc import Iterator

FIRST, LAST, BLOCK = 10000, 17000, 20
BLOCKED_BY_BROWSERS = frozenset({10080})  # https://fetch.spec.whatwg.org/#port-blocking, within the range
_held: list[int] = []  # descriptors, because a socket object would emit a ResourceWarning at exit


def free_port() -> int:
    """Return a port on which no process listens, on any address of this machine, and which no other test gets."""
    return next(_ports)


def _free() -> Iterator[int]:
    for first in _blocks():
        for port in range(first, first + BLOCK):
            if port in BLOCKED_BY_BROWSERS:
                continue
            with socket.socket() as probe:
                try:
                    probe.bind(("", port))
                except OSError:
                    continue
            yield port


def _blocks() -> Iterator[int]:
    """Yield blocks that no process holds, each once, beginning at one that depends on the pid."""
    count = (LAST - FIRST) // BLOCK
    for number in itertools.islice(itertools.cycle(range(count)), os.getpid() % count, None):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0towpath-test-ports-{number}")
        except OSError:  # held by another process, or by this one
            claim.close()
            continue
        _held.append(claim.detach())
        yield FIRST + number * BLOCK


_ports = _free()
