"""Why a job waits: Slurm's word for it, turned into a sentence and what to do.

Owns: the words for every reason of Slurm 22.05 to 26.05 that a person can meet. Pure. Refuses to know how a reason is
asked for, and what a server is.

Sources: squeue(1), JOB REASON CODES; the names that `slurm_job_state_reason_string` gives; what slurmctld 22.05 writes
out in a name's place. Limits are told by `batch.launchers.slurm.limits`.
"""

import math
from typing import Final

from batch.launchers.slurm.limits import Told, limit, named
from state.records.models import Waiting

MINUTE: Final = 60.0
TEXT_MAX: Final = 300
NOTHING_TO_DO: Final = "There is nothing to do: it starts by itself."
ASK_ADMIN: Final = "Tell the cluster's administrators if it stays like this."
START_AGAIN: Final = "Cancel it, and start again with another choice."


# Of what is said here, {partition}, {qos} and {account} are filled in: "the partition gpu", "its QOS", ...
REASONS: Final[dict[str, Told]] = {
    "": Told("Slurm has not looked at the job yet.", NOTHING_TO_DO),
    "None": Told("Slurm has not looked at the job yet.", NOTHING_TO_DO),
    "WaitingForScheduling": Told("Slurm has not looked at the job yet.", NOTHING_TO_DO),
    "SchedDefer": Told("Slurm looks at new jobs in batches, and has not come to this one yet.", NOTHING_TO_DO),
    # --- the queue
    "Resources": Told(
        "It waits until enough of {partition} is free.",
        "It starts by itself. Fewer GPUs or cores, less memory or a shorter walltime may start sooner.",
    ),
    "Priority": Told(
        "Other jobs are ahead of it in {partition}.",
        "It starts by itself when its turn comes. A shorter walltime may let it slip in earlier.",
    ),
    "BeginTime": Told(
        "Slurm does not start it before a set time.",
        "There is nothing to do. After a job was put back into the queue, Slurm waits about two minutes.",
    ),
    "Dependency": Told("It waits for another job to end.", "It starts by itself after that job."),
    "DependencyNeverSatisfied": Told(
        "It waits for another job that has failed, so it will never start.", "Cancel it, and start again."
    ),
    "JobArrayTaskLimit": Told("As many tasks of its array run as may run at once.", NOTHING_TO_DO),
    "Licenses": Told("It waits for a software licence; all of them are in use.", "It starts when one is given back."),
    "Prolog": Told("The node is being prepared for it.", NOTHING_TO_DO),
    "Cleaning": Told("Slurm is still tidying up after an earlier run of this job.", NOTHING_TO_DO),
    "FedJobLock": Told("Several clusters are deciding which of them runs it.", NOTHING_TO_DO),
    # --- nodes
    "ReqNodeNotAvail": Told(
        "The nodes that it could run on are not available now: down, drained, or kept for something else.",
        "It starts when they are back. Another partition may be quicker; a shorter walltime may fit before planned"
        " maintenance.",
    ),
    "NodeDown": Told("A node that it needs is down.", "It starts when the node is back. " + ASK_ADMIN),
    "FrontEndDown": Told("The cluster's front end is down.", ASK_ADMIN),
    "BadConstraints": Told(
        "No node fits what it asks for, so it will never start.",
        "Cancel it, and ask for less, or for another kind of node.",
        "constraint",
    ),
    "Constraints": Told(
        "No node fits the constraint that it asks for.",
        "Cancel it, and ask for another kind of node.",
        "constraint",
    ),
    "PowerNotAvail": Told("There is not enough electrical power for it now.", NOTHING_TO_DO),
    "PowerReserved": Told("The electrical power that it needs is reserved for other jobs.", NOTHING_TO_DO),
    # --- partitions
    "PartitionDown": Told(
        "{Partition} is closed: it takes jobs, and starts none now.",
        "It starts when the administrators open it again. Another partition may be open.",
        "partition",
    ),
    "PartitionInactive": Told(
        "{Partition} is switched off.",
        "It starts when the administrators switch it on again. Another partition may be open.",
        "partition",
    ),
    "PartitionNodeLimit": Told(
        "It asks for a number of nodes that {partition} does not allow, or too many of its nodes are down.",
        "Cancel it and ask for fewer nodes, or pick another partition.",
        "nodes",
    ),
    "PartitionTimeLimit": Told(
        "Its walltime is longer than {partition} allows.",
        "Cancel it and ask for a shorter walltime, or pick another partition.",
        "walltime",
    ),
    "PartitionConfig": Told(
        "It asks for more than {partition} has or allows, so it will not start there.",
        "Cancel it and ask for less, or pick another partition.",
        "partition",
    ),
    "MaxMemPerLimit": Told(
        "It asks for more memory than {partition} allows.",
        "Cancel it and ask for less memory, or pick another partition.",
        "memory",
    ),
    # --- reservations
    "Reservation": Told("Its reservation has not begun yet.", "It starts by itself when the reservation begins."),
    "ReservationDeleted": Told("Its reservation is gone.", "Cancel it, and start again without one.", "reservation"),
    "ReservationInvalid": Told(
        "Its reservation cannot be used.", "Cancel it, and start again with another one or none.", "reservation"
    ),
    # --- held
    "JobHeldUser": Told("You have put it on hold.", "Release it with `scontrol release`, or cancel it."),
    "JobHeldAdmin": Told("An administrator has put it on hold.", "Ask the cluster's administrators why."),
    "JobHoldMaxRequeue": Told(
        "It was put back into the queue too often, and is on hold now.", "Cancel it, and start again."
    ),
    "DeadLine": Told("It can no longer end before its deadline.", "Cancel it, and start again."),
    # --- who may use what
    "InvalidAccount": Told(
        "Slurm does not let you charge {account} any more.", "Cancel it, and pick another account.", "account"
    ),
    "AccountNotAllowed": Told(
        "{Partition} is not open to {account}.", "Cancel it, and pick another account or partition.", "account"
    ),
    "InvalidQOS": Told("Slurm does not let you use {qos} any more.", "Cancel it, and pick another QOS.", "qos"),
    "QOSNotAllowed": Told("{Partition} is not open to {qos}.", "Cancel it, and pick another QOS or partition.", "qos"),
    "QOSUsageThreshold": Told(
        "{Account} has used too much lately for {qos}.", "Pick another QOS, or wait until its share recovers.", "qos"
    ),
    "QOSJobLimit": Told(
        "As many jobs run as {qos} allows.", "It starts when one of them ends. Another QOS may be quicker.", "qos"
    ),
    "QOSResourceLimit": Told(
        "The jobs of {qos} already use as much as it allows.",
        "It starts when some of them end. Another QOS may be quicker.",
        "qos",
    ),
    "QOSTimeLimit": Told(
        "Its walltime is longer than {qos} allows.",
        "Cancel it and ask for a shorter walltime, or pick another QOS.",
        "walltime",
    ),
    "AssociationJobLimit": Told(
        "As many jobs run as {account} allows.",
        "It starts when one of them ends. Another account may be quicker.",
        "account",
    ),
    "AssociationResourceLimit": Told(
        "The jobs of {account} already use as much as it allows.",
        "It starts when some of them end. Another account may be quicker.",
        "account",
    ),
    "AssociationTimeLimit": Told(
        "Its walltime is longer than {account} allows.",
        "Cancel it and ask for a shorter walltime, or pick another account.",
        "walltime",
    ),
    "AccountingPolicy": Told("A limit of {account} or {qos} does not let it start now.", START_AGAIN),
    # --- something went wrong, and it is back in the queue
    "JobLaunchFailure": Told(
        "It could not be started on its node, and is back in the queue.",
        "Look whether your home folder is reachable and has room. " + ASK_ADMIN,
    ),
    "SystemFailure": Told("Something in the cluster failed, and it is back in the queue.", ASK_ADMIN),
    "NonZeroExitCode": Told("Its last run ended with an error.", "Cancel it, and start again."),
    "RaisedSignal": Told("Its last run was ended by a signal.", "Cancel it, and start again."),
    "TimeLimit": Told("Its last run reached its walltime.", "Cancel it, and ask for a longer walltime.", "walltime"),
    "InactiveLimit": Told("Its last run was idle for too long.", "Cancel it, and start again."),
    "OutOfMemory": Told("Its last run ran out of memory.", "Cancel it, and ask for more memory.", "memory"),
    # --- burst buffers
    "BurstBufferResources": Told("It waits for room in the burst buffer.", NOTHING_TO_DO),
    "BurstBufferStageIn": Told("Its files are being copied to the burst buffer.", NOTHING_TO_DO),
    "BurstBufferOperation": Told("Something about its burst buffer failed.", ASK_ADMIN),
}

