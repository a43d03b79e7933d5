"""How a check that is one plain function can use the store.

A check that needs something this worker does not know raises LookupNeeded. A task then asks the store, and the checks
run again with the answer. So there is no second, asynchronous version of them, and a request that needs nothing from
the store is a chain of plain calls.
"""

from collections.abc import Awaitable, Callable

from state.records.models import Route
from state.rights.identity import Identity

StoreAnswer = Identity | Route | frozenset[str] | None
Lookups = dict[str, StoreAnswer]
"""What the store has answered for one request, by key."""


class LookupNeeded(Exception):  # noqa: N818 - it is a question
    """The store must be asked: put the result of `ask` under `key`, and run the checks again."""

    def __init__(self, key: str, ask: Callable[[], Awaitable[StoreAnswer]]) -> None:
        super().__init__(key)
        self.key = key
        self.ask = ask


def looked_up(key: str, lookups: Lookups, ask: Callable[[], Awaitable[StoreAnswer]]) -> StoreAnswer:
    """Return what the store has answered. Raises LookupNeeded if it was not asked yet."""
    if key not in lookups:
        raise LookupNeeded(key, ask)
    return lookups[key]
