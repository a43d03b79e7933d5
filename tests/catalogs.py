"""The catalog of a small cluster for tests: partitions, accounts, QOS and reservations."""

from state.config.tables import ClusterConfig, Config, OptionConfig, ProfileConfig, ResourcesConfig
from state.offer.catalog import (
    DOWN,
    Association,
    Catalog,
    GpuCount,
    Grants,
    Limits,
    NodeKind,
    Partition,
    Qos,
    Reservation,
)

GIB = 1024**3
HOUR = 3600
NOW = 1_800_000_000.0

CPU = Partition(
    name="cpu", default=True, nodes=2, nodes_up=2, nodes_idle=1, cores=16, cores_free=12, cores_per_node=8,
    memory_per_node=15 * GIB, max_walltime=24 * HOUR, default_walltime=HOUR, features=("avx2",),
    kinds=(NodeKind(count=2, cores=8, memory=15 * GIB, features=("avx2",)),),
)  # fmt: skip
GPU = Partition(
    name="gpu", nodes=1, nodes_up=1, cores=8, cores_free=8, cores_per_node=8, memory_per_node=31 * GIB,
    gpus=(
        GpuCount(type="a100", total=4, free=3, per_node=4),
        GpuCount(type="v100", total=2, free=2, per_node=2),
    ),
    kinds=(NodeKind(count=1, cores=8, memory=31 * GIB, gpus={"a100": 4, "v100": 2}, any_gpus=6),),
    max_walltime=8 * HOUR, accounts=("physics",), denied_qos=("long",),
)  # fmt: skip
SECRET = Partition(
    name="secret", nodes=1, nodes_up=1, cores=8, cores_per_node=8, accounts=("others",),
    kinds=(NodeKind(count=1, cores=8, memory=15 * GIB),),
)  # fmt: skip
CLOSED = Partition(
    name="old", state=DOWN, nodes=1, cores=4, cores_per_node=4, max_walltime=HOUR,
    kinds=(NodeKind(count=1, cores=4, memory=7 * GIB),),
)  # fmt: skip

CATALOG = Catalog(
    cluster="lake",
    kind="slurm",
    queues=True,
    time=NOW,
    enforced=True,
    partitions=(CPU, GPU, SECRET, CLOSED),
    qos=(
        Qos(name="normal"),
        Qos(name="gpuq", limits=Limits(user={"gpus": 2})),
        Qos(name="long", limits=Limits(job={"walltime": 96 * HOUR})),
    ),
    reservations=(
        Reservation(name="course", start=NOW, end=NOW + HOUR, partition="gpu", nodes=1, users=("alice",)),
        Reservation(name="over", start=NOW - 9, end=NOW - 1, nodes=1),
        Reservation(name="theirs", start=NOW, end=NOW + HOUR, nodes=1, accounts=("others",)),
    ),
)
ALICE = Grants(
    default_account="bio",
    associations=(
        Association(account="bio", qos=("normal", "long"), default_qos="normal", limits=Limits(job={"cores": 4})),
        Association(account="physics", qos=("normal", "gpuq"), default_qos="gpuq"),
    ),
)
ALL = ProfileConfig(
    name="all",
    title="JupyterLab",
    cluster="lake",
    option={
        "partition": OptionConfig(kind="partition", title="Partition"),
        "account": OptionConfig(kind="account", title="Account"),
        "qos": OptionConfig(kind="qos", title="QOS"),
        "reservation": OptionConfig(kind="reservation", title="Reservation"),
        "gpu": OptionConfig(kind="gpu", title="Type of GPU"),
        "gpus": OptionConfig(kind="gpus", title="GPUs"),
        "cores": OptionConfig(kind="cores", title="Cores", default=2, maximum=64),
        "memory": OptionConfig(kind="memory", title="Memory", default="4G"),
        "time": OptionConfig(kind="walltime", title="Walltime"),
        "note": OptionConfig(kind="text", title="Note"),
    },
)
FIXED = ProfileConfig(
    name="fixed",
    title="GPU notebook",
    cluster="lake",
    resources=ResourcesConfig(partition="gpu", account="physics", gpu="a100", gpus=1, walltime="01:00:00"),
)
CONFIG = Config(cluster=(ClusterConfig(name="lake", kind="slurm"),), profile=(ALL, FIXED))
