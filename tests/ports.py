"""TCP ports for tests, so that no two tests of a machine ever get the same one.

Owns: the range, and who has which part of it. A port that the system picks for a moment may be given to the next who
asks, or to an outgoing connection; these lie below the range that Linux picks from, and below those of the tests'
clusters (deploy/devcluster/layout.py). A test process takes them by the block: it holds an abstract unix socket of that
name, which goes with the process.
"""

import itertools
import os
import socket
from collections.abc import Iterator

FIRST, LAST, BLOCK = 10000, 17000, 20
_held: list[int] = []  # descriptors: a socket object would warn of itself at the interpreter's end


def free_port() -> int:
    """A port that nobody listens on, on any address of this machine, and that no other test will get."""
    return next(_ports)


def _free() -> Iterator[int]:
    for first in _blocks():
        for port in range(first, first + BLOCK):
            with socket.socket() as probe:
                try:
                    probe.bind(("", port))
                except OSError:
                    continue
            yield port


def _blocks() -> Iterator[int]:
    """Blocks that nobody has, each once; those of another time's processes are not the first to be tried."""
    count = (LAST - FIRST) // BLOCK
    for number in itertools.islice(itertools.cycle(range(count)), os.getpid() % count, None):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0towpath-test-ports-{number}")
        except OSError:  # another's, or ours already
            claim.close()
            continue
        _held.append(claim.detach())
        yield FIRST + number * BLOCK


_ports = _free()
