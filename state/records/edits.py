"""Changes of a request while its server waits in the queue.

Owns which servers can be changed, and what the record says then. Pure. The controller makes the change
(`batch.controller.reconcile`): it changes the waiting job where its cluster can, so that it keeps its place in the
queue, and replaces it by a new job where it cannot.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from state.errors import TransitionError
from state.records.models import Server, Status, Target


def editable(server: Server) -> bool:
    """Return whether the request can still be changed: its job has not started, and nobody has stopped it."""
    waits = server.status in (Status.REQUESTED, Status.QUEUED)
    return waits and server.target is Target.READY and not server.removing


def with_edit(server: Server, choices: Mapping[str, Any]) -> Server:
    """Return the record with validated choices for the controller. Raises TransitionError if it is too late."""
    if not editable(server):
        raise TransitionError(f"A server that is {server.status} cannot be changed.")
    return replace(server, edited=dict(choices) if dict(choices) != server.choices else None)
