"""Long work in short turns, so that the other requests of a worker do not wait for it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

TURN_SECONDS: Final = 0.005
"""How long work may go on before the event loop gets a turn."""
PART: Final = 200
"""Records that are read, or commands that are sent, at once."""


class Turns:
    """Gives the event loop a turn when enough time has gone by since the last one."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """To be awaited between two small steps."""
        if time.perf_counter() - self._since >= TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


def parts(items: Sequence[T], size: int = PART) -> Iterator[Sequence[T]]:
    """The items in their order, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
