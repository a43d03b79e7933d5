"""The text of Slurm's configuration files.

Owns the settings, with a reason for those that are not obvious. Does not know about files and processes.

Source: slurm.conf(5), gres.conf(5), cgroup.conf(5), slurmdbd.conf(5) of Slurm 22.05.
"""

from dataclasses import dataclass

from deploy.devcluster.another import plugins
from deploy.devcluster.layout import GPUS, HUB, NODES, Layout

CAN_DISABLE = (23, 11)


@dataclass(frozen=True)
class Shape:
    """The size that the cluster claims to have, whether control groups limit its jobs, and further lines of slurm.conf.

    A node in `lines` has no slurmd. With `State=CLOUD` Slurm takes it for one that is powered down, and gives it jobs.
    """

    cpus: int = 8  # per node, regardless of the machine
    cgroups: bool = True
    lines: tuple[str, ...] = ()

    @property
    def memory_mb(self) -> int:
        """RealMemory of a node, in MB."""
        return 1000 * self.cpus


def slurm_conf(layout: Layout, shape: Shape) -> str:
    """Return slurm.conf, for daemons and clients."""
    tracking = (
        (
            "ProctrackType=proctrack/cgroup",
            "TaskPlugin=task/cgroup",
            "JobAcctGatherType=jobacct_gather/cgroup",
            "JobAcctGatherFrequency=task=5",
        )
        if shape.cgroups
        else (
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/linux",
            # Without control groups, only sampling can enforce a job's memory limit.
            "JobAcctGatherParams=OverMemoryKill",
            "JobAcctGatherFrequency=task=2",
        )
    )
    return _lines(
        f"ClusterName={layout.cluster}",
        f"SlurmctldHost={HUB}({layout.address(HUB)})",
        f"SlurmctldPort={layout.port('slurmctld')}",
        *([f"PluginDir={plugins(layout.debian)}"] if layout.debian else []),
        "SlurmUser=slurm",
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.munge_socket}",
        "CredType=cred/munge",
        "AuthAltTypes=auth/jwt",
        f"AuthAltParameters=jwt_key={layout.jwt_key}",
        f"StateSaveLocation={layout.state}/slurmctld",
        f"SlurmdSpoolDir={layout.state}/slurmd-%n",
        f"SlurmctldPidFile={layout.state}/slurmctld/slurmctld.pid",
        f"SlurmdPidFile={layout.run}/slurmd-%n.pid",
        f"SlurmctldLogFile={layout.log}/slurmctld.log",
        f"SlurmdLogFile={layout.log}/slurmd-%n.log",
        "SlurmctldDebug=info",
        "SlurmdDebug=info",
        "MailProg=/bin/true",
        # slurmctld listens on loopback. NoInAddrAny would do the same for slurmd, but also for srun on a node, and
        # slurmd answers that at the address that its connection came from: 127.0.0.1.
        "CommunicationParameters=NoCtldInAddrAny",
        *tracking,
        # A node that was down returns by itself, without `scontrol update`.
        "ReturnToService=2",
        # Nodes claim more CPUs and memory than the machine has.
        "SlurmdParameters=config_overrides",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        "GresTypes=gpu",
        # A job starts within half a second; with the defaults it takes 2.3 s.
        "SchedulerType=sched/backfill",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=5,sched_min_interval=0,bf_interval=5,bf_resolution=60",
        "PriorityType=priority/multifactor",
        "PriorityWeightQOS=1000",
        # Jobs with QOS scavenger are preempted and requeued.
        "PreemptType=preempt/qos",
        "PreemptMode=REQUEUE",
        "JobRequeue=1",
        "KillWait=5",
        "UnkillableStepTimeout=60",
        # squeue forgets a finished job after this many seconds; sacct keeps it.
        "MinJobAge=60",
        "MaxJobCount=20000",
        "InactiveLimit=0",
        "SlurmctldTimeout=30",
        "SlurmdTimeout=30",
        "AccountingStorageType=accounting_storage/slurmdbd",
        f"AccountingStorageHost={layout.address(HUB)}",
        f"AccountingStoragePort={layout.port('slurmdbd')}",
        f"AccountingStoragePass={layout.munge_socket}",
        "AccountingStorageEnforce=associations,limits,qos",
        "AccountingStorageTRES=gres/gpu," + ",".join(f"gres/gpu:{kind}" for kind in GPUS),
        "AccountingStoreFlags=job_comment,job_script",
        *(_node(layout, shape, name) for name in NODES),
        "PartitionName=cpu Nodes=cn[1-2] Default=YES MaxTime=1-00:00:00 DefaultTime=30 DefMemPerCPU=500 State=UP",
        "PartitionName=gpu Nodes=gn1 MaxTime=8:00:00 DefaultTime=30 DefMemPerCPU=500 State=UP",
        *shape.lines,
    )


