"""Changes the request of a server whose job is waiting.

Owns the choice between a changed job, which keeps its place in the queue, and a new one. Does not decide when.
"""

import logging
import time
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from batch.contract import Change, LauncherError, Updated
from batch.controller.cancels import Cancels
from batch.controller.reconcile import Cancel
from batch.controller.server_records import ServerRecords
from batch.controller.watcher import ClusterWatch
from batch.hooks.hooks import Hooks
from batch.jobs.job_builder import in_the_script, resources
from state.config.tables import Config
from state.records.edits import new_attempt
from state.records.log_fields import log_fields
from state.records.models import Server

log = logging.getLogger("towpath.controller")


class RequestEditor:
    """Changes requests during one term. All methods may raise StateUnavailableError, FencedError and ConflictError."""

    def __init__(
        self,
        records: ServerRecords,
        cancels: Cancels,
        config: Config,
        watches: Mapping[str, ClusterWatch],
        *,
        fault: Callable[[str], None],
        hooks: Hooks,
    ) -> None:
        self._records = records
        self._cancels = cancels
        self._config = config
        self._watches = watches
        self._fault = fault
        self._hooks = hooks

    async def edit(self, server: Server) -> bool:
        """Change what the waiting job requests; if its cluster cannot, a new job replaces it. Return False to retry."""
        watch = self._watches.get(server.cluster)
        profile = self._config.profile_named(server.profile)
        if watch is None or profile is None or server.edited is None:
            await self._records.save(replace(server, edited=None), "")
            return True
        changed = replace(server, choices=server.edited, edited=None)
        updated = Updated.IMPOSSIBLE
        try:
            # Hooks only run before a submit. They may have changed the job, so they must see the new one.
            if not self._hooks and in_the_script(server, profile) == in_the_script(changed, profile):
                before, after = resources(server, profile), resources(changed, profile)
                updated = await watch.launcher.update(
                    Change(attempt=server.attempt, user=server.user, before=before, after=after, record=changed)
                )
        except LauncherError as error:
            log.warning("A request was not changed %s reason=%s", log_fields(server), error)
            if error.transient:
                watch.look()
                return False
            await self._records.save(
                replace(server, edited=None), f"The request was not changed. {error} {error.hint}".strip()
            )
            return True
        self._fault("after-edit")
        if updated is Updated.DONE:
            await self._records.save(changed, "The request was changed. The job keeps its place in the queue.")
        elif updated is Updated.IMPOSSIBLE:
            await self._replace(changed)
        else:
            watch.look()
            return False
        return True

    async def _replace(self, server: Server) -> None:
        """Start a new attempt with the record's choices, and end the job of the old one.

        The record is saved first: after a crash between the two, the old job is one of an earlier attempt, and ends.
        """
        fresh = new_attempt(server, now=time.time())
        message = "The request was changed. This needs a new job, which has a new place in the queue."
        await self._records.save(fresh, message)
        await self._records.end_tokens(server)
        await self._cancels.cancel(Cancel(server.cluster, server.attempt, server.job))
