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


def commands(layout: Layout) -> str:
    """What is given to sacctmgr, after slurmctld has registered; the file of `associations` is part of it.

    Before that the database does not know gres/gpu, and drops a limit on it without a word. Few commands, since each
    costs a third of a second: sacctmgr writes a message in two pieces, and the second waits for an acknowledgement.
    """
    return _lines(
        "add qos scavenger set Priority=1",
        # At most two of a user's jobs run; one that asks for more time is refused rather than left waiting.
        "add qos debug set Priority=100 MaxWall=00:30:00 MaxJobsPerUser=2 Flags=DenyOnLimit",
        # A third GPU waits with the reason QOSMaxGRESPerUser.
        "add qos gpuq set Priority=50 MaxTRESPerUser=gres/gpu=2",
        f"load file={layout.associations}",
        # Last: sacctmgr reads the list of QOS once, when one is first referred to.
        "modify qos normal set Priority=10 Preempt=scavenger MaxWall=1-00:00:00",
        "modify qos debug,gpuq set Preempt=scavenger",
    )


def associations(layout: Layout) -> str:
    """A file for `sacctmgr load`."""
    return _lines(
        f"Cluster - '{layout.cluster}':Fairshare=1:QOS='normal'",
        "Parent - 'root'",
        "User - 'root':DefaultAccount='root':AdminLevel='Administrator':Fairshare=1",
        f"Account - 'physics':Description='physics':Organization='lab':DefaultQOS='normal':QOS='{GPU_QOS}'",
        f"Account - 'bio':Description='bio':Organization='lab':DefaultQOS='normal':QOS='{CPU_QOS}'",
        "Parent - 'physics'",
        "User - 'alice':DefaultAccount='physics'",
        "User - 'carol':DefaultAccount='physics'",
        "Parent - 'bio'",
        "User - 'alice':DefaultAccount='physics':Partition='cpu'",
        "User - 'bob':DefaultAccount='bio':Partition='cpu'",
    )


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
