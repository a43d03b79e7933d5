"""Processes of this host that end again and again, as problems in the store: pages, health and logs show them."""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from gateway.serve.child import Child
from state.errors import StateUnavailableError
from state.records.health import RESTARTING, Problem
from state.store.health import Health

LOOK_SECONDS: Final = 2.0
REPORT_SECONDS: Final = 20.0


class ProblemReporter:
    """Reports the children that fail, as long as they fail."""

    def __init__(self, store: Health, children: Callable[[], Iterable[Child]], *, host: str = "") -> None:
        self._store = store
        self._children = children
        self._host = host or socket.gethostname()
        self._reporter = secrets.token_hex(8)  # of this hub alone: another one can have the same host name
        self._reported: dict[str, float] = {}

    async def run(self) -> None:
        """Check repeatedly until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Report failing children, and withdraw the report of those that do not fail any more."""
        now = time.monotonic()
        for child in self._children():
            failure = child.failure
            try:
                if failure is None:
                    if self._reported.pop(child.name, None) is not None:
                        await self._store.solved(self._reporter, child.name)
                elif now - self._reported.get(child.name, -REPORT_SECONDS) >= REPORT_SECONDS:
                    message = f"The {child.name} on {self._host} does not keep running. {failure.reason}"
                    await self._store.report(
                        Problem(
                            code=RESTARTING,
                            part=child.name,
                            host=self._host,
                            reporter=self._reporter,
                            message=message,
                            since=failure.since,
                        )
                    )
                    self._reported[child.name] = now
            except StateUnavailableError:
                return
