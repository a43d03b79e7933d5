"""Connects to an app's unix socket.

Owns waiting for room in the app's queue of connections. Does not know whose socket it is.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.1


async def connect(protocol: Callable[[], P], path: str) -> tuple[asyncio.Transport, P]:
    """Connect; wait while the app has as many unaccepted connections as it allows. Raises OSError.

    On a unix socket, a non-blocking connect does not wait for that, as it does over TCP: it fails with EAGAIN
    (connect(2)). asyncio's queue is 100 long, Tornado's 128, and a page of an app may ask for more at one moment.
    """
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    while True:
        try:
            return await loop.create_unix_connection(protocol, path)
        except BlockingIOError:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
