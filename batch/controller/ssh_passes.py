"""The leader's task for gateways that reach apps by SSH: it makes their passes.

Owns who gets one: a gateway that has proved to have joined, for a server that runs. `state.records.ssh` says what is
exchanged and why; the launcher of the server's cluster makes the pass.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from batch.contract import Launcher, LauncherError, SshLogins
from state.errors import StateUnavailableError, TowpathError
from state.records.models import Server
from state.records.ssh import SshPass, SshPassRequest
from state.store.all import Store

log = logging.getLogger("towpath.controller")

WAIT_SECONDS: Final = 30.0
OUTAGE_PAUSE: Final = 1.0
AT_ONCE: Final = 16
REFUSAL_SECONDS: Final = 5.0
"""Seconds for which a refusal is kept, so that a gateway does not ask for each request of a page."""
REQUESTED_SECONDS: Final = 60.0
"""A new leader answers the requests of so many last seconds: more than gateways wait, because clocks differ."""
LEFT_MIN: Final = 1.0


class PassIssuer:
    """Answers requests for passes."""

    def __init__(self, store: Store, launchers: Mapping[str, Launcher], data_dir: Path) -> None:
        """`data_dir`: of the hub's authority."""
        self._store = store
        self._launchers = launchers
        self._data_dir = data_dir

    async def run(self) -> None:
        """Answer requests as they arrive, until cancelled."""
        # Gateways have given up older requests. An id of a stream begins with its time in milliseconds.
        position = f"{int((time.time() - REQUESTED_SECONDS) * 1000)}-0"
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    position, requests = await self._store.ssh_passes.work(position, timeout=WAIT_SECONDS)
                except StateUnavailableError:
                    await asyncio.sleep(OUTAGE_PAUSE)
                    continue
                for request in requests:
                    await room.acquire()
                    task = group.create_task(self._answer(request))
                    task.add_done_callback(lambda _: room.release())

    async def _answer(self, request: SshPassRequest) -> None:
        passes = self._store.ssh_passes
        try:
            found = await passes.find(request.attempt, request.gateway_id)
            if found is not None and (found.refusal or found.issued != request.instead):
                return  # it was answered already, by an earlier leader or for another worker
            try:
                made = await self._made(request)
            except (LauncherError, TowpathError, OSError, ValueError) as error:
                if isinstance(error, StateUnavailableError):
                    raise
                log.warning(
                    "SSH pass refused user=%s name=%s gateway=%s reason=%s",
                    request.user, request.server, request.gateway_id, error,
                )  # fmt: skip
                hint = error.hint if isinstance(error, LauncherError) else ""
                made = SshPass(refusal=f"{error} {hint}".strip())
            left = REFUSAL_SECONDS if made.refusal else max(LEFT_MIN, made.expires - made.issued)
            await passes.give(request, made, seconds=left)
        except StateUnavailableError as error:
            log.warning("SSH pass not stored user=%s name=%s reason=%s", request.user, request.server, error)

    async def _made(self, request: SshPassRequest) -> SshPass:
        server = await self._store.servers.get(request.user, request.server)
        if server is None or not _is_reached_by_ssh(server, request.attempt):
            raise TowpathError("The server is no longer running.")
        launcher = self._launchers.get(server.cluster)
        if not isinstance(launcher, SshLogins):
            raise TowpathError("This cluster's servers are not reached over SSH.")
        return await launcher.ssh_pass(server, await self._public_key(request.gateway_id))

    async def _public_key(self, gateway_id: str) -> str:
        from batch.authority.joining import ssh_key  # noqa: PLC0415 - 80 ms that most controllers never need

        return await ssh_key(self._store.joining, self._data_dir, gateway_id)


def _is_reached_by_ssh(server: Server, attempt: str) -> bool:
    return (
        server.attempt == attempt
        and server.active
        and server.endpoint is not None
        and server.endpoint.kind == "ssh-socket"
    )
