"""Accounts, QOS and associations in Slurm's database, and that they bind.

Owns: the sacctmgr commands. Refuses to know: how sacctmgr is run.

| user  | account | partition | QOS |
|-------|---------|-----------|-----|
| alice | physics | any       | normal, debug, gpuq, scavenger |
| alice | bio     | cpu only  | normal, debug, scavenger |
| bob   | bio     | cpu only  | normal, debug, scavenger |
| carol | physics | any       | normal, debug, gpuq, scavenger |
"""

from deploy.devcluster.layout import Layout

CPU_QOS = "normal,debug,scavenger"
GPU_QOS = "normal,debug,gpuq,scavenger"


def cluster_command(layout: Layout) -> str:
    """Makes the cluster known; to be done before slurmctld starts."""
    return f"add cluster {layout.cluster}\n"


def qos_commands() -> str:
    """Makes the QOS; to be done after slurmctld has registered.

    Before that the database does not know gres/gpu, and drops a limit on it without a word.
    """
    return _lines(
        "add qos scavenger set Priority=1",
        # At most two of a user's jobs run; one that asks for more time is refused rather than left waiting.
        "add qos debug set Priority=100 MaxWall=00:30:00 MaxJobsPerUser=2 Flags=DenyOnLimit",
        # A third GPU waits with the reason QOSMaxGRESPerUser.
        "add qos gpuq set Priority=50 MaxTRESPerUser=gres/gpu=2",
    )


def association_commands() -> str:
    """Makes all else; for another sacctmgr than the QOS, since one reads the list of QOS once."""
    return _lines(
        "modify qos normal set Priority=10 Preempt=scavenger MaxWall=1-00:00:00",
        "modify qos debug set Preempt=scavenger",
        "modify qos gpuq set Preempt=scavenger",
        f"add account physics Description=physics Organization=lab QosLevel={GPU_QOS} DefaultQOS=normal",
        f"add account bio Description=bio Organization=lab QosLevel={CPU_QOS} DefaultQOS=normal",
        "add user alice Account=physics DefaultAccount=physics",
        "add user alice Account=bio Partition=cpu",
        "add user bob Account=bio Partition=cpu DefaultAccount=bio",
        "add user carol Account=physics DefaultAccount=physics",
    )


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