# Slurm writes some reasons out; these are parts of them, in lower case, and the code that each stands for.
PHRASES: Final[tuple[tuple[str, str, Told], ...]] = (
    (
        "nodes required for job are down, drained or reserved",
        "Resources",
        Told(
            "The nodes that it could run on are down, drained, or kept for jobs of a higher partition.",
            "It starts when they are free. Another partition may be quicker. " + ASK_ADMIN,
        ),
    ),
    (
        "job's account not",
        "AccountNotAllowed",
        REASONS["AccountNotAllowed"],
    ),
    ("job's qos not", "QOSNotAllowed", REASONS["QOSNotAllowed"]),
    (
        "not in group permitted to use this partition",
        "AccountNotAllowed",
        Told(
            "{Partition} is only for certain groups, and you are in none of them.",
            "Cancel it, and pick another partition.",
            "partition",
        ),
    ),
    (
        "launch failed requeued held",
        "JobHeldAdmin",
        Told(
            "It could not be started on its node, and Slurm has put it on hold.",
            "Look whether your home folder is reachable and has room, cancel it, and start again. " + ASK_ADMIN,
        ),
    ),
    (
        "user env retrieval failed requeued held",
        "JobHeldAdmin",
        Told(
            "Slurm could not read your login environment, and has put it on hold.",
            "Look whether your shell's start files hang, cancel it, and start again.",
        ),
    ),
    (
        "job requeued in held state",
        "JobHeldAdmin",
        Told("It was put back into the queue and is on hold.", "Ask the cluster's administrators why."),
    ),
    (
        "job requeued in special exit state",
        "JobHeldAdmin",
        Told("It was put back into the queue and is on hold.", "Ask the cluster's administrators why."),
    ),
)


