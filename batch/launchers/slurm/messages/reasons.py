"""Why a job waits: a message and what to do, for Slurm's reason.

Owns the messages for every reason of Slurm 22.05 to 26.05 that a user can meet. Pure. Does not know how a reason is
queried, and what a server is.

Sources: squeue(1), JOB REASON CODES; the names that `slurm_job_state_reason_string` gives; what slurmctld 22.05 writes
in place of a name. Limits are explained by `batch.launchers.slurm.messages.limits`.
"""

import math
from typing import Final

from batch.launchers.slurm.messages.amounts import duration
from batch.launchers.slurm.messages.limits import Explanation, limit, named
from state.offer.maintenance import advice
from state.records.models import Waiting

MINUTE: Final = 60.0
TEXT_MAX: Final = 300
AUTOMATIC: Final = "You don't need to do anything. It starts automatically."
ASK_ADMIN: Final = "Tell the cluster's admins if it stays like this."
START_AGAIN: Final = "Cancel it, and start it again with other choices."


# {partition}, {qos} and {account} are filled in: "partition gpu", "its QOS", ...
REASONS: Final[dict[str, Explanation]] = {
    "": Explanation("Slurm has not considered the job yet.", AUTOMATIC),
    "None": Explanation("Slurm has not considered the job yet.", AUTOMATIC),
    "WaitingForScheduling": Explanation("Slurm has not considered the job yet.", AUTOMATIC),
    "SchedDefer": Explanation("Slurm considers new jobs in batches, and has not come to this one yet.", AUTOMATIC),
    # --- the queue
    "Resources": Explanation(
        "The job is waiting for free resources in {partition}.",
        "It starts automatically. Fewer GPUs or cores, less memory or a shorter time limit may start sooner.",
    ),
    "Priority": Explanation(
        "Other jobs are ahead of it in {partition}.",
        "It starts automatically. With a shorter time limit it may start sooner, in a gap between other jobs.",
    ),
    "BeginTime": Explanation(
        "Slurm does not start the job before a set time.",
        "You don't need to do anything. After a job was put back into the queue, Slurm waits about two minutes.",
    ),
    "Dependency": Explanation("The job is waiting for another job to end.", "It starts automatically after that job."),
    "DependencyNeverSatisfied": Explanation(
        "The job depends on another job that has failed, so it will never start.", "Cancel it, and start it again."
    ),
    "JobArrayTaskLimit": Explanation("As many tasks of its array are running as may run at once.", AUTOMATIC),
    "Licenses": Explanation(
        "The job is waiting for a software licence. All of them are in use.", "It starts when one is free."
    ),
    "Prolog": Explanation("The node is being prepared for the job.", AUTOMATIC),
    "Cleaning": Explanation("Slurm is still cleaning up after an earlier run of this job.", AUTOMATIC),
    "FedJobLock": Explanation("Several clusters are deciding which of them runs the job.", AUTOMATIC),
    # --- nodes
    "ReqNodeNotAvail": Explanation(
        "The nodes that the job could run on are not available now: they are down, drained or reserved.",
        "It starts when they are back. Another partition may be quicker. A shorter time limit may end before planned"
        " maintenance.",
    ),
    "NodeDown": Explanation("A node that the job needs is down.", "It starts when the node is back. " + ASK_ADMIN),
    "FrontEndDown": Explanation("The cluster's front end is down.", ASK_ADMIN),
    "BadConstraints": Explanation(
        "No node has what the job asks for, so it will never start.",
        "Cancel it, and request less or another kind of node.",
        "constraint",
    ),
    "Constraints": Explanation(
        "No node meets the job's constraint.",
        "Cancel it, and ask for another kind of node.",
        "constraint",
    ),
    "PowerNotAvail": Explanation("There is not enough electrical power for the job now.", AUTOMATIC),
    "PowerReserved": Explanation("The electrical power that the job needs is reserved for other jobs.", AUTOMATIC),
    # --- partitions
    "PartitionDown": Explanation(
        "{Partition} is closed: it accepts jobs, but starts none now.",
        "It starts when the admins open the partition again. Another partition may be open.",
        "partition",
    ),
    "PartitionInactive": Explanation(
        "{Partition} is inactive.",
        "It starts when the admins activate the partition again. Another partition may be open.",
        "partition",
    ),
    "PartitionNodeLimit": Explanation(
        "The job asks for a number of nodes that {partition} does not allow, or too many of its nodes are down.",
        "Cancel it and ask for fewer nodes, or pick another partition.",
        "nodes",
    ),
    "PartitionTimeLimit": Explanation(
        "The time limit is longer than {partition} allows.",
        "Cancel the job and ask for a shorter time limit, or pick another partition.",
        "walltime",
    ),
    "PartitionConfig": Explanation(
        "The job asks for more than {partition} has or allows, so it will not start there.",
        "Cancel it and request less, or pick another partition.",
        "partition",
    ),
    "MaxMemPerLimit": Explanation(
        "The job asks for more memory than {partition} allows.",
        "Cancel it and request less memory, or pick another partition.",
        "memory",
    ),
    # --- reservations
    "Reservation": Explanation("The job's reservation has not begun yet.", "It starts when the reservation begins."),
    "ReservationDeleted": Explanation(
        "The job's reservation was deleted.", "Cancel it, and start it again without one.", "reservation"
    ),
    "ReservationInvalid": Explanation(
        "The job's reservation cannot be used.",
        "Cancel it, and start it again with another one or none.",
        "reservation",
    ),
    # --- held
    "JobHeldUser": Explanation(
        "The job is on hold, at a user's request.", "Release it with `scontrol release`, or cancel it."
    ),
    "JobHeldAdmin": Explanation("An admin has put the job on hold.", "Ask the cluster's admins why."),
    "JobHoldMaxRequeue": Explanation(
        "The job was put back into the queue too often, and is on hold now.", "Cancel it, and start it again."
    ),
    "DeadLine": Explanation("The job can no longer end before its deadline.", "Cancel it, and start it again."),
    # --- who may use what
    "InvalidAccount": Explanation(
        "You can no longer use {account}.", "Cancel the job, and pick another account.", "account"
    ),
    "AccountNotAllowed": Explanation(
        "{Partition} does not accept jobs of {account}.", "Cancel it, and pick another account or partition.", "account"
    ),
    "InvalidQOS": Explanation("You can no longer use {qos}.", "Cancel the job, and pick another QOS.", "qos"),
    "QOSNotAllowed": Explanation(
        "{Partition} does not accept jobs of {qos}.", "Cancel it, and pick another QOS or partition.", "qos"
    ),
    "QOSUsageThreshold": Explanation(
        "{Account} has used too much recently for {qos}.", "Pick another QOS, or wait until its share recovers.", "qos"
    ),
    "QOSJobLimit": Explanation(
        "As many jobs are running as {qos} allows.",
        "It starts when one of them has ended. Another QOS may be quicker.",
        "qos",
    ),
    "QOSResourceLimit": Explanation(
        "The jobs of {qos} already use as much as it allows.",
        "It starts when some of them have ended. Another QOS may be quicker.",
        "qos",
    ),
    "QOSTimeLimit": Explanation(
        "The time limit is longer than {qos} allows.",
        "Cancel the job and ask for a shorter time limit, or pick another QOS.",
        "walltime",
    ),
    "AssociationJobLimit": Explanation(
        "As many jobs are running as {account} allows.",
        "It starts when one of them has ended. Another account may be quicker.",
        "account",
    ),
    "AssociationResourceLimit": Explanation(
        "The jobs of {account} already use as much as it allows.",
        "It starts when some of them have ended. Another account may be quicker.",
        "account",
    ),
    "AssociationTimeLimit": Explanation(
        "The time limit is longer than {account} allows.",
        "Cancel the job and ask for a shorter time limit, or pick another account.",
        "walltime",
    ),
    "AccountingPolicy": Explanation("A limit of {account} or {qos} keeps the job from starting.", START_AGAIN),
    # --- something went wrong, and the job is back in the queue
    "JobLaunchFailure": Explanation(
        "The job could not be started on its node, and is back in the queue.",
        "Check that your home directory is available and has space. " + ASK_ADMIN,
    ),
    "SystemFailure": Explanation("Something in the cluster failed, and the job is back in the queue.", ASK_ADMIN),
    "NonZeroExitCode": Explanation("The job's last run ended with an error.", "Cancel it, and start it again."),
    "RaisedSignal": Explanation("The job's last run was ended by a signal.", "Cancel it, and start it again."),
    "TimeLimit": Explanation(
        "The job's last run reached its time limit.", "Cancel it, and ask for a longer time limit.", "walltime"
    ),
    "InactiveLimit": Explanation("The job's last run was idle for too long.", "Cancel it, and start it again."),
    "OutOfMemory": Explanation(
        "The job's last run ran out of memory.", "Cancel it, and ask for more memory.", "memory"
    ),
    # --- burst buffers
    "BurstBufferResources": Explanation("The job is waiting for space in the burst buffer.", AUTOMATIC),
    "BurstBufferStageIn": Explanation("The job's files are being copied to the burst buffer.", AUTOMATIC),
    "BurstBufferOperation": Explanation("An operation on the job's burst buffer failed.", ASK_ADMIN),
}

