"""Why a job waits: Slurm's word for it, turned into a sentence and what to do.

Owns: the words for every reason of Slurm 22.05 to 26.05 that a person can meet. Pure. Refuses to know how a reason is
asked for, and what a server is.

Sources: squeue(1), JOB REASON CODES; the names that `slurm_job_state_reason_string` gives; resource_limits.html. The
names of limits are made by a rule (owner, kind, thing, measure, scope), and so are our sentences for them: a limit on a
resource that comes with a newer Slurm is told like the others.
"""

import math
import re
from typing import Final

from msgspec import Struct

from state.records import Waiting

MINUTE: Final = 60.0
NOTHING_TO_DO: Final = "There is nothing to do: it starts by itself."
ASK_ADMIN: Final = "Tell the cluster's administrators if it stays like this."
START_AGAIN: Final = "Cancel it, and start again with another choice."


class Told(Struct, frozen=True):
    """A sentence, what to do, and the kind of option that it is about (`""`: none)."""

    message: str
    hint: str = ""
    field: str = ""


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
        "{Partition} does not allow what it asks for.", "Cancel it, and pick another partition.", "partition"
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

# Slurm writes some reasons out; these are the beginnings, in lower case, and the code that each stands for.
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

_LIMIT: Final = re.compile(
    r"(?P<owner>QOS|Assoc)?(?P<kind>Grp|Max|Min)(?P<thing>SubmitJobs?|Jobs?|WallDuration|Wall|CPU|GRES|BB|[A-Z][a-z]+)"
    r"(?P<measure>RunMinutes|Minutes)?(?:Per(?P<per>Job|Node|User|Account))?(?:Limit|NotSatisfied)?"
)


class Thing(Struct, frozen=True):
    """What a limit counts: in a sentence, over time (the `Minutes` of its name), and the form's field."""

    words: str
    time: str
    field: str = ""
    countable: bool = True


THINGS: Final = {
    "cpu": Thing("cores", "core time", "cores"),
    "node": Thing("nodes", "node time", "nodes"),
    "mem": Thing("memory", "memory over time", "memory", countable=False),
    "memory": Thing("memory", "memory over time", "memory", countable=False),
    "gres": Thing("GPUs", "GPU time", "gpus"),
    "license": Thing("software licences", "licence time"),
    "bb": Thing("burst buffer space", "burst buffer space over time", countable=False),
    "energy": Thing("energy", "energy over time", countable=False),
    "billing": Thing("billed resources", "billed time"),
    "unknown": Thing("resources", "computing time"),
}


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
    word, told = _told(code.strip().strip("()").replace("_", " "), qos=qos, account=account)
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
    if told := REASONS.get(word):
        return word, _with_nodes(told, more) if word == "ReqNodeNotAvail" else told
    if told := limit(word, qos=qos, account=account):
        return word, told
    for beginning, stands_for, told in PHRASES:
        if text.lower().startswith(beginning):
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


