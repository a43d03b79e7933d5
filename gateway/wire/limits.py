"""The limits of one client connection: sizes, and times without progress."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Times are seconds, sizes bytes.

    A time limit ends what makes no progress: each byte that moves restarts it, except for a head, which must be
    complete in its time.
    """

    head: int = 64 * 1024
    """Largest head; more is 431."""
    fields: int = 128
    """Most fields of a head; more is 431."""
    empty_lines: int = 8
    """Most empty lines that are skipped in front of a request line; more is 400."""
    head_time: float = 30.0
    """From the first byte of a head, or from the beginning of the connection, to its end; more is 408."""
    idle_time: float = 90.0
    """How long a connection may wait for its next request."""
    body_time: float = 60.0
    """How long a client may send nothing of a body that is waited for, whatever the size of the body."""
    write_time: float = 60.0
    """How long a client may read nothing of a response that waits for it."""
    close_time: float = 30.0
    """How long a client may take to read the end of its last response, and to close."""
    buffer: int = 256 * 1024
    """Bytes that wait in memory for a client that reads slowly, before its response is paused."""
    per_address: int = 0
    """Connections from one address; more are closed at once. 0: no limit. Trusted proxies are not counted."""
