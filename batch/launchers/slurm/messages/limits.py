"""What a limit of Slurm's accounting means: a message, what to do, and the form's field that it is about.

Owns the grammar of limits' names and the noun for each part. Pure. Does not know where the name comes from: it is the
reason why a job waits, or why it was refused.

Sources: the names that `slurm_job_state_reason_string` gives, 22.05 to 26.05; resource_limits.html. A limit on a
resource that a newer Slurm adds is explained like the others.
"""

import re
from typing import Final

from msgspec import Struct


class Explanation(Struct, frozen=True):
    """A message, what to do, and the kind of option that it is about (`""`: none)."""

    message: str
    hint: str = ""
    field: str = ""


_LIMIT: Final = re.compile(
    r"(?P<owner>QOS|Assoc)?(?P<kind>Grp|Max|Min)(?P<thing>SubmitJobs?|Jobs?|WallDuration|Wall|CPU|GRES|BB|[A-Z][a-z]+)"
    r"(?P<measure>RunMinutes|Minutes)?(?:Per(?P<per>Job|Node|User|Account))?(?:Limit|NotSatisfied)?"
)


class Resource(Struct, frozen=True):
    """What a limit counts: its noun, the noun for it times time (`Minutes` in the name), and the form's field."""

    noun: str
    time: str
    field: str = ""
    countable: bool = True


RESOURCES: Final = {
    "cpu": Resource("cores", "core time", "cores"),
    "node": Resource("nodes", "node time", "nodes"),
    "mem": Resource("memory", "memory over time", "memory", countable=False),
    "memory": Resource("memory", "memory over time", "memory", countable=False),
    "gres": Resource("GPUs", "GPU time", "gpus"),
    "license": Resource("software licences", "licence time"),
    "bb": Resource("burst buffer space", "burst buffer space over time", countable=False),
    "energy": Resource("energy", "energy over time", countable=False),
    "billing": Resource("billed resources", "billed time"),
    "unknown": Resource("resources", "computing time"),
}


class Owner(Struct, frozen=True):
    """Whose limit it is: the noun for it, what else the user could pick, and the form's field."""

    noun: str
    other: str
    field: str


def limit(name: str, *, qos: str = "", account: str = "") -> Explanation | None:
    """Explain a limit of a QOS or an association (`QOSMaxGRESPerUser`, ...); None: the name is not a limit's.

    The names are made of an owner (QOS, Assoc; none: a QOS's limit per account), a kind (Grp: all together, Max, Min),
    a resource (Cpu, GRES, ...), a measure (Minutes: a budget; RunMinutes: what running jobs may still use), a scope.
    """
    found = _LIMIT.fullmatch(name)
    if found is None:
        return None
    what, kind, measure, per = found["thing"].lower(), found["kind"], found["measure"], found["per"]
    if found["owner"] == "Assoc":
        owner = Owner(named("account", account), "another account", "account")
    else:
        owner = Owner(named("QOS", qos), "another QOS", "qos")
    if what.startswith(("job", "submit")):
        return _of_jobs(what, kind, per, owner)
    if what.startswith("wall"):
        return _of_time(kind, owner)
    resource = RESOURCES.get(what, RESOURCES["unknown"])
    if kind == "Grp":
        return _of_a_group(resource, measure, owner)
    if per in ("User", "Account") and kind == "Max":
        return _of_a_user(resource, per, owner, account)
    return _of_a_job(resource, kind, measure, per, owner)


def _of_a_user(resource: Resource, per: str, owner: Owner, account: str) -> Explanation:
    """Explain a limit on what one user or one account may use at a time."""
    if per == "Account":
        return Explanation(
            f"With this job, {named('account', account)} would use more {resource.noun} than {owner.noun} allows each"
            " account.",
            "It starts when enough of the account's other jobs have ended. Another account or QOS may be quicker.",
            "account",
        )
    return Explanation(
        f"With this job, you would use more {resource.noun} than {owner.noun} allows each user.",
        f"It starts when enough of your other jobs have ended. Or cancel it, and ask for {_less(resource)} or pick"
        f" {owner.other}.",
        owner.field,
    )


def _of_a_job(resource: Resource, kind: str, measure: str | None, per: str | None, owner: Owner) -> Explanation:
    """Explain a limit on what a job may or must request: a job that does not fit never starts."""
    if kind == "Min":
        return Explanation(
            f"The job asks for {_less(resource)} {resource.noun} than {owner.noun} requires.",
            f"Cancel it and ask for more, or pick {owner.other}.",
            resource.field,
        )
    if measure:
        return Explanation(
            f"The job asks for more {resource.time} ({resource.noun} times time limit) than {owner.noun} allows each"
            " job.",
            f"Cancel it and request less or a shorter time limit, or pick {owner.other}.",
            resource.field,
        )
    where = "on each node" if per == "Node" else "each job"
    return Explanation(
        f"The job asks for more {resource.noun} than {owner.noun} allows {where}.",
        f"Cancel it and ask for {_less(resource)}, or pick {owner.other}.",
        resource.field,
    )


def _less(resource: Resource) -> str:
    return "fewer" if resource.countable else "less"


def _of_a_group(resource: Resource, measure: str | None, owner: Owner) -> Explanation:
    if measure == "Minutes":
        return Explanation(
            f"The budget of {resource.time} of {owner.noun} is used up.",
            f"Ask its managers for more, or pick {owner.other}.",
            owner.field,
        )
    if measure == "RunMinutes":
        return Explanation(
            f"The running jobs of {owner.noun} have reserved all the {resource.time} that it may use at once.",
            f"It starts when some of them have ended. A shorter time limit or {owner.other} may be quicker.",
            owner.field,
        )
    return Explanation(
        f"With this job, the users of {owner.noun} would together use more {resource.noun} than it allows.",
        f"It starts when some of their jobs have ended. {_first(owner.other)} may be quicker.",
        owner.field,
    )


def _of_jobs(what: str, kind: str, per: str | None, owner: Owner) -> Explanation:
    have = "have as many jobs waiting and running" if what.startswith("submit") else "run as many jobs"
    if kind == "Grp":
        return Explanation(
            f"The users of {owner.noun} together already {have} as it allows.",
            f"It starts when some of their jobs have ended. {_first(owner.other)} may be quicker.",
            owner.field,
        )
    if per == "Account":
        message = f"The users of your account together already {have} as {owner.noun} allows each account."
    else:
        message = f"You already {have} as {owner.noun} allows each user."
    return Explanation(message, f"Stop another server or job first, or pick {owner.other}.", owner.field)


def _of_time(kind: str, owner: Owner) -> Explanation:
    if kind == "Grp":
        return Explanation(
            f"The budget of running time of {owner.noun} is used up.",
            f"Ask its managers for more, or pick {owner.other}.",
            owner.field,
        )
    wrong, right = ("shorter", "longer") if kind == "Min" else ("longer", "shorter")
    return Explanation(
        f"The time limit is {wrong} than {owner.noun} allows.",
        f"Cancel the job and ask for a {right} time limit, or pick {owner.other}.",
        "walltime",
    )


def _first(text: str) -> str:
    return text[0].upper() + text[1:]


def named(kind: str, name: str) -> str:
    """Return `QOS gpuq`, or `its QOS` if the name is not known."""
    return f"{kind} {name}" if name else f"its {kind}"
