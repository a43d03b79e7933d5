"""Performs the actions of `batch.controller.reconcile`, in the order of writes in docs/state.md.

Owns which part of the controller performs an action, and the order of the actions of one server. Makes no decisions
about servers.
"""

import time
from collections.abc import Callable, Mapping

from batch.controller.cancels import Cancels
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
from batch.controller.request_editor import RequestEditor
from batch.controller.server_records import ServerRecords
from batch.controller.submits import JobContext, Submitter
from batch.controller.watcher import ClusterWatch
from batch.hooks.hooks import Hooks
from batch.jobs.hub_app import app_token
from state.config.addresses import base_path
from state.config.tables import Config
from state.names import server_key, server_path
from state.plugins.hooks import ENDED
from state.records.models import Server, User
from state.records.readiness import is_ready, route_of
from state.rights.roles import Roles
from state.store.all import Store


class Executor:
    """Acts during one term of leadership. Every write has the term's fencing token."""

    def __init__(
        self,
        store: Store,
        config: Config,
        watches: Mapping[str, ClusterWatch],
        *,
        fence: int,
        context: JobContext,
        fault: Callable[[str], None],
        hooks: Hooks,
    ) -> None:
        """`fault` is called with the name of each crash point: tests kill the process there."""
        self._store = store
        self._fault = fault
        self._hooks = hooks
        self._base = base_path(config)
        self._roles = Roles.of(config)
        self._records = ServerRecords(store, fence=fence)
        self._cancels = Cancels(watches, fault)
        self._submitter = Submitter(store, self._records, config, watches, context=context, fault=fault, hooks=hooks)
        self._editor = RequestEditor(self._records, self._cancels, config, watches, fault=fault, hooks=hooks)
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
        await self._records.note_hooks(now, event)
        if event == ENDED:
            self._hooks.forget(server.attempt)
        return True

    async def _do(self, server: Server | None, action: Action) -> bool:
        match action:
            case Submit():
                assert server is not None  # only servers with a record are submitted
                return await self._submitter.submit(server)
            case Edit():
                assert server is not None  # only a record is changed
                return await self._editor.edit(server)
            case Cancel():
                return await self._cancels.cancel(action)
            case Save(server=record, message=message):
                await self._records.save(record, message)
                self._fault("after-save")
            case PublishRoute(server=record):
                await self.publish(record)
            case DropRoute(server=record):
                await self._store.feed.drop_route(self._prefix(record), attempt=record.attempt)
            case Adopt(server=record, message=message):
                await self._adopt(record, message)
            case Settle():
                assert server is not None  # only servers with a record are settled
                await self._records.end_tokens(server)
                self.settled.add(server_key(server.user, server.name))
            case Remove(server=record):
                await self._records.remove(record)
        return True

    async def _adopt(self, record: Server, message: str) -> None:
        await self._store.users.add(User(name=record.user, created=time.time()))
        if record.token_hash:  # its app keeps its token
            token = app_token(record, self._roles.scopes_of_server(record.user, record.name), now=time.time())
            await self._store.tokens.keep(token, record.token_hash)
        await self._records.save(record, message, marked=False)

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
