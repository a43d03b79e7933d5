"""The site's hooks, for one term of a controller: which run at an event, in order, and what their answers mean.

A run is a task of its own, because it may take longer than the controller can wait. Its result is kept until the
attempt is over, so that a submit that is tried again does not run it again. After a crash it does: hooks must be safe
to repeat.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from batch.contract import JobSpec
from batch.hooks.child import Call
from batch.hooks.contract import HookChanges, HookError, HookEvent, JobChanges, changed, seen
from batch.hooks.process import HookFailedError, run
from state.config.tables import AuthConfig, HookConfig
from state.errors import StateUnavailableError
from state.names import server_key
from state.plugins.entry_points import PluginError
from state.plugins.hooks import BEFORE_SUBMIT, kind_of, options_of
from state.records.log_fields import log_fields
from state.records.models import Server
from state.store.auth_states import AuthStateError, AuthStates

log = logging.getLogger("towpath.hooks")

AT_ONCE: Final = 16
"""Runs at the same time. Others wait; their time limit begins with the run."""
INHERITED: Final = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables of the controller that hooks get. Others can hold secrets of the hub."""
SECRET_MIN: Final = 8
"""Shorter texts of the sign-in's state are not treated as secrets: they would be found everywhere."""
TELL_ADMINS: Final = "Try again. If it fails again, tell the admins of this hub."

FAILURES: Final = (HookFailedError, PluginError, AuthStateError, StateUnavailableError, msgspec.ValidationError)


class Hooks:
    """All calls are from one event loop."""

    def __init__(
        self,
        configured: Sequence[HookConfig],
        auth: AuthConfig | None,
        auth_states: AuthStates,
        *,
        wake: Callable[[str], None],
    ) -> None:
        """`wake` is called with the server's key when a run has ended."""
        self._configured = configured
        keeps = auth is not None and any(provider.auth_state for provider in auth.provider)
        self._secret = auth.auth_state_key if auth is not None and keeps else ""  # what was kept before is not used
        self._auth_states = auth_states
        self._wake = wake
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._runs: dict[tuple[str, str], asyncio.Task[HookChanges]] = {}

    def __bool__(self) -> bool:
        """Return whether the site has hooks."""
        return bool(self._configured)

    def before_submit(self, server: Server, spec: JobSpec) -> HookChanges | None:
        """Return all changes of the hooks, or None while they run. Raises HookError.

        `spec`: the job without its secrets.
        """
        task = self._task(BEFORE_SUBMIT, server, spec)
        return task.result() if task.done() else None

    def notify(self, event: str, server: Server) -> bool:
        """Run the hooks of another event; False while they run. A failure is logged."""
        if event == "ended":
            self._forget(server.attempt, but=event)
        return self._task(event, server, None).done()

    def forget(self, attempt: str) -> None:
        """End the runs of an attempt that is over, and forget their results."""
        self._forget(attempt, but="")

    def close(self) -> None:
        """End all runs."""
        for task in self._runs.values():
            task.cancel()

    def _forget(self, attempt: str, *, but: str) -> None:
        for key in [key for key in self._runs if key[0] == attempt and key[1] != but]:
            self._runs.pop(key).cancel()

    def _task(self, event: str, server: Server, spec: JobSpec | None) -> "asyncio.Task[HookChanges]":
        key = (server.attempt, event)
        task = self._runs.get(key)
        if task is None:
            task = self._runs[key] = asyncio.get_running_loop().create_task(self._run_all(event, server, spec))
            task.add_done_callback(lambda ended: self._ended(ended, server))
        return task

    def _ended(self, task: "asyncio.Task[HookChanges]", server: Server) -> None:
        if not task.cancelled():
            task.exception()  # it is raised where the result is used
            self._wake(server_key(server.user, server.name))

    async def _run_all(self, event: str, server: Server, spec: JobSpec | None) -> HookChanges:
        """Run the hooks of an event in order; each sees the changes of those before it. Raises HookError."""
        total = JobChanges()
        for hook in self._configured:
            if event not in hook.events or event not in kind_of(hook).events:
                continue
            changes = await self._run_one(hook, event, server, spec)
            if spec is not None:
                spec, total = changed(spec, changes), _added(total, changes)
        return HookChanges(job=total)

    async def _run_one(self, hook: HookConfig, event: str, server: Server, spec: JobSpec | None) -> JobChanges:
        """Run one configured hook. Raises HookError if it refuses, or fails although it is required."""
        auth_state: dict[str, Any] | None = None
        total = JobChanges()
        try:
            auth_state = await self._auth_state(server) if hook.auth_state else None
            for answer in await self._run(hook, _event(event, server, spec, auth_state)):
                if answer.refuse:
                    raise HookError(answer.refuse, hint=answer.hint, code="refused")
                total = _added(total, _with_secrets(answer.job, auth_state))
            if spec is not None:
                changed(spec, total)
        except FAILURES as error:
            stderr = _hidden(getattr(error, "stderr", ""), auth_state)
            log.warning(
                "A hook failed. hook=%s event=%s %s why=%s%s",
                *(hook.kind, event, log_fields(server), error, f" stderr={stderr!r}" if stderr else ""),
            )
            if hook.required and event == BEFORE_SUBMIT:
                message = f"This hub could not prepare the server: its hook {hook.kind!r} failed."
                raise HookError(message, hint=TELL_ADMINS) from error
            return JobChanges()
        return total

    async def _run(self, hook: HookConfig, event: HookEvent) -> list[HookChanges]:
        """Run one configured hook, which may be several programs. Raises HookFailedError."""
        kind, options = kind_of(hook), options_of(hook)
        if kind.commands is None:
            commands: list[tuple[str, ...]] = [(sys.executable, "-m", "batch.hooks.child", kind.name)]
            document = msgspec.json.encode(Call(options=msgspec.Raw(msgspec.json.encode(options)), event=event))
        else:
            try:
                commands = await asyncio.to_thread(kind.commands, options, event.event)
            except OSError as error:
                raise HookFailedError(str(error)) from error
            document = msgspec.json.encode(event)
        answers = []
        for command in commands:
            async with self._turns:
                out = await run(command, document, _environment(event), seconds=hook.timeout)
            if event.event == BEFORE_SUBMIT and out.strip():
                try:
                    answers.append(msgspec.json.decode(out, type=HookChanges))
                except msgspec.DecodeError as error:
                    raise HookFailedError(f"its answer is not what docs/plug-ins.md describes: {error}") from error
                if answers[-1].refuse:
                    break
        return answers

    async def _auth_state(self, server: Server) -> dict[str, Any] | None:
        return await self._auth_states.get(server.user, secret=self._secret) if self._secret else None


