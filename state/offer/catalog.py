"""The catalog: records of a cluster's current resources, and of what each user may use.

Owns the structure of what the controller gathers once per cluster and every gateway shows. Does not know about
schedulers and forms (`state.offer.fields`). Sizes are in bytes, times in seconds; None: no limit is known.
"""

from typing import Final

from msgspec import Struct, field

from state.records.stored import Stored

UP: Final = "UP"
DOWN: Final = "DOWN"
"""The states of a partition in which it accepts jobs. Jobs for a partition that is down wait."""

Amounts = dict[str, int]
"""Limited resource → amount. `walltime` (seconds), `cores`, `memory` (bytes), `gpus`, `nodes`, and `gpus:TYPE`."""


class GpuCount(Struct, frozen=True, kw_only=True):
    """GPUs of one type in one partition. `type` as the scheduler names it (`a100`, `a100_1g.5gb`, `shard`)."""

    type: str
    total: int
    free: int
    per_node: int
    """The maximum on one node."""


class NodeKind(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Identical nodes of one partition: their number, and the resources of each.

    `gpus`: type → number. `any_gpus`: how many a job without a type can get.
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
    scheduler's term, `UP`, `DOWN` (accepts jobs, starts none) or another (rejects jobs). `hidden`: offered only if a
    profile names it. `needs_reservation`: rejects jobs without one. The limits per node are the partition's own;
    `max_memory_per_core` raises a job's cores rather than rejecting it, as long as the node has them. A job that
    requests no memory gets the default; without a default, it gets all memory of its node.
    """

    name: str
    state: str = UP
    default: bool = False
    hidden: bool = False
    nodes: int = 0
    nodes_up: int = 0
    """Nodes that start jobs, or are booted for one."""
    nodes_drained: int = 0
    """Nodes that an admin has closed for new jobs, or that are being rebooted. The others are down."""
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
        """Whether the partition starts jobs."""
        return self.state == UP

    @property
    def takes_jobs(self) -> bool:
        """Whether the partition accepts jobs: they start, or wait until it is up again."""
        return self.state in {UP, DOWN} and self.nodes > 0


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The limits of a QOS, an association or an account in accounting.

    `job`: the most for one job; `node`: the most of it on each node; `least`: the least for one job; `user`, `account`:
    the most for all jobs of one user or account; `group`: the most for all jobs under the limit. The last three are
    amounts times seconds: `job_time` of one job; `run_time`: what all running jobs may still use; `budget`: the total,
    of which `used` is used up (as far as is known).
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
    """A user's right to charge an account, in one partition or (`""`) in any."""

    account: str
    partition: str = ""
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    limits: Limits = Limits()


class Account(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account, its parent (`""`: none), and the limits for all its users together."""

    name: str
    parent: str = ""
    limits: Limits = Limits()


class Grants(Stored, frozen=True, kw_only=True):
    """What one user may use. `associations` empty: the scheduler's accounting does not know the user.

    `groups`: the user's Unix groups that partitions name.
    """

    default_account: str = ""
    groups: tuple[str, ...] = ()
    associations: tuple[Association, ...] = ()


class Reservation(Struct, frozen=True, kw_only=True):
    """Nodes that are set aside. `users` and `accounts`: who may use them; both empty: all users.

    A group is in `users` as `@name`. Names that begin with `-` are of users who may not use it. `whole_partitions`: the
    partitions that have no other nodes for jobs.
    """

    name: str
    start: float
    end: float
    partition: str = ""
    nodes: int = 0
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    maintenance: bool = False
    whole_partitions: tuple[str, ...] = ()


class Catalog(Stored, frozen=True, kw_only=True):
    """The state of one cluster at one time.

    `queues`: whether jobs go into partitions, so that without one nothing can be started. `enforced`: whether
    accounting decides who may submit; if not, there are no accounts and QOS to choose. `safe`: whether a job starts
    only if the rest of each budget is enough for the whole job. `nested_accounts`: whether a list of accounts also
    applies to the accounts below. `time` is when the catalog was gathered (seconds since the epoch). `notes`: messages
    about facts that could not be gathered.
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
        """Return the partition of that name (`""`: the default one), or None."""
        if name == "":
            return next((one for one in self.partitions if one.default), None)
        return next((one for one in self.partitions if one.name == name), None)

    def ancestry(self, account: str) -> tuple[Account, ...]:
        """Return the account of that name, its parent, and so on, without unknown ones."""
        known = {one.name: one for one in self.accounts}
        found: list[Account] = []
        while (one := known.get(account)) is not None and one not in found:
            found.append(one)
            account = one.parent
        return tuple(found)
