"""Starts and stops servers by recording the requested state: each act once, with its audit entry.

Owns the compare-and-set loops with which the form, the API and a URL change a server's record. Does not know about
schedulers: the controller changes the actual state to the requested one.
"""

import asyncio
import secrets
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from litestar import Request
from msgspec.structs import replace

from portal.audit import recorder
from portal.servers import metrics
from portal.servers.catalog_facts import facts_of
from portal.servers.models import pending
from portal.site.site import Site
from state.errors import ConflictError, LimitError, NameRuleError
from state.names import new_server_name, server_name, server_path
from state.offer.choices import Chosen, validate
from state.offer.clusters import CLUSTER, has_choice, on_picked_cluster
from state.offer.combinations import NOTHING_KNOWN
from state.records import lifecycle
from state.records.audit import Act
from state.records.models import Event, Server, Status, Target, User
from state.records.readiness import is_ready

TRIES: Final = 8
DISPLAY_NAME_MAX: Final = 255
REMOVAL_PAUSE_FIRST: Final = 0.02
REMOVAL_PAUSE_LONGEST: Final = 0.5
"""Seconds between two checks whether a server is gone."""


class Started(Enum):
    """The outcome of a request to start a server."""

    NEW = "new"  # a new attempt has been created
    PENDING = "pending"  # it is already starting
    READY = "ready"  # it is already running
    STOPPING = "stopping"  # it must end first


async def start(
    site: Site,
    request: Request[Any, Any, Any],
    user: User,
    name: str,
    *,
    profile: str | None = None,
    picked: Mapping[str, Any] | None = None,
    display_name: str = "",
) -> tuple[Started, Server]:
    """Request that a server runs. `picked` None: as the last time, or the profile's defaults.

    Raises ChoicesError (with the fields at fault), NameRuleError, ConflictError, LimitError and StateUnavailableError.
    """
    server_name(name)
    check_display_name(display_name)
    for _ in range(TRIES):
        old = await site.store.servers.get(user.name, name)
        if old is None:
            new_server_name(name)
        if old is not None and (old.active or old.removing):
            return (
                Started.READY if is_ready(old) else Started.STOPPING if pending(old) == "stop" else Started.PENDING
            ), old
        fresh = await _fresh(site, user, name, old, profile=profile, picked=picked, display_name=display_name)
        record = lifecycle.renew(old, fresh) if old else fresh
        event = Event(
            attempt=fresh.attempt,
            time=fresh.requested,
            status=Status.REQUESTED,
            message="Requested.",
            progress=lifecycle.PROGRESS[Status.REQUESTED],
        )
        try:
            saved = await _save_new(site, record, event)
        except ConflictError:
            continue
        metrics.STARTS.labels(metrics.WORKER, saved.profile).inc()
        await recorder.note(site.store, request, Act.SERVER_START, user=user.name, server=name, what=saved.profile)
        return Started.NEW, saved
    raise ConflictError("Someone else is changing this server. Try again in a moment.")


async def create(
    site: Site, user: User, name: str, *, display_name: str, profile: str | None, picked: Mapping[str, Any] | None
) -> Server:
    """Create a named server without starting it. Raises ConflictError if it exists, and as `start`."""
    new_server_name(name)
    check_display_name(display_name)
    fresh = await _fresh(site, user, name, None, profile=profile, picked=picked, display_name=display_name)
    record = replace(fresh, status=Status.STOPPED, target=Target.STOPPED, ended=fresh.requested)
    try:
        return await _save_new(site, record)
    except ConflictError as error:
        raise ConflictError(f"{user.name} already has a server named {name}.") from error


async def _save_new(site: Site, record: Server, event: Event | None = None) -> Server:
    """Save a start or a new server. Raises ConflictError and LimitError."""
    limit = site.config.limits.servers_per_user
    try:
        return await site.store.servers.save(record, event=event, limit=limit)
    except LimitError as error:
        raise LimitError(f"{record.user} has {limit} named servers, which is the maximum. Remove one first.") from error


async def stop(site: Site, request: Request[Any, Any, Any], user: str, name: str) -> Server | None:
    """Request that a server stops. Valid in every state, idempotent. Its route is removed when this returns.

    Returns the record (stopped or stopping); None: the server does not exist.
    """
    for _ in range(TRIES):
        server = await site.store.servers.get(user, name)
        if server is None or not server.active:
            return server
        if server.target is not Target.STOPPED:
            try:
                server = await _want_stopped(site, server, removing=server.removing)
            except ConflictError:
                continue
            await recorder.note(site.store, request, Act.SERVER_STOP, user=user, server=name)
        await site.store.feed.drop_route(server_path(site.base, user, name), attempt=server.attempt)
        return server
    raise ConflictError("Someone else is changing this server. Try again in a moment.")