def _node(layout: Layout, shape: Shape, name: str) -> str:
    gres = " Gres=" + ",".join(f"gpu:{kind}:{count}" for kind, count in GPUS.items()) if name == "gn1" else ""
    return (
        f"NodeName={name} NodeHostname={name} NodeAddr={layout.address(name)} Port={layout.port(name)}"
        f" CPUs={shape.cpus} RealMemory={shape.memory_mb}{gres} State=UNKNOWN"
    )


def gpu_files(layout: Layout) -> dict[str, list[str]]:
    """Return the device files by type of GPU, in the order of their indexes."""
    files: dict[str, list[str]] = {}
    index = 0
    for kind, count in GPUS.items():
        files[kind] = [f"{layout.dev}/gpu{number}" for number in range(index, index + count)]
        index += count
    return files


def gres_conf(layout: Layout) -> str:
    """Return gres.conf: the GPUs of gn1."""
    return _lines(
        *(
            f"NodeName=gn1 Name=gpu Type={kind} File={file}"
            for kind, files in gpu_files(layout).items()
            for file in files
        )
    )


def cgroup_conf(shape: Shape, version: tuple[int, int]) -> str:
    """Return cgroup.conf: memory and devices are constrained; cores are not, because nodes claim too many."""
    if not shape.cgroups:
        # slurmd loads a plug-in anyway. The one for version 1 needs nothing until it is used; newer Slurms need none.
        return _lines("CgroupPlugin=disabled" if version >= CAN_DISABLE else "CgroupPlugin=cgroup/v1")
    return _lines(
        "CgroupPlugin=cgroup/v1",
        "ConstrainCores=no",
        "ConstrainRAMSpace=yes",
        "ConstrainSwapSpace=no",
        "ConstrainDevices=yes",
    )


def slurmdbd_conf(layout: Layout) -> str:
    """Return slurmdbd.conf. slurmdbd reads it from the folder of SLURM_CONF, and only its user may read it."""
    return _lines(
        f"DbdHost={HUB}",
        f"DbdAddr={layout.address(HUB)}",
        f"DbdPort={layout.port('slurmdbd')}",
        *([f"PluginDir={plugins(layout.debian)}"] if layout.debian else []),
        "SlurmUser=slurm",
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.munge_socket}",
        "AuthAltTypes=auth/jwt",
        f"AuthAltParameters=jwt_key={layout.jwt_key}",
        "StorageType=accounting_storage/mysql",
        "StorageHost=localhost",
        "StorageUser=slurm",  # authenticated by peer credentials (unix_socket), without a password
        "StorageLoc=slurm_acct_db",
        f"LogFile={layout.log}/slurmdbd.log",
        f"PidFile={layout.state}/slurmctld/slurmdbd.pid",
        "DebugLevel=info",
        "CommunicationParameters=NoInAddrAny",
        "Parameters=PreserveCaseUser",  # otherwise an account whose name has uppercase letters has no association
    )


def hosts(layout: Layout, machine: str) -> str:
    """Return /etc/hosts for the cluster's processes: its own lines, then the machine's; the first match counts."""
    return _lines("127.0.0.1 localhost", *(f"{layout.address(name)} {name}" for name in (HUB, *NODES)), machine)


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
