"""The passes of this worker: asked for when they are needed, kept, and renewed in time.

Owns when a pass is requested. Does not know what it is used for.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gateway.ways_in.errors import WayInError
from state.errors import StateUnavailableError
from state.names import attempt_of, split_server_key
from state.records.models import Endpoint
from state.records.ssh import SshPass, SshPassRequest

log = logging.getLogger("towpath.ways_in")

MARGIN: Final = 60.0
"""Seconds before its end from which a pass is not used any more: clocks differ."""
ASK_SECONDS: Final = 8.0
FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.2
LONGEST_LIFE: Final = 24 * 3600.0
"""Seconds: more than any pass is valid for."""


class PassStore(Protocol):
    """What is used of `state.store.ssh_passes.SshPasses`."""

    async def ask(self, request: SshPassRequest) -> None:
        """Ask for a new pass."""

    async def find(self, attempt: str, gateway_id: str) -> SshPass | None:
        """Return the pass, or None."""
        ...


class Passes:
    """See the module."""

    def __init__(
        self, store: PassStore, gateway_id: Callable[[], Awaitable[str]], *, clock: Callable[[], float] = time.time
    ) -> None:
        """`gateway_id`: of this gateway; it raises WayInError while it has not joined."""
        self._store = store
        self._gateway_id = gateway_id
        self._clock = clock
        self._held: dict[str, SshPass] = {}
        self._refused: dict[str, float] = {}  # when the pass was issued that a host did not accept, by attempt
        self._asking: dict[str, asyncio.Task[SshPass]] = {}

    async def get(self, endpoint: Endpoint) -> SshPass:
        """Return a pass that is valid now. Raises WayInError."""
        attempt = attempt_of(endpoint.name)
        held = self._held.get(attempt)
        if held is not None and self._clock() < held.expires - MARGIN:
            if self._clock() > (held.issued + held.expires) / 2:
                _ = self._ask(endpoint, attempt)  # nobody waits for it yet
            return held
        return await asyncio.shield(self._ask(endpoint, attempt))

    def not_accepted(self, endpoint: Endpoint, made: SshPass) -> bool:
        """Note that a host did not accept this pass. Returns whether another one can be had by `get`.

        That is so once: if the next one is not accepted either, it is the host's decision.
        """
        attempt = attempt_of(endpoint.name)
        if self._held.get(attempt) == made:
            del self._held[attempt]
        fresh = self._clock() - made.issued < MARGIN
        if not fresh:
            self._refused[attempt] = made.issued
        return not fresh

    def _ask(self, endpoint: Endpoint, attempt: str) -> "asyncio.Task[SshPass]":
        task = self._asking.get(attempt)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._renewed(endpoint, attempt))
            self._asking[attempt] = task
            task.add_done_callback(lambda done: self._finish(endpoint, attempt, done))
        return task

    def _finish(self, endpoint: Endpoint, attempt: str, done: "asyncio.Task[SshPass]") -> None:
        self._asking.pop(attempt, None)
        if done.cancelled():
            return
        error = done.exception()  # so that asyncio does not report that nobody has seen it
        if error is None:
            self._held[attempt] = done.result()
        else:
            reason = getattr(error, "detail", "") or str(error)
            user, server = split_server_key(endpoint.server)
            log.warning("No pass for an SSH host. user=%s name=%s attempt=%s reason=%r", user, server, attempt, reason)

    async def _renewed(self, endpoint: Endpoint, attempt: str) -> SshPass:
        user, server = split_server_key(endpoint.server)
        gateway_id = await self._gateway_id()
        try:
            found = await self._store.find(attempt, gateway_id)
            if found is None or not (found.refusal or self._is_good(attempt, found)):
                request = SshPassRequest(
                    user=user,
                    server=server,
                    attempt=attempt,
                    gateway_id=gateway_id,
                    instead=found.issued if found is not None else None,
                )
                found = await self._asked_for(request)
        except StateUnavailableError as error:
            raise WayInError("refused", str(error), str(error)) from error
        self._refused.pop(attempt, None)
        if found.refusal:
            raise WayInError("refused", found.refusal, found.refusal)
        return found

    def _is_good(self, attempt: str, found: SshPass) -> bool:
        return found.issued != self._refused.get(attempt) and self._clock() <= (found.issued + found.expires) / 2

    async def _asked_for(self, request: SshPassRequest) -> SshPass:
        """Ask, and wait for the answer: a few milliseconds where a controller leads."""
        await self._store.ask(request)
        limit, pause = time.monotonic() + ASK_SECONDS, FIRST_PAUSE
        while True:
            found = await self._store.find(request.attempt, request.gateway_id)
            if found is not None and (found.refusal or found.issued != request.instead):
                return found
            if time.monotonic() > limit:
                message = "The hub's controller does not answer, so no connection can be made to the server's host."
                raise WayInError("refused", "no controller has answered", message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def forget(self) -> None:
        """Drop passes that have expired, and what is known of them."""
        now = self._clock()
        self._refused = {attempt: issued for attempt, issued in self._refused.items() if now < issued + LONGEST_LIFE}
        self._held = {attempt: held for attempt, held in self._held.items() if now < held.expires}

    def close(self) -> None:
        """Stop asking."""
        for task in self._asking.values():
            task.cancel()