def limit(name: str, *, qos: str = "", account: str = "") -> Told | None:
    """What a limit means that a QOS or an association has (`QOSMaxGRESPerUser`, ...); None: the name is not of one.

    The names are made of an owner (QOS, Assoc; none: a QOS's limit per account), a kind (Grp: all together, Max, Min),
    a thing (Cpu, GRES, ...), a measure (Minutes: a budget; RunMinutes: what running jobs may still use) and a scope.
    """
    found = _LIMIT.fullmatch(name)
    if found is None:
        return None
    what, kind, measure, per = found["thing"].lower(), found["kind"], found["measure"], found["per"]
    if found["owner"] == "Assoc":
        owner, other, own_field = _named("account", account), "another account", "account"
    else:
        owner, other, own_field = _named("QOS", qos), "another QOS", "qos"
    if what.startswith(("job", "submit")):
        return _limit_of_jobs(what, kind, per, owner=owner, other=other, field=own_field)
    if what.startswith("wall"):
        return _limit_of_walltime(kind, owner=owner, other=other, field=own_field)
    thing = THINGS.get(what, THINGS["unknown"])
    less = "fewer" if thing.countable else "less"
    if kind == "Grp":
        return _limit_of_all(thing, measure, owner=owner, other=other, field=own_field)
    if kind == "Min":
        return Told(
            f"It asks for {less} {thing.words} than {owner} wants at least.",
            f"Cancel it and ask for more, or pick {other}.",
            thing.field,
        )
    if per == "User":
        return Told(
            f"With this one, you would use more {thing.words} than {owner} allows one person.",
            f"It starts when you have stopped enough of your others. Or cancel it, and ask for {less} or pick {other}.",
            own_field,
        )
    if per == "Account":
        whose = f"the account {account}" if account else "your account"
        return Told(
            f"With this one, {whose} would use more {thing.words} than {owner} allows one account.",
            "It starts when some of its jobs end. Another account or QOS may be quicker.",
            "account",
        )
    where = " on one node" if per == "Node" else " one job"
    if measure:
        return Told(
            f"It asks for more {thing.time} than {owner} allows one job: {thing.words} times walltime.",
            f"Cancel it and ask for less or for a shorter walltime, or pick {other}.",
            thing.field,
        )
    return Told(
        f"It asks for more {thing.words} than {owner} allows{where}.",
        f"Cancel it and ask for {less}, or pick {other}.",
        thing.field,
    )


def _limit_of_all(thing: Thing, measure: str | None, *, owner: str, other: str, field: str) -> Told:
    if measure == "Minutes":
        return Told(
            f"The budget of {thing.time} of {owner} is used up.",
            f"Ask whoever manages it for more, or pick {other}.",
            field,
        )
    if measure == "RunMinutes":
        return Told(
            f"The running jobs of {owner} have taken all the {thing.time} that it may promise at once.",
            f"It starts when some of them end. A shorter walltime or {other} may be quicker.",
            field,
        )
    return Told(
        f"With this one, the people of {owner} would use more {thing.words} than it allows them together.",
        f"It starts when some of their jobs end. {other.capitalize().replace('qos', 'QOS')} may be quicker.",
        field,
    )


def _limit_of_jobs(what: str, kind: str, per: str | None, *, owner: str, other: str, field: str) -> Told:
    has = "have as many jobs waiting and running" if what.startswith("submit") else "run as many jobs"
    if kind == "Grp":
        return Told(
            f"The people of {owner} together already {has} as it allows.",
            f"It starts when some of their jobs end. {other.capitalize().replace('qos', 'QOS')} may be quicker.",
            field,
        )
    whom = "one account" if per == "Account" else "one person"
    who = "The people of your account together" if per == "Account" else "You"
    return Told(
        f"{who} already {has} as {owner} allows {whom}.",
        f"Stop another server or job first, or pick {other}.",
        field,
    )


def _limit_of_walltime(kind: str, *, owner: str, other: str, field: str) -> Told:
    if kind == "Grp":
        return Told(
            f"The budget of running time of {owner} is used up.",
            f"Ask whoever manages it for more, or pick {other}.",
            field,
        )
    word = "shorter" if kind == "Min" else "longer"
    cure = "longer" if kind == "Min" else "shorter"
    return Told(
        f"Its walltime is {word} than {owner} allows.",
        f"Cancel it and ask for a {cure} walltime, or pick {other}.",
        "walltime",
    )


def _named(kind: str, name: str) -> str:
    return f"the {kind} {name}" if name else f"its {kind}"


def _fill(text: str, partition: str, qos: str, account: str) -> str:
    names = {"partition": _named("partition", partition), "qos": _named("QOS", qos)}
    names["account"] = _named("account", account)
    for key, words in names.items():
        text = text.replace(f"{{{key}}}", words).replace(f"{{{key.capitalize()}}}", words[0].upper() + words[1:])
    return text
