"""Changes of a server that exists: its display name, and what it asks for. Each act once, with its audit entry.

The choices can be changed while the server is stopped, or waits in the queue. Then the controller changes the job
(`state.records.edits`).
"""

from collections.abc import Mapping
from typing import Any, Final

from litestar import Request
from msgspec.structs import replace

from portal.audit import recorder
from portal.servers.server_actions import TRIES, check_display_name, chosen
from portal.site.site import Site
from state.errors import ChoicesError, ConflictError, InvalidError, NotFoundError, TransitionError
from state.offer.clusters import CLUSTER, has_choice
from state.records import lifecycle
from state.records.audit import Act
from state.records.edits import editable, with_edit
from state.records.models import Event, Server, User

REQUEST_CHANGED: Final = "the request was changed"


async def edit(
    site: Site,
    request: Request[Any, Any, Any],
    user: User,
    name: str,
    *,
    picked: Mapping[str, Any],
    profile: str | None = None,
) -> Server:
    """Ask for other choices while the server waits in the queue, and return the record.

    `profile` None: the one that it was started with. No other one is possible. Raises NotFoundError, ChoicesError,
    InvalidError, TransitionError if the job has started or was stopped, ConflictError and StateUnavailableError.
    """
    for _ in range(TRIES):
        server = await site.store.servers.get(user.name, name)
        if server is None:
            raise NotFoundError(f"{user.name} has no server named {name!r}.")
        if profile not in {None, server.profile}:
            raise InvalidError("The profile of a waiting server cannot be changed. Stop it, then start it again.")
        if not editable(server):
            raise TransitionError("The server is no longer waiting, so its request cannot be changed.")
        found = await chosen(site, user, server.profile, _on_same_cluster(site, server, picked))
        changed = with_edit(server, found.choices)
        if changed == server:
            return server
        event = Event(
            attempt=server.attempt,
            time=site.clock(),
            status=server.status,
            message="Change requested.",
            progress=lifecycle.PROGRESS[server.status],
        )
        try:
            saved = await site.store.servers.save(changed, event=event if changed.edited is not None else None)
        except ConflictError:
            continue
        if saved.edited is not None:
            what = REQUEST_CHANGED
            await recorder.note(site.store, request, Act.SERVER_START, user=user.name, server=name, what=what)
        return saved
    raise ConflictError("Someone else is changing this server. Try again in a moment.")


def _on_same_cluster(site: Site, server: Server, picked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the picks with the cluster on which the server waits. Raises ChoicesError for another one."""
    profile = site.config.profile_named(server.profile)
    if profile is None or not has_choice(profile) or server.cluster not in profile.clusters:
        return picked
    if picked.get(CLUSTER) not in {None, "", server.cluster}:
        message = "The cluster of a waiting server cannot be changed. Stop the server, then start it again."
        raise ChoicesError({CLUSTER: message})
    return {**picked, CLUSTER: server.cluster}


async def rename(site: Site, server: Server, display_name: str) -> Server:
    """Change the display name, and return the record. Raises NameRuleError and ConflictError."""
    check_display_name(display_name)
    return await site.store.servers.save(replace(server, display_name=display_name))


async def change(
    site: Site,
    request: Request[Any, Any, Any],
    user: User,
    server: Server,
    *,
    picked: Mapping[str, Any],
    profile: str | None = None,
) -> Server:
    """Change the choices of a server that is stopped or waits in the queue, and return the record.

    `profile` None: as it is. Raises InvalidError while the server runs, ChoicesError, ConflictError, and as `edit`.
    """
    if not server.active:
        found = await chosen(site, user, profile or server.profile, picked)
        changed = replace(server, profile=found.profile, cluster=found.cluster, choices=found.choices)
        return await site.store.servers.save(changed)
    if not editable(server):
        raise InvalidError("Stop the server before you change its options.")
    return await edit(site, request, user, server.name, profile=profile, picked=picked)
