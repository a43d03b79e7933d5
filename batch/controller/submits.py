"""Submits the job of a server that was requested.

Owns the sequence of a submit: hooks, new secrets, the choice of a place, the launcher's call, the saved job. Does not
decide when to submit.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from batch.contract import JobSpec, LauncherError, Passport
from batch.controller.server_records import ServerRecords
from batch.controller.watcher import ClusterWatch
from batch.hooks.contract import HookError, JobChanges, changed
from batch.hooks.hooks import Hooks
from batch.jobs.hub_app import app_token, gets_api_token
from batch.jobs.job_builder import job_spec, with_secrets
from state.config.tables import Config, ProfileConfig
from state.errors import ConflictError
from state.records.lifecycle import advance
from state.records.log_fields import log_fields
from state.records.models import JobRef, Server, Status, Waiting
from state.rights.roles import Roles
from state.store.all import Store

log = logging.getLogger("towpath.controller")

SUBMIT_TRIES = 5


class JobContext:
    """What jobs get from the hub: its environment, whether they run as root, its name, and certificates."""

    __slots__ = ("as_root", "hostname", "own", "passport")

    def __init__(
        self,
        own: Mapping[str, str],
        *,
        as_root: bool,
        hostname: str = "",
        passport: Callable[[str, int], Passport] | None = None,
    ) -> None:
        """`passport`: see `batch.jobs.job_builder.job_spec`; None: no cluster has jobs on other machines."""
        self.own = own
        self.as_root = as_root
        self.hostname = hostname
        self.passport = passport


class Submitter:
    """Submits jobs during one term. All methods may raise StateUnavailableError, FencedError and ConflictError."""

    def __init__(
        self,
        store: Store,
        records: ServerRecords,
        config: Config,
        watches: Mapping[str, ClusterWatch],
        *,
        context: JobContext,
        fault: Callable[[str], None],
        hooks: Hooks,
    ) -> None:
        self._store = store
        self._records = records
        self._config = config
        self._watches = watches
        self._context = context
        self._fault = fault
        self._hooks = hooks
        self._roles = Roles.of(config)

    async def submit(self, server: Server) -> bool:
        """Submit the job, or save why that is not possible. Return False to retry later."""
        watch = self._watches.get(server.cluster)
        profile = self._config.profile_named(server.profile)
        if watch is None or profile is None:
            missing = f"cluster {server.cluster!r}" if watch is None else f"profile {server.profile!r}"
            await self._records.fail(
                server, "config", f"The {missing} does not exist any more.", "Choose another profile."
            )
            return True
        changes = JobChanges()
        if self._hooks:
            if not server.hooked:
                server = await self._records.save(replace(server, hooked="begun"), "")
            try:
                prepared = self._hooks.before_submit(server, self._preview(server, profile))
            except HookError as error:
                await self._records.fail(server, error.code, str(error), error.hint)
                return True
            if prepared is None:
                return True  # the end of the run queues the server again
            changes = prepared.job
        # Only the process that saved this secret under its fencing token submits.
        again = bool(server.report_hash)
        token = secrets.token_urlsafe(32)
        api_token = await self._api_token(server, profile)
        server = with_secrets(server, profile, token=token, secret=secrets.token_urlsafe(32), api_token=api_token)
        server = await self._records.save(server, "")
        self._fault("before-submit")
        spec = job_spec(
            server,
            profile,
            self._config,
            token=token,
            api_token=api_token,
            own=self._context.own,
            as_root=self._context.as_root,
            hostname=self._context.hostname,
            passport=self._context.passport,
            again=again,
        )
        spec = self._prepared(spec, changes)
        try:
            server, spec = await self._choose_place(watch, server, spec)
            self._fault("after-place")
            job = await watch.launcher.submit(spec)
        except LauncherError as error:
            log.warning("The submit failed %s reason=%s", log_fields(server), error)
            if error.transient:
                await self._note_wait(server, error)
                watch.look()
                return False
            await self._records.fail(server, error.code, str(error), error.hint, error.field)
            return True
        self._fault("after-submit")
        watch.submitted(server.attempt)
        await self._note_job(server, job)
        self._fault("after-save")
        return True

    def _preview(self, server: Server, profile: ProfileConfig) -> JobSpec:
        """Return the job without its secrets, for hooks."""
        context = self._context
        return job_spec(
            server, profile, self._config, token="", own=context.own, as_root=context.as_root, hostname=context.hostname
        )

    def _prepared(self, spec: JobSpec, changes: JobChanges) -> JobSpec:
        """Return the job as the hooks changed it. A certificate is valid for the job's time limit."""
        prepared = changed(spec, changes)
        walltime = prepared.resources.walltime
        if spec.passport is not None and self._context.passport is not None and walltime != spec.resources.walltime:
            return replace(prepared, passport=self._context.passport(spec.attempt, walltime or 0))
        return prepared

    async def _choose_place(self, watch: ClusterWatch, server: Server, spec: JobSpec) -> tuple[Server, JobSpec]:
        """Save where the job will run, if that is chosen before the submit."""
        place = await watch.launcher.place(spec)
        if place is None or place == server.job:
            return server, spec
        server = await self._records.save(replace(server, job=place), "")
        return server, replace(spec, record=server)

    async def _note_wait(self, server: Server, error: LauncherError) -> None:
        """Show on the server's page why it has not been started yet."""
        waiting = Waiting(code=error.code, message=str(error), hint=error.hint)
        if server.waiting != waiting:
            await self._records.save(replace(server, waiting=waiting), waiting.message)

    async def _api_token(self, server: Server, profile: ProfileConfig) -> str:
        """Return a new API token for the app of this attempt, or `""` if it gets none.

        It is revoked with the attempt.
        """
        if not gets_api_token(profile, self._config):
            return ""
        scopes = self._roles.scopes_of_server(server.user, server.name)
        return await self._store.tokens.issue(app_token(server, scopes, now=time.time()))

    async def _note_job(self, server: Server, job: JobRef) -> None:
        """Save where the job is. The record may have changed meanwhile: a fast app, an impatient user."""
        now: Server | None = server
        for _ in range(SUBMIT_TRIES):
            if now is None or now.attempt != server.attempt or not now.active:
                return  # the poll will show the job, and what to do about it
            try:
                if now.status is Status.REQUESTED:
                    queued = advance(replace(now, waiting=None), Status.QUEUED, now=time.time(), job=job)
                    await self._records.save(queued, f"Submitted to {server.cluster}.")
                elif now.job != job:
                    await self._records.save(replace(now, job=job), "")
            except ConflictError:
                now = await self._store.servers.get(server.user, server.name)
            else:
                return