def _event(event: str, server: Server, spec: JobSpec | None, auth_state: dict[str, Any] | None) -> HookEvent:
    reason = server.reason
    return HookEvent(
        event=event,
        user=server.user,
        server=server.name,
        attempt=server.attempt,
        cluster=server.cluster,
        profile=server.profile,
        choices=server.choices,
        status=str(server.status),
        native_id=server.job.native_id if server.job is not None else "",
        node=server.node,
        reason=reason.message if reason is not None else "",
        reason_code=reason.code if reason is not None else "",
        exit_code=reason.exit_code if reason is not None else None,
        job=seen(spec) if spec is not None else None,
        auth_state=auth_state,
    )


def _environment(event: HookEvent) -> dict[str, str]:
    """Return the variables of a run: enough for a shell script that needs no JSON."""
    own = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return own | {
        "TOWPATH_EVENT": event.event,
        "TOWPATH_USER": event.user,
        "TOWPATH_SERVER": event.server,
        "TOWPATH_ATTEMPT": event.attempt,
        "TOWPATH_CLUSTER": event.cluster,
        "TOWPATH_PROFILE": event.profile,
        "TOWPATH_JOB": event.native_id,
        "TOWPATH_NODE": event.node,
        "TOWPATH_STATUS": event.status,
        "TOWPATH_REASON": event.reason_code,
    }


def _added(before: JobChanges, later: JobChanges) -> JobChanges:
    """Return both changes in one; the later ones win."""
    fields: dict[str, Any] = {}
    for name in ("command", "directory", "start_window"):
        value = getattr(later, name)
        fields[name] = getattr(before, name) if value is UNSET else value
    for name in ("environment", "resources", "setup"):
        updates = [one for one in (getattr(before, name), getattr(later, name)) if one is not UNSET]
        fields[name] = {key: value for one in updates for key, value in one.items()} if updates else UNSET
    return JobChanges(**fields, secrets=(*before.secrets, *later.secrets))


def _with_secrets(changes: JobChanges, auth_state: Mapping[str, Any] | None) -> JobChanges:
    """Add the texts of the sign-in's state that a hook put into the environment to the job's secrets."""
    if changes.environment is UNSET or not auth_state:
        return changes
    values = [value for value in changes.environment.values() if value]
    found = [text for text in texts(auth_state) if len(text) >= SECRET_MIN and any(text in value for value in values)]
    return msgspec.structs.replace(changes, secrets=(*changes.secrets, *dict.fromkeys(found)))


def _hidden(output: str, auth_state: Mapping[str, Any] | None) -> str:
    for text in texts(auth_state):
        if len(text) >= SECRET_MIN:
            output = output.replace(text, "[hidden]")
    return output


def texts(value: Any) -> list[str]:
    """Return all texts in a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list | tuple) else []
