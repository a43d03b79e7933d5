"""The contract of a way in: how the data plane gets a byte stream to an app.

Owns `WayIn`. A stream is an asyncio.Transport, whichever way it was opened: a socket that was connected, one that was
accepted earlier (`loop.connect_accepted_socket`), or a channel of another connection. The tunnel relies on these
promises, and its test suite runs on each way in:

- `connection_made` has been called when `open` returns, and no bytes are lost before the caller acts.
- `pause_reading` stops the app in the end: what is read ahead is bounded. `pause_writing` is called when more waits for
  the app than `set_write_buffer_limits` allows, and `get_write_buffer_size` shrinks while the app takes it.
- `close` sends what was written, `abort` drops it; `connection_lost` is called once after either of them, also when the
  other end does not answer any more.
- The app's end of file is `eof_received`; what it sent before that is delivered first, also to a slow reader.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from state.records.models import Endpoint

P = TypeVar("P", bound=asyncio.BaseProtocol)


class WayIn(Protocol):
    """Opens streams to endpoints of one kind. Used from one event loop."""

    async def open(self, endpoint: Endpoint, protocol: Callable[[], P]) -> P:
        """Open a stream and return its protocol. The caller limits the time, by cancelling.

        Raises WayInError, or OSError, TimeoutError or ValueError if the app cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Close what is kept open between streams. The streams have ended."""
        ...


WaysIn = Mapping[str, WayIn]
"""The kinds of endpoint and their ways in."""
