"""What a limit of Slurm's accounting means, by its name, in a sentence with what to do.

Owns: the grammar of limits' names and the words for each part. Pure. Refuses to know where the name was met: a job
waits with it as its reason, or is refused with it.

Sources: the names that `slurm_job_state_reason_string` gives, 22.05 to 26.05; resource_limits.html. A limit on a
resource that comes with a newer Slurm is told like the others.
"""

import re
from typing import Final

from msgspec import Struct


class Told(Struct, frozen=True):
    """A sentence, what to do, and the kind of option that it is about (`""`: none)."""

    message: str
    hint: str = ""
    field: str = ""


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
        owner, other, own_field = named("account", account), "another account", "account"
    else:
        owner, other, own_field = named("QOS", qos), "another QOS", "qos"
    if what.startswith(("job", "submit")):
        return _limit_of_jobs(what, kind, per, owner=owner, other=other, field=own_field)
    if what.startswith("wall"):
        return _limit_of_walltime(kind, owner=owner, other=other, field=own_field)
    thing = THINGS.get(what, THINGS["unknown"])
    if kind == "Grp":
        return _limit_of_all(thing, measure, owner=owner, other=other, field=own_field)
    if per in ("User", "Account") and kind == "Max":
        return _limit_of_one(thing, per, owner=owner, other=other, field=own_field, account=account)
    return _limit_of_a_job(thing, kind, measure, per, owner=owner, other=other)


def _limit_of_one(thing: Thing, per: str, *, owner: str, other: str, field: str, account: str) -> Told:
    """What one person, or one account, may use at a time."""
    if per == "Account":
        whose = f"the account {account}" if account else "your account"
        return Told(
            f"With this one, {whose} would use more {thing.words} than {owner} allows one account.",
            "It starts when some of its jobs end. Another account or QOS may be quicker.",
            "account",
        )
    less = "fewer" if thing.countable else "less"
    return Told(
        f"With this one, you would use more {thing.words} than {owner} allows one person.",
        f"It starts when you have stopped enough of your others. Or cancel it, and ask for {less} or pick {other}.",
        field,
    )


def _limit_of_a_job(thing: Thing, kind: str, measure: str | None, per: str | None, *, owner: str, other: str) -> Told:
    """What a job may or must ask for: one that does not fit never starts."""
    less = "fewer" if thing.countable else "less"
    if kind == "Min":
        return Told(
            f"It asks for {less} {thing.words} than {owner} wants at least.",
            f"Cancel it and ask for more, or pick {other}.",
            thing.field,
        )
    if measure:
        return Told(
            f"It asks for more {thing.time} than {owner} allows one job: {thing.words} times walltime.",
            f"Cancel it and ask for less or for a shorter walltime, or pick {other}.",
            thing.field,
        )
    return Told(
        f"It asks for more {thing.words} than {owner} allows {'on one node' if per == 'Node' else 'one job'}.",
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


def named(kind: str, name: str) -> str:
    """`the QOS gpuq`, or `its QOS` where the name is not known."""
    return f"the {kind} {name}" if name else f"its {kind}"