# Slurm writes some reasons as sentences. These are parts of them in lower case, each with the code that it means.
PHRASES: Final[tuple[tuple[str, str, Explanation], ...]] = (
    (
        "nodes required for job are down, drained or reserved",
        "Resources",
        Explanation(
            "The nodes that the job could run on are down, drained, or reserved for jobs of a higher partition.",
            "It starts when they are free. Another partition may be quicker. " + ASK_ADMIN,
        ),
    ),
    ("job's account not", "AccountNotAllowed", REASONS["AccountNotAllowed"]),
    ("job's qos not", "QOSNotAllowed", REASONS["QOSNotAllowed"]),
    (
        "not in group permitted to use this partition",
        "AccountNotAllowed",
        Explanation(
            "{Partition} is only for members of certain groups, and you are in none of them.",
            "Cancel the job, and pick another partition.",
            "partition",
        ),
    ),
    (
        "launch failed requeued held",
        "JobHeldAdmin",
        Explanation(
            "The job could not be started on its node, and Slurm has put it on hold.",
            "Check that your home directory is available and has space, cancel the job, and start it again. "
            + ASK_ADMIN,
        ),
    ),
    (
        "user env retrieval failed requeued held",
        "JobHeldAdmin",
        Explanation(
            "Slurm could not read your login environment, and has put the job on hold.",
            "Check that your shell's startup files do not hang, cancel the job, and start it again.",
        ),
    ),
    (
        "job requeued in held state",
        "JobHeldAdmin",
        Explanation("The job was put back into the queue and is on hold.", "Ask the cluster's admins why."),
    ),
    (
        "job requeued in special exit state",
        "JobHeldAdmin",
        Explanation("The job was put back into the queue and is on hold.", "Ask the cluster's admins why."),
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
    limit: float | None = None,
    maintenance: float | None = None,
) -> Waiting:
    """Explain why a pending job waits.

    `code`: squeue's `%r`, REST's `state_reason`, or the text that Slurm writes instead.

    `start`: when Slurm expects to start it (seconds since the epoch), rounded up to a minute; a time that has passed is
    ignored. `limit`: its time limit in seconds. `maintenance`: when maintenance begins that it would run into (seconds
    since the epoch); None: none is known. `partition`, `qos`, `account`: the job's own, `""` if not known.
    """
    text = code.replace("_", " ").strip().strip("()").strip()[:TEXT_MAX]
    reason_code, found = _explained(text, qos=qos, account=account)
    if reason_code == "ReqNodeNotAvail" and "maintenance" in text.lower():
        found = _before_maintenance(now, limit, maintenance)
    return Waiting(
        code=reason_code,
        message=_fill(found.message, partition, qos, account),
        hint=_fill(found.hint, partition, qos, account),
        start=math.ceil(start / MINUTE) * MINUTE if start is not None and start > now else None,
        position=position,
        of=of,
    )


def _before_maintenance(now: float, time_limit: float | None, begins: float | None) -> Explanation:
    """Explain that a job would not end before maintenance begins, and how it could start now.

    The message does not change while time passes, because each change of it is an event.
    """
    of = f" (time limit {duration(time_limit)})" if time_limit else ""
    message = f"Planned maintenance begins before the job could end{of}."
    return Explanation(message, advice(begins, now), "walltime")


def _explained(text: str, *, qos: str, account: str) -> tuple[str, Explanation]:
    reason_code, _, more = text.partition(",")
    reason_code = reason_code.partition(":")[0].strip()  # newer versions: `RaisedSignal:11(Segmentation fault)`
    if found := REASONS.get(reason_code):
        return reason_code, _with_nodes(found, more) if reason_code == "ReqNodeNotAvail" else found
    if found := limit(reason_code, qos=qos, account=account):
        return reason_code, found
    for part, stands_for, found in PHRASES:
        if part in text.lower():
            return stands_for, found
    return reason_code, Explanation(
        f"The job is waiting. Slurm gives the reason \u201c{text}\u201d.",
        "It may start automatically. Ask the cluster's admins if it stays like this.",
    )


def _with_nodes(found: Explanation, more: str) -> Explanation:
    """Add the nodes that Slurm names (`UnavailableNodes:cn[1-2]`)."""
    nodes = more.strip().partition("UnavailableNodes:")[2].strip("() ")
    if not nodes:
        return found
    return Explanation(f"Nodes that the job could run on are not available now: {nodes}.", found.hint)


def _fill(text: str, partition: str, qos: str, account: str) -> str:
    names = {"partition": named("partition", partition), "qos": named("QOS", qos)}
    names["account"] = named("account", account)
    for key, phrase in names.items():
        text = text.replace(f"{{{key}}}", phrase).replace(f"{{{key.capitalize()}}}", phrase[0].upper() + phrase[1:])
    return text
