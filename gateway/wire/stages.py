"""What a client connection is doing, as a table: which stage may follow which, and how long each may last.

`gateway.wire.client` moves between the stages; a test compares all its transitions.
"""

from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from typing import Final

from gateway.wire.limits import ConnectionLimits


class Stage(Enum):
    """The stage of a connection."""

    NEW = "new"  # nothing has been received yet
    IDLE = "idle"  # the last response is out, and nothing has been received since
    HEAD = "head"  # a request's head has begun to arrive
    REQUEST = "request"  # a request is being handled, and its body is not read
    BODY = "body"  # a request is being handled, and its body is read
    CLOSING = "closing"  # no more requests are read: the rest of the last response is sent, then the connection ends
    CLOSED = "closed"  # gone, or handed over to another protocol


TRANSITIONS: Final[dict[Stage, frozenset[Stage]]] = {
    Stage.NEW: frozenset({Stage.HEAD, Stage.REQUEST, Stage.CLOSING, Stage.CLOSED}),
    Stage.IDLE: frozenset({Stage.HEAD, Stage.REQUEST, Stage.CLOSING, Stage.CLOSED}),
    Stage.HEAD: frozenset({Stage.IDLE, Stage.REQUEST, Stage.CLOSING, Stage.CLOSED}),
    Stage.REQUEST: frozenset({Stage.BODY, Stage.HEAD, Stage.IDLE, Stage.CLOSING, Stage.CLOSED}),
    Stage.BODY: frozenset({Stage.REQUEST, Stage.CLOSING, Stage.CLOSED}),
    Stage.CLOSING: frozenset({Stage.CLOSED}),
    Stage.CLOSED: frozenset(),
}

TIME_LIMIT: Final[dict[Stage, Callable[[ConnectionLimits], float]]] = {
    Stage.NEW: attrgetter("head_time"),
    Stage.IDLE: attrgetter("idle_time"),
    Stage.HEAD: attrgetter("head_time"),
    Stage.BODY: attrgetter("body_time"),
    Stage.CLOSING: attrgetter("close_time"),
}
"""How long a stage may last without progress; those that are not listed wait for the handler, not for the client."""
