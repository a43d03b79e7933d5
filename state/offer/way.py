"""Ways (combinations of partition, account and QOS), a job's request on one, and limits on the request.

Owns these records, which of several limits on one resource applies, and amounts as text. Pure. Does not know the
effect of a limit on a job (`state.offer.limits`).

Source: "Resource Limits" in Slurm's documentation. For each resource, the limit of the partition's QOS applies, or else
that of the job's QOS, or else that of the association; the first two change places if the job's QOS has the flag
OverPartQOS. If no QOS limits a group of jobs, the limits of all accounts apply, from the user's own up to the root.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from state.offer.catalog import Account, Association, Limits, Partition, Qos, Reservation
from state.offer.option_kinds import quantity_text

SHARED: Final = "shard"
"""Slurm's name for a part of a GPU, which does not count if any type of GPU is requested."""
NO_QOS: Final = Qos(name="")
TOGETHER: Final = ("group", "run_time", "budget")
"""Limits that the accounts above can set, too."""
KINDS_OF_LIMIT: Final = ("job", "node", "least", "user", "account", *TOGETHER, "job_time")


class Limit:
    """A minimum or maximum, and a function for the message that names the limit."""

    __slots__ = ("_why", "amount")

    def __init__(self, amount: int, why: Callable[[], str]) -> None:
        self.amount = amount
        self._why = why

    @property
    def why(self) -> str:
        """The message."""
        return self._why()

    def __repr__(self) -> str:
        return f"Limit({self.amount}, {self.why!r})"


class Binding(NamedTuple):
    """An effective limit of accounting: its field in `Limits`, resource, amount and owner, and the used amount."""

    limit: str
    key: str
    amount: int
    who: str
    used: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The QOS and accounts of a way, independent of its partition. Many ways share one.

    `own`: the QOS of the partition if it has one, and the partition's name. `ancestry`: the account and the accounts
    above it.
    """

    account: str = ""
    qos: Qos = NO_QOS
    association: Association | None = None
    own: tuple[Qos, str] | None = None
    ancestry: tuple[Account, ...] = ()

    @cached_property
    def limiting(self) -> tuple[tuple[Qos, str], ...]:
        """The QOS whose limits apply, with their names in messages. The first one with a limit decides."""
        job = (self.qos, f"QOS {self.qos.name}")
        if self.own is None:
            return (job,)
        qos, partition = self.own
        own = (qos, f"Partition {partition} (its QOS {qos.name})")
        return (job, own) if self.qos.over_partition else (own, job)

    @cached_property
    def bindings(self) -> tuple[Binding, ...]:
        """The effective limits of accounting."""
        found: list[Binding] = []
        by_qos: set[tuple[str, str]] = set()
        for qos, name in self.limiting:
            found += [one for one in _limits_of(qos.limits, name, KINDS_OF_LIMIT) if (one.limit, one.key) not in by_qos]
            by_qos |= {(one.limit, one.key) for one in found}
        if self.association is not None:
            own = _limits_of(self.association.limits, f"Account {self.account}", KINDS_OF_LIMIT)
            above = (one for each in self.ancestry for one in _limits_of(each.limits, f"Account {each.name}", TOGETHER))
            found += [one for one in (*own, *above) if (one.limit, one.key) not in by_qos]
        return tuple(found)

    @cached_property
    def ignored(self) -> frozenset[str]:
        """The limits of the partition that do not apply (see `state.offer.catalog.Qos`)."""
        return frozenset(limit for qos, _ in self.limiting for limit in qos.ignores)

    @cached_property
    def needs_reservation(self) -> bool:
        """Whether a QOS rejects jobs without a reservation."""
        return any(qos.needs_reservation for qos, _ in self.limiting)

    @cached_property
    def strict(self) -> bool:
        """See `state.offer.catalog.Qos`."""
        return any(qos.strict for qos, _ in self.limiting)


class Way(NamedTuple):
    """A partition, an account and a QOS that one user can use together (`""`: the cluster has none to choose).

    `safe`: see `state.offer.catalog.Catalog`.
    """

    partition: Partition
    rules: Rules = Rules()
    safe: bool = False

    @property
    def account(self) -> str:
        """The account that is charged."""
        return self.rules.account

    @property
    def qos(self) -> Qos:
        """The job's QOS."""
        return self.rules.qos

    @property
    def needs_reservation(self) -> bool:
        """Whether jobs without a reservation are rejected."""
        return self.partition.needs_reservation or self.rules.needs_reservation


def _limits_of(limits: Limits, who: str, kinds: tuple[str, ...]) -> Iterator[Binding]:
    for limit in kinds:
        for key, amount in getattr(limits, limit).items():
            yield Binding(limit, key, amount, who, limits.used.get(key, 0) if limit == "budget" else 0)


class Request(Struct, frozen=True, kw_only=True):
    """A job's request so far; None: not requested, so the cluster decides. Amounts are as in `option_kinds`."""

    constraint: str = ""
    gpu: str = ""
    reservation: Reservation | None = None
    nodes: int | None = None
    gpus: int | None = None
    cores: int | None = None
    memory: int | None = None
    walltime: int | None = None

    @property
    def gpu_count(self) -> int:
        """The GPUs on each node; one if only a type is requested."""
        return self.gpus if self.gpus is not None else int(bool(self.gpu))

    def on_a_node(self, key: str) -> int:
        """Return how much of a limited resource (see `state.offer.catalog.Amounts`) it requests on each node."""
        match key:
            case "cores":
                return self.cores or 1
            case "memory":
                return self.memory or 0
            case "nodes":
                return 1
            case "gpus":
                return 0 if self.gpu == SHARED else self.gpu_count
            case _:
                return self.gpu_count if key == f"gpus:{self.gpu}" else 0

    def without(self, kind: str) -> "Request":
        """Return the same request without one resource."""
        return replace(self, **{kind: None})


def amount_text(kind: str, amount: int, gpu: str = "") -> str:
    """Return an amount as text: `4 a100 GPUs`, `1 core`, `8G of memory`, `2 hours`."""
    match kind:
        case "gpus":
            noun = "GPU share" if gpu == SHARED else f"{gpu} GPU" if gpu else "GPU"
            return count(amount, noun)
        case "cores" | "nodes":
            return count(amount, kind[:-1])
        case "memory":
            return f"{quantity_text(kind, amount)} of memory"
        case _:
            return quantity_text(kind, amount)


def count(number: int, noun: str) -> str:
    """Return a count with its noun: `1 node`, `2 nodes`, `no nodes`."""
    return f"{number or 'no'} {noun}" if number == 1 else f"{number or 'no'} {noun}s"


def listed(parts: list[str]) -> str:
    """Return a list as text: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)
