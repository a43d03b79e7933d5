"""What a cluster has right now, and what it lets each user use: the catalog, as records.

Owns the shape of what the controller gathers once per cluster and every gateway shows. Does not know any scheduler,
and what follows for a form (`state.offer.fields`). Sizes are in bytes, times in seconds; None: no limit is known.
"""

from typing import Final

from msgspec import Struct, field

from state.records.stored import Stored

UP: Final = "UP"
DOWN: Final = "DOWN"
"""The states of a partition in which it takes jobs: those for one that is down wait."""

Amounts = dict[str, int]
"""What is limited → the amount. `walltime` (seconds), `cores`, `memory` (bytes), `gpus`, `nodes`, and `gpus:TYPE`."""


class GpuCount(Struct, frozen=True, kw_only=True):
    """GPUs of one type in one partition. `type` as the scheduler names it (`a100`, `a100_1g.5gb`, `shard`)."""

    type: str
    total: int
    free: int
    per_node: int
    """The most that one node has."""


class NodeKind(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nodes of one partition that are alike: how many, and what each of them has for jobs.

    `gpus`: type → number. `any_gpus`: how many a job can get that asks for no type.
    """

    count: int
    cores: int
    memory: int
    gpus: dict[str, int] = field(default_factory=dict)
    any_gpus: int = 0
    features: tuple[str, ...] = ()


class Partition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A queue. `accounts`, `qos`, `groups`: who may use it; None: all users, `()`: none.

    `own_qos`: the QOS whose limits bind every job in it, whatever QOS the job has; `""`: none. `state`: the
    scheduler's word, `UP`, `DOWN` (takes jobs, starts none) or another (refuses jobs). `hidden`: offered only where a
    profile names it. `needs_reservation`: refuses jobs without one. The limits per node are the partition's own;
    `max_memory_per_core` raises a job's cores rather than refusing it, as long as the node has them. A job that asks
    for no memory gets the default, and where there is none all that its node has.
    """

    name: str
    state: str = UP
    default: bool = False
    hidden: bool = False
    nodes: int = 0
    nodes_up: int = 0
    """Nodes that start jobs, or are started for one."""
    nodes_drained: int = 0
    """Nodes that an admin has closed for new jobs, or that are being rebooted. The rest is down."""
    nodes_idle: int = 0
    cores: int = 0
    cores_free: int = 0
    cores_per_node: int = 0
    memory_per_node: int = 0
    kinds: tuple[NodeKind, ...] = ()
    gpus: tuple[GpuCount, ...] = ()
    max_walltime: int | None = None
    default_walltime: int | None = None
    min_nodes: int = 0
    max_nodes: int | None = None
    max_cores_per_node: int | None = None
    max_memory_per_node: int | None = None
    max_memory_per_core: int | None = None
    default_memory_per_node: int | None = None
    default_memory_per_core: int | None = None
    needs_reservation: bool = False
    accounts: tuple[str, ...] | None = None
    denied_accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] | None = None
    denied_qos: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    own_qos: str = ""
    features: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        """Whether jobs are started."""
        return self.state == UP

    @property
    def takes_jobs(self) -> bool:
        """Whether a job for it is taken at all: started, or kept until the partition is up again."""
        return self.state in {UP, DOWN} and self.nodes > 0


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What accounting limits, of a QOS, an association or an account.

    `job`: the most for one job; `node`: the most of it on each node; `least`: the least for one job; `user`, `account`:
    the most for all jobs of one user or account; `group`: the most for all jobs under the limit. The last three are
    amounts times seconds: `job_time` of one job; `run_time`: what all that runs may still use; `budget`: what may be
    used in all, of which `used` is gone (as far as is known).
    """

    job: Amounts = field(default_factory=dict)
    node: Amounts = field(default_factory=dict)
    least: Amounts = field(default_factory=dict)
    user: Amounts = field(default_factory=dict)
    account: Amounts = field(default_factory=dict)
    group: Amounts = field(default_factory=dict)
    job_time: Amounts = field(default_factory=dict)
    run_time: Amounts = field(default_factory=dict)
    budget: Amounts = field(default_factory=dict)
    used: Amounts = field(default_factory=dict)
    running_jobs: int | None = None
    """Of one user."""
    submitted_jobs: int | None = None


class Qos(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A quality of service.

    `over_partition`: its limits count before those of a partition's own QOS. `ignores`: which limits of a partition
    do not bind its jobs (`min_nodes`, `max_nodes`, `max_walltime`). `needs_reservation`: refuses jobs without one.
    `strict`: a job that exceeds a limit by itself is refused, budgets included, where otherwise it would wait.
    """

    name: str
    priority: int = 0
    over_partition: bool = False
    ignores: tuple[str, ...] = ()
    needs_reservation: bool = False
    strict: bool = False
    limits: Limits = Limits()


class Association(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That a user may charge an account, in one partition or (`""`) in any."""

    account: str
    partition: str = ""
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    limits: Limits = Limits()


class Account(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account, the one that it is a part of (`""`: none), and what all its users together may have."""

    name: str
    parent: str = ""
    limits: Limits = Limits()


class Grants(Stored, frozen=True, kw_only=True):
    """All that one user may use. `associations` empty: the scheduler's accounting does not know them.

    `groups`: theirs of the Unix groups that partitions name.
    """

    default_account: str = ""
    groups: tuple[str, ...] = ()
    associations: tuple[Association, ...] = ()


class Reservation(Struct, frozen=True, kw_only=True):
    """Nodes that are set aside. `users` and `accounts`: who may use them; both empty: all users.

    A group is in `users` as `@name`. Names that begin with `-` are of users who may not use it.
    """

    name: str
    start: float
    end: float
    partition: str = ""
    nodes: int = 0
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    maintenance: bool = False


class Catalog(Stored, frozen=True, kw_only=True):
    """One cluster at one moment.

    `queues`: whether jobs go into partitions, so that without one nothing can be started. `enforced`: whether
    accounting decides who may submit; if not, there are no accounts and QOS to choose. `safe`: whether a job starts
    only if what is left of each budget is enough for all of it. `nested_accounts`: whether a list of accounts holds for
    the accounts below, too. `time` is when the catalog was gathered (seconds since the epoch). `notes`: what could not
    be learned, in sentences.
    """

    cluster: str
    kind: str
    time: float
    enforced: bool = False
    queues: bool = False
    safe: bool = False
    nested_accounts: bool = False
    partitions: tuple[Partition, ...] = ()
    qos: tuple[Qos, ...] = ()
    accounts: tuple[Account, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    cores: int = 0
    memory: int = 0
    notes: tuple[str, ...] = ()

    def partition(self, name: str) -> Partition | None:
        """The partition of that name; `""`: the default one; None: there is none."""
        if name == "":
            return next((one for one in self.partitions if one.default), None)
        return next((one for one in self.partitions if one.name == name), None)

    def qos_named(self, name: str) -> Qos | None:
        """The QOS of that name, or None."""
        return next((one for one in self.qos if one.name == name), None)

    def ancestry(self, account: str) -> tuple[Account, ...]:
        """The account of that name, its parent, and so on; without those that are not known."""
        known = {one.name: one for one in self.accounts}
        found: list[Account] = []
        while (one := known.get(account)) is not None and one not in found:
            found.append(one)
            account = one.parent
        return tuple(found)
