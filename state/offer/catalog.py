"""What a cluster has right now, and what it lets each person use: the catalog, as records.

Owns: the shape of what the controller gathers once per cluster and every gateway shows. Refuses to know any scheduler,
and what follows for a form (`state.offer.fields`). Sizes are in bytes, times in seconds; None: no limit is known.
"""

from msgspec import Struct, field

from state.records.stored import Stored


class GpuCount(Struct, frozen=True, kw_only=True):
    """GPUs of one type in one partition. `type` as the scheduler names it (`a100`, `a100_1g.5gb`, `shard`)."""

    type: str
    total: int
    free: int
    per_node: int
    """The most that one node has."""


class Partition(Struct, frozen=True, kw_only=True):
    """A queue. `accounts`, `qos`, `groups`: who may use it; None: everybody, `()`: nobody.

    `own_qos`: the QOS whose limits bind every job in it, whatever QOS the job has; `""`: none.
    """

    name: str
    up: bool = True
    """Whether jobs are started (`UP`); a job for one that is not waits."""
    default: bool = False
    nodes: int = 0
    nodes_up: int = 0
    """Nodes that are neither down nor drained."""
    nodes_idle: int = 0
    cores: int = 0
    cores_free: int = 0
    cores_per_node: int = 0
    memory_per_node: int = 0
    gpus: tuple[GpuCount, ...] = ()
    max_walltime: int | None = None
    default_walltime: int | None = None
    max_nodes: int | None = None
    accounts: tuple[str, ...] | None = None
    denied_accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] | None = None
    denied_qos: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    own_qos: str = ""
    features: tuple[str, ...] = ()


class Limits(Struct, frozen=True, kw_only=True):
    """What one job, or one person, may have at most."""

    walltime: int | None = None
    cores: int | None = None
    memory: int | None = None
    gpus: int | None = None
    nodes: int | None = None
    gpu_types: dict[str, int] = field(default_factory=dict)
    """Where a limit names a type: type -> number."""
    running_jobs: int | None = None
    submitted_jobs: int | None = None


class Qos(Struct, frozen=True, kw_only=True):
    """A quality of service. `over_partition`: its limits count before those of a partition's own QOS."""

    name: str
    priority: int = 0
    over_partition: bool = False
    per_job: Limits = Limits()
    per_user: Limits = Limits()


class Association(Struct, frozen=True, kw_only=True):
    """That a person may charge an account, in one partition or (`""`) in any."""

    account: str
    partition: str = ""
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    limits: Limits = Limits()


class Grants(Stored, frozen=True, kw_only=True):
    """All that one person may use. `associations` empty: the scheduler's accounting does not know them.

    `groups`: theirs of the Unix groups that partitions name.
    """

    default_account: str = ""
    groups: tuple[str, ...] = ()
    associations: tuple[Association, ...] = ()


class Reservation(Struct, frozen=True, kw_only=True):
    """Nodes that are set aside. `users`, `accounts`: for whom; both empty: for everybody."""

    name: str
    start: float
    end: float
    partition: str = ""
    nodes: int = 0
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


class Catalog(Stored, frozen=True, kw_only=True):
    """One cluster at one moment.

    `queues`: whether jobs go into partitions, so that without one nothing can be started. `enforced`: whether
    accounting decides who may submit; if not, there are no accounts and QOS to choose. `time` is when it was
    gathered (seconds since the epoch). `notes`: what could not be learned, in sentences.
    """

    cluster: str
    kind: str
    time: float
    enforced: bool = False
    queues: bool = False
    partitions: tuple[Partition, ...] = ()
    qos: tuple[Qos, ...] = ()
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
