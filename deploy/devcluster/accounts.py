"""Accounts, QOS and associations in Slurm's database.

Owns the sacctmgr commands. Does not run sacctmgr.

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
    """Return the input for sacctmgr, which also loads the file of `associations`.

    Run it after slurmctld has registered: before that the database does not know gres/gpu and silently drops limits on
    it. The commands are few because each costs a third of a second: sacctmgr writes a message in two parts, and the
    second waits for an acknowledgement.
    """
    return _lines(
        "add qos scavenger set Priority=1",
        # At most two jobs of a user run. A job that requests more time is rejected instead of left waiting.
        "add qos debug set Priority=100 MaxWall=00:30:00 MaxJobsPerUser=2 Flags=DenyOnLimit",
        # A job with a third GPU waits with the reason QOSMaxGRESPerUser.
        "add qos gpuq set Priority=50 MaxTRESPerUser=gres/gpu=2",
        f"load file={layout.associations}",
        # Last, because sacctmgr reads the list of QOS only once, when one is first referenced.
        "modify qos normal set Priority=10 Preempt=scavenger MaxWall=1-00:00:00",
        "modify qos debug,gpuq set Preempt=scavenger",
    )


def associations(layout: Layout) -> str:
    """Return the file for `sacctmgr load`."""
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
