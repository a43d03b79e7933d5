"""Performs the actions of `batch.controller.reconcile`, in the order of writes in docs/state.md.

Owns the sequence of a submit, the events that go with changes, and what a failed call means. Makes no decisions about
servers.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from batch.contract import Change, JobSpec, LauncherError, Passport, Updated
from batch.controller.reconcile import (
    Action,
    Adopt,
    Cancel,
    DropRoute,
    Edit,
    PublishRoute,
    Remove,
    RunHooks,
    Save,
    Settle,
    Submit,
)
from batch.controller.watcher import ClusterWatch
from batch.hooks.contract import HookError, JobChanges, changed
from batch.hooks.hooks import Hooks
from batch.jobs.hub_app import app_token, gets_api_token
from batch.jobs.job_builder import in_the_script, job_spec, resources, with_secrets
from state.config.addresses import base_path
from state.config.tables import Config, ProfileConfig
from state.errors import ConflictError, StateUnavailableError
from state.names import server_key, server_path
from state.plugins.hooks import ENDED
from state.records.audit import of_end
from state.records.failure_log import log_failure
from state.records.lifecycle import PROGRESS, advance
from state.records.log_fields import log_fields
from state.records.models import Event, JobRef, Reason, Server, Status, Target, User, Waiting
from state.records.readiness import is_ready, route_of
from state.rights.roles import Roles
from state.store.all import Store

log = logging.getLogger("towpath.controller")

CANCEL_EVERY = 5.0
SUBMIT_TRIES = 5


class Place:
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


class Executor:
    """Acts during one term of leadership. Every write has the term's fencing token."""

    def __init__(
        self,
        store: Store,
        config: Config,
        watches: Mapping[str, ClusterWatch],
        *,
        fence: int,
        place: Place,
        fault: Callable[[str], None],
        hooks: Hooks,
    ) -> None:
        """`fault` is called with the name of each crash point: tests kill the process there."""
        self._store = store
        self._config = config
        self._watches = watches
        self._fence = fence
        self._place = place
        self._fault = fault
        self._hooks = hooks
        self._base = base_path(config)
        self._roles = Roles.of(config)
        self._cancelled: dict[str, float] = {}
        self.settled: set[str] = set()

    async def act(self, server: Server | None, actions: list[Action]) -> bool:
        """Perform actions in order; False: retry later. Raises StateUnavailableError, FencedError, ConflictError."""
        for action in actions:
            if isinstance(action, RunHooks):
                assert server is not None  # only servers with a record have hooks
                if not await self._run_hooks(server, action.event):
                    return True  # the end of the run queues the server again
            elif not await self._do(server, action):
                return False
        return True

    async def _run_hooks(self, server: Server, event: str) -> bool:
        """Run the hooks of an event and note it in the record; False while they run."""
        now = await self._store.servers.get(server.user, server.name)
        if now is None or now.attempt != server.attempt or now.hooked == event:
            return True
        if not self._hooks.notify(event, now):
            return False
        self._fault("after-hooks")
        await self._store.servers.save(replace(now, hooked=event), fence=self._fence, marked=True, wake=False)
        if event == ENDED:
            self._hooks.forget(server.attempt)
        return True

    async def _do(self, server: Server | None, action: Action) -> bool:
        match action:
            case Submit():
                assert server is not None  # only servers with a record are submitted
                return await self._submit(server)
            case Edit():
                assert server is not None  # only a record is changed
                return await self._edit(server)
            case Cancel():
                return await self._cancel(action)
            case Save(server=record, message=message):
                await self._save(record, message)
                self._fault("after-save")
            case PublishRoute(server=record):
                await self.publish(record)
            case DropRoute(server=record):
                await self._store.feed.drop_route(self._prefix(record), attempt=record.attempt)
            case Adopt(server=record, message=message):
                await self._adopt(record, message)
            case Settle():
                assert server is not None  # only servers with a record are settled
                await self._end_tokens(server)
                self.settled.add(server_key(server.user, server.name))
            case Remove(server=record):
                await self._remove(record)
        return True

    async def _adopt(self, record: Server, message: str) -> None:
        await self._store.users.add(User(name=record.user, created=time.time()))
        if record.token_hash:  # its app keeps its token
            token = app_token(record, self._roles.scopes_of_server(record.user, record.name), now=time.time())
            await self._store.tokens.keep(token, record.token_hash)
        await self._save(record, message, marked=False)

    async def _save(self, server: Server, message: str, *, marked: bool = True) -> Server:
        """Save the record. An already marked server needs no wake-up: every tick and change of its job checks it again.

        `marked` False: the replaced record may have ended, or there is none.
        """
        event = None
        if message:
            event = Event(
                attempt=server.attempt,
                time=time.time(),
                status=server.status,
                message=message,
                progress=PROGRESS[server.status],
            )
            log.info("A server changed %s status=%s message=%r", log_fields(server), server.status, message)
        saved = await self._store.servers.save(server, event=event, fence=self._fence, marked=marked, wake=not marked)
        if not saved.active:
            if message:
                log_failure(saved)
            await self._note_end(saved)
        return saved

    async def _note_end(self, server: Server) -> None:
        try:
            await self._store.audit.note(of_end(server, time=time.time(), by="controller"))
        except StateUnavailableError:
            log.warning("The end of a server could not be saved %s", log_fields(server))

    async def _submit(self, server: Server) -> bool:
        watch = self._watches.get(server.cluster)
        profile = self._config.profile_named(server.profile)
        if watch is None or profile is None:
            missing = f"cluster {server.cluster!r}" if watch is None else f"profile {server.profile!r}"
            await self._fail(server, "config", f"The {missing} does not exist any more.", "Choose another profile.")
            return True
        changes = JobChanges()
        if self._hooks:
            if not server.hooked:
                server = await self._save(replace(server, hooked="begun"), "")
            try:
                prepared = self._hooks.before_submit(server, self._preview(server, profile))
            except HookError as error:
                await self._fail(server, error.code, str(error), error.hint)
                return True
            if prepared is None:
                return True  # the end of the run queues the server again
            changes = prepared.job
        # Only the process that saved this secret under its fencing token submits.
        again = bool(server.report_hash)
        token = secrets.token_urlsafe(32)
        api_token = await self._api_token(server, profile)
        server = with_secrets(server, profile, token=token, secret=secrets.token_urlsafe(32), api_token=api_token)
        server = await self._save(server, "")
        self._fault("before-submit")
        spec = job_spec(
            server,
            profile,
            self._config,
            token=token,
            api_token=api_token,
            own=self._place.own,
            as_root=self._place.as_root,
            hostname=self._place.hostname,
            passport=self._place.passport,
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
            await self._fail(server, error.code, str(error), error.hint, error.field)
            return True
        self._fault("after-submit")
        watch.submitted(server.attempt)
        await self._note_job(server, job)
        self._fault("after-save")
        return True

    def _preview(self, server: Server, profile: ProfileConfig) -> JobSpec:
        """Return the job without its secrets, for hooks."""
        place = self._place
        return job_spec(
            server, profile, self._config, token="", own=place.own, as_root=place.as_root, hostname=place.hostname
        )

    def _prepared(self, spec: JobSpec, changes: JobChanges) -> JobSpec:
        """Return the job as the hooks changed it. A certificate is valid for the job's time limit."""
        prepared = changed(spec, changes)
        walltime = prepared.resources.walltime
        if spec.passport is not None and self._place.passport is not None and walltime != spec.resources.walltime:
            return replace(prepared, passport=self._place.passport(spec.attempt, walltime or 0))
        return prepared

    async def _choose_place(self, watch: ClusterWatch, server: Server, spec: JobSpec) -> tuple[Server, JobSpec]:
        """Save where the job will run, if that is chosen before the submit."""
        place = await watch.launcher.place(spec)
        if place is None or place == server.job:
            return server, spec
        server = await self._save(replace(server, job=place), "")
        return server, replace(spec, record=server)

    async def _note_wait(self, server: Server, error: LauncherError) -> None:
        """Show on the server's page why it has not been started yet."""
        waiting = Waiting(code=error.code, message=str(error), hint=error.hint)
        if server.waiting != waiting:
            await self._save(replace(server, waiting=waiting), waiting.message)

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
                    await self._save(queued, f"Submitted to {server.cluster}.")
                elif now.job != job:
                    await self._save(replace(now, job=job), "")
            except ConflictError:
                now = await self._store.servers.get(server.user, server.name)
            else:
                return

    async def _edit(self, server: Server) -> bool:
        """Change what a waiting job asks for; where its cluster cannot, a new job takes its place."""
        watch = self._watches.get(server.cluster)
        profile = self._config.profile_named(server.profile)
        if watch is None or profile is None or server.edited is None:
            await self._save(replace(server, edited=None), "")
            return True
        changed = replace(server, choices=server.edited, edited=None)
        updated = Updated.IMPOSSIBLE
        try:
            # Hooks may have changed the job, and want to see the new one: they run before a submit only.
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
            await self._save(replace(server, edited=None), f"The request was not changed. {error} {error.hint}".strip())
            return True
        self._fault("after-edit")
        if updated is Updated.DONE:
            await self._save(changed, "The request was changed. The job keeps its place in the queue.")
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
        fresh = Server(
            user=server.user,
            name=server.name,
            display_name=server.display_name,
            target=Target.READY,
            status=Status.REQUESTED,
            attempt=secrets.token_hex(16),
            profile=server.profile,
            cluster=server.cluster,
            choices=server.choices,
            strip_prefix=server.strip_prefix,
            requested=time.time(),
            revision=server.revision,
            fence=server.fence,
        )
        words = "The request was changed. This needs a new job, which has a new place in the queue."
        await self._save(fresh, words)
        await self._end_tokens(server)
        await self._cancel(Cancel(server.cluster, server.attempt, server.job))

    async def _end_tokens(self, server: Server) -> None:
        """Revoke everything that was issued to the app, which is gone. Repeated, in case a crash interrupted it."""
        await self._store.tokens.end_bound(server_key(server.user, server.name), attempt=server.attempt)

    async def _remove(self, server: Server) -> None:
        """Remove a record whose removal was requested, unless it is already gone."""
        now = await self._store.servers.get(server.user, server.name)
        if now is not None and now.attempt == server.attempt and now.removing and not now.active:
            await self._store.servers.remove(now)
            log.info("The server was removed %s", log_fields(now))

    async def _fail(self, server: Server, code: str, message: str, hint: str, field: str = "") -> None:
        reason = Reason(code=code, message=message, hint=hint, field=field)
        await self._save(advance(server, Status.FAILED, now=time.time(), reason=reason), message)

    async def _cancel(self, action: Cancel) -> bool:
        watch = self._watches.get(action.cluster)
        if watch is None or time.monotonic() - self._cancelled.get(action.attempt, -CANCEL_EVERY) < CANCEL_EVERY:
            return True
        self._fault("before-cancel")
        try:
            await watch.launcher.cancel(action.job, action.attempt)
        except LauncherError as error:
            job = action.job.native_id if action.job is not None else "-"
            log.warning("The cancel failed attempt=%s job=%s reason=%s", action.attempt, job, error)
            return False
        self._cancelled[action.attempt] = time.monotonic()
        self._fault("after-cancel")
        watch.submitted(action.attempt)
        return True

    async def publish(self, server: Server) -> None:
        """Publish the route of a ready server, and withdraw it if the server is not ready any more."""
        assert server.endpoint is not None  # ready records have one
        await self._store.feed.set_route(route_of(server, self._base))
        # A stop may have dropped the route between the save and this.
        now = await self._store.servers.get(server.user, server.name)
        if now is None or now.attempt != server.attempt or not is_ready(now):
            await self._store.feed.drop_route(self._prefix(server), attempt=server.attempt)

    def _prefix(self, server: Server) -> str:
        return server_path(self._base, server.user, server.name)
