"""Changes of a request while its server waits in the queue.

Owns which servers can be changed, and what the record says then. The controller makes the change
(`batch.controller.reconcile`): it changes the waiting job where its cluster can, so that it keeps its place in the
queue, and replaces it by a new job where it cannot.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from state.errors import TransitionError
from state.records.models import Server, Status, Target

REQUEST: Final = (
    "user", "name", "display_name", "profile", "cluster", "choices", "strip_prefix", "cors_origins",
)  # fmt: skip
"""The fields that say what was requested. All others are about one attempt, or about the record itself."""


def editable(server: Server) -> bool:
    """Return whether the request can still be changed: its job has not started, and nobody has stopped it."""
    waits = server.status in (Status.REQUESTED, Status.QUEUED)
    return waits and server.target is Target.READY and not server.removing


def with_edit(server: Server, choices: Mapping[str, Any]) -> Server:
    """Return the record with validated choices for the controller. Raises TransitionError if it is too late."""
    if not editable(server):
        raise TransitionError(f"A server that is {server.status} cannot be changed.")
    return replace(server, edited=dict(choices) if dict(choices) != server.choices else None)


def new_attempt(server: Server, *, now: float) -> Server:
    """Return the record of the same request with a new attempt, of which nothing is known yet. `now`: epoch seconds."""
    request = {name: getattr(server, name) for name in REQUEST}
    return Server(
        **request,
        target=Target.READY,
        status=Status.REQUESTED,
        attempt=secrets.token_hex(16),
        requested=now,
        revision=server.revision,
        fence=server.fence,
    )
