"""One connection per host and account: made when a stream is wanted, shared, made again when it was lost.

Owns reconnecting and back-off. Does not know about passes' making or channels.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from gateway.ways_in.ssh.errors import DroppedError, HostError
from state.records.ssh import SshPass

if TYPE_CHECKING:
    from gateway.ways_in.ssh.door import Link

log = logging.getLogger("towpath.ways_in")

DROPPED_TRIES: Final = 5
FIRST_PAUSE: Final = 0.1
FIRST_BACK_OFF: Final = 0.5
LONGEST_BACK_OFF: Final = 15.0
LINKS_MAX: Final = 8
"""Most connections to one host as one account, where sshd limits what one may carry."""

Connect = Callable[[SshPass], Awaitable["Link"]]


class Line:
    """What is kept of one host and account."""

    def __init__(self, name: str, connect: Connect) -> None:
        """`name`: for the log."""
        self._name = name
        self._connect = connect
        self._links: list[Link] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._connecting: asyncio.Task[Link] | None = None
        self._loop = asyncio.get_running_loop()
        self._error: HostError | None = None
        self._failed: SshPass | None = None
        self._failures = 0
        self._until = 0.0
        self.last_used = self._loop.time()

    @property
    def idle(self) -> bool:
        """Whether nothing is open on it, or being opened."""
        return self._connecting is None and not any(link.streams for link in self._links)

    async def link(self, made: SshPass, *, another: bool = False) -> "Link":
        """Return a connection. `another`: besides those that are open. Raises HostError.

        While a failure is recent, it is the answer, unless this pass is another one.
        """
        self.last_used = self._loop.time()
        self._drop_closed()
        if self._links and not another:
            return self._links[-1]
        if another and len(self._links) >= LINKS_MAX:
            raise HostError(
                "all connections are full",
                f"{self._name} accepts no more connections. Close some of the server's browser tabs, then try again.",
            )
        if self._connecting is None:
            if self._error is not None and self._failed == made and self._loop.time() < self._until:
                raise self._error
            self._connecting = self._loop.create_task(self._open(made))
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def _drop_closed(self) -> None:
        """Forget connections that have ended, and close what is left of them: those to jump hosts."""
        for link in [link for link in self._links if link.closed]:
            self._links.remove(link)
            task = self._loop.create_task(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _open(self, made: SshPass) -> "Link":
        """Connect; when sshd drops connections for their number (MaxStartups), a little later again."""
        pause = FIRST_PAUSE
        for _ in range(DROPPED_TRIES - 1):
            try:
                return await self._connect(made)
            except DroppedError:
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause *= 2
            except HostError as error:
                self._note_failure(error, made)
                raise
        try:
            return await self._connect(made)
        except HostError as error:
            self._note_failure(error, made)
            raise

    def _connected(self, done: "asyncio.Task[Link]") -> None:
        self._connecting = None
        if done.cancelled() or done.exception() is not None:
            return
        if self._error is not None:
            log.info("The host can be used again. host=%s", self._name)
        self._error, self._failed, self._failures = None, None, 0
        self._links.append(done.result())

    def _note_failure(self, error: HostError, made: SshPass) -> None:
        if self._error is None or str(self._error) != str(error):
            log.warning("The host cannot be used. host=%s reason=%s error=%r", self._name, error.detail, str(error))
        pause = min(FIRST_BACK_OFF * 2.0**self._failures, LONGEST_BACK_OFF)
        self._failures += 1
        self._error, self._failed = error, made
        self._until = self._loop.time() + pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter

    async def close(self) -> None:
        """Close the connections."""
        if self._connecting is not None:
            self._connecting.cancel()
        links, self._links = self._links, []
        for link in links:
            await link.close()
        await asyncio.gather(*self._closing)