async def request_removal(site: Site, request: Request[Any, Any, Any], user: str, name: str) -> Server | None:
    """Request the removal of a server, which is stopped first if it is running. Its route is removed when this returns.

    A server whose job has certainly ended is removed immediately. The controller removes others as soon as their job
    has ended, even if this process ends. Returns the record while it exists; None: the server does not exist.
    """
    before, server = await _remove(site, user, name)
    if before is not None and not before.removing:
        await recorder.note(site.store, request, Act.SERVER_REMOVED, user=user, server=name)
    return server


async def _remove(
    site: Site, user: str, name: str, *, attempt: str | None = None
) -> tuple[Server | None, Server | None]:
    """Remove a server, or request that. Returns the record before and after.

    `attempt`: of the server that is meant. Another one, which was made meanwhile, stays and is returned unchanged.
    """
    for _ in range(TRIES):
        before = server = await site.store.servers.get(user, name)
        if before is None:
            return None, None
        if attempt is not None and before.attempt != attempt:
            return before, before
        try:
            if not before.active and await site.store.servers.settled(user, name):
                await site.store.servers.remove(before)
                server = None
            elif not before.removing:
                server = await _want_stopped(site, before, removing=True)
        except ConflictError:
            continue
        await site.store.feed.drop_route(server_path(site.base, user, name), attempt=before.attempt)
        return before, server
    raise ConflictError("Someone else is changing this server. Try again in a moment.")


async def _want_stopped(site: Site, server: Server, *, removing: bool) -> Server:
    """Save that a server must stop, and whether it is removed then. Raises ConflictError."""
    event = None
    if server.active and server.target is not Target.STOPPED:
        event = Event(
            attempt=server.attempt,
            time=site.clock(),
            status=server.status,
            message="Stop requested.",
            progress=lifecycle.PROGRESS[server.status],
        )
    saved = await site.store.servers.save(replace(server, target=Target.STOPPED, removing=removing), event=event)
    if event is not None:
        metrics.STOPS.labels(metrics.WORKER).inc()
    return saved


async def removed(site: Site, server: Server, *, seconds: float) -> bool:
    """Wait up to `seconds` for a requested removal. Returns whether the server is gone."""
    deadline = site.clock() + seconds
    pause = REMOVAL_PAUSE_FIRST
    while True:
        _, now = await _remove(site, server.user, server.name, attempt=server.attempt)
        if now is None or now.attempt != server.attempt:
            return True
        if site.clock() >= deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, REMOVAL_PAUSE_LONGEST)


async def ended(site: Site, server: Server, *, seconds: float) -> Server | None:
    """Wait up to `seconds` for a stopping server. Returns its record; None: it is gone."""
    deadline = site.clock() + seconds
    after = "0"
    current: Server | None = server
    while current is not None and current.active and current.attempt == server.attempt:
        left = deadline - site.clock()
        if left <= 0:
            break
        events = await site.store.servers.events(server.user, server.name, after=after, timeout=min(left, 1.0))
        after = events[-1].id if events else after
        current = await site.store.servers.get(server.user, server.name)
    return current


def check_display_name(display_name: str) -> None:
    """Raise NameRuleError for a display name that is too long or not printable."""
    if len(display_name) > DISPLAY_NAME_MAX or not display_name.isprintable():
        raise NameRuleError(f"A display name can have at most {DISPLAY_NAME_MAX} printable characters.")


async def chosen(site: Site, user: User, profile: str, picked: Mapping[str, Any]) -> Chosen:
    """Validate choices with what the picked cluster offers to this user. Raises ChoicesError."""
    found = site.config.profile_named(profile)
    facts = NOTHING_KNOWN
    if found is not None:
        facts = await facts_of(site, on_picked_cluster(found, picked)[0].clusters[0], user)
    return validate(site.config, profile, picked, user, facts)


async def _fresh(
    site: Site,
    user: User,
    name: str,
    old: Server | None,
    *,
    profile: str | None,
    picked: Mapping[str, Any] | None,
    display_name: str,
) -> Server:
    before = site.config.profile_named(old.profile) if old is not None and profile is None else None
    if old is not None and before is not None:
        profile = before.name
        # options that the profile no longer has are dropped
        remembered = {key: value for key, value in old.choices.items() if key in before.option}
        if has_choice(before) and old.cluster in before.clusters:
            remembered[CLUSTER] = old.cluster
        picked = remembered if picked is None else picked
    found = await chosen(site, user, profile or "", picked or {})
    return Server(
        user=user.name,
        name=name,
        display_name=display_name or (old.display_name if old else ""),
        target=Target.READY,
        status=Status.REQUESTED,
        attempt=secrets.token_hex(16),
        profile=found.profile,
        cluster=found.cluster,
        choices=found.choices,
        strip_prefix=found.strip_prefix,
        cors_origins=found.cors_origins,
        requested=site.clock(),
    )