def waiting(
    code: str,
    *,
    start: float | None = None,
    position: int | None = None,
    of: int | None = None,
    partition: str = "",
    qos: str = "",
    account: str = "",
    now: float,
) -> Waiting:
    """Why a pending job waits. `code`: squeue's `%r`, REST's `state_reason`, or what Slurm writes out in its place.

    `start`: when Slurm expects to start it (seconds since the epoch); one that has passed says nothing, and it is
    rounded up to a minute. `partition`, `qos`, `account`: the job's own, `""` where not known.
    """
    word, told = _told(code.replace("_", " ").strip().strip("()").strip()[:TEXT_MAX], qos=qos, account=account)
    return Waiting(
        code=word,
        message=_fill(told.message, partition, qos, account),
        hint=_fill(told.hint, partition, qos, account),
        start=math.ceil(start / MINUTE) * MINUTE if start is not None and start > now else None,
        position=position,
        of=of,
    )


def _told(text: str, *, qos: str, account: str) -> tuple[str, Told]:
    word, _, more = text.partition(",")
    word = word.partition(":")[0].strip()  # newer versions: `RaisedSignal:11(Segmentation fault)`
    if told := REASONS.get(word):
        return word, _with_nodes(told, more) if word == "ReqNodeNotAvail" else told
    if told := limit(word, qos=qos, account=account):
        return word, told
    for part, stands_for, told in PHRASES:
        if part in text.lower():
            return stands_for, told
    return word, Told(
        f"Slurm's reason is \u201c{text}\u201d, which this hub has no words for.",
        "It may start by itself. Ask the cluster's administrators if it stays like this.",
    )


def _with_nodes(told: Told, more: str) -> Told:
    """With the nodes that Slurm names (`UnavailableNodes:cn[1-2]`)."""
    nodes = more.strip().partition("UnavailableNodes:")[2].strip("() ")
    if not nodes:
        return told
    return Told(f"Nodes that it could run on are not available now: {nodes}.", told.hint)


def _fill(text: str, partition: str, qos: str, account: str) -> str:
    names = {"partition": named("partition", partition), "qos": named("QOS", qos)}
    names["account"] = named("account", account)
    for key, words in names.items():
        text = text.replace(f"{{{key}}}", words).replace(f"{{{key.capitalize()}}}", words[0].upper() + words[1:])
    return text
