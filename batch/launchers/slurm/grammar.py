"""The lines after `#SBATCH`: each option, with the form that its value must have.

Owns the names of the options that Towpath writes, the allow-list of options that an admin can add, and the form of each
value. Does not know where values come from and whether the cluster has them.

A valid value has no quote, no backslash, no `#` and no white space, except for the spaces in the name of an account or
QOS, which is quoted. So sbatch reads a line `#SBATCH --name=value` exactly as it was written.

Source: sbatch(1), Slurm 22.05.
"""

import re
from typing import Final

from batch.contract import LauncherError
from state.offer.option_kinds import ACCOUNTING_NAME

_WORD: Final = r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,127}"
_PATH: Final = r"/[A-Za-z0-9_.+@/:-]{0,1023}"
_NUMBER: Final = r"[0-9]{1,9}"
_SIZE: Final = r"[0-9]{1,12}[KMGT]?"
_TIME: Final = r"(?:[0-9]{1,4}-)?[0-9]{1,4}(?::[0-9]{2}){0,2}"
_WORDS: Final = rf"{_WORD}(?:,{_WORD})*"
_HOSTS: Final = r"[A-Za-z0-9][A-Za-z0-9_.,\[\]-]{0,1023}"
_FEATURES: Final = r"[A-Za-z0-9_\[(][A-Za-z0-9_.:&|*,=+()\[\]-]{0,511}"
_COUNTED: Final = rf"{_WORD}(?::[A-Za-z0-9_.+-]{{1,64}})?(?:[:=]{_NUMBER})?"
_COUNTEDS: Final = rf"{_COUNTED}(?:,{_COUNTED})*"
_COMMENT: Final = r"[A-Za-z0-9_.:/@+=-]{1,1024}"
_FLAG: Final = ""
_PLAIN: Final = re.compile(r"[!-~]+")
"""A value that sbatch reads as one word without quotes."""

OWN: Final[dict[str, str]] = {
    "job-name": _WORD,
    "comment": _COMMENT,
    "partition": _WORDS,
    "account": ACCOUNTING_NAME,
    "qos": ACCOUNTING_NAME,
    "reservation": _WORDS,
    "constraint": _FEATURES,
    "gres": _COUNTEDS,
    "cpus-per-task": _NUMBER,
    "mem": _SIZE,
    "time": _TIME,
    "nodes": _NUMBER,
    "signal": rf"B:USR1@{_NUMBER}",
    "dependency": "singleton",
    "chdir": _PATH,
    "output": r"/dev/null",
    "export": "ALL",
    "propagate": "NONE",
    "requeue": _FLAG,
    "no-kill": _FLAG,
}
"""The options that Towpath itself writes."""

ALLOWED: Final[dict[str, str]] = {
    "acctg-freq": r"[a-z0-9=,]{1,64}",
    "begin": r"[A-Za-z0-9:+T-]{1,32}",
    "contiguous": _FLAG,
    "core-spec": _NUMBER,
    "cores-per-socket": _NUMBER,
    "cpus-per-gpu": _NUMBER,
    "deadline": r"[A-Za-z0-9:+T-]{1,32}",
    "distribution": r"[A-Za-z:=,*]{1,64}",
    "exclude": _HOSTS,
    "exclusive": r"(?:user|mcs|topo)?",
    "gpu-bind": r"[A-Za-z0-9:,*]{1,64}",
    "gres-flags": r"[a-z,-]{1,64}",
    "hint": r"compute_bound|memory_bound|(?:no)?multithread",
    "licenses": _COUNTEDS,
    "mail-type": r"[A-Z0-9_]+(?:,[A-Z0-9_]+)*",
    "mail-user": _WORD,
    "mcs-label": _WORD,
    "mem-bind": r"[A-Za-z0-9:,_]{1,64}",
    "mem-per-cpu": _SIZE,
    "mem-per-gpu": _SIZE,
    "mincpus": _NUMBER,
    "nice": r"[0-9]{1,9}",
    "nodelist": _HOSTS,
    "ntasks": _NUMBER,
    "ntasks-per-node": _NUMBER,
    "oversubscribe": _FLAG,
    "prefer": _FEATURES,
    "sockets-per-node": _NUMBER,
    "spread-job": _FLAG,
    "switches": rf"{_NUMBER}(?:@{_TIME})?",
    "thread-spec": _NUMBER,
    "threads-per-core": _NUMBER,
    "tmp": _SIZE,
    "use-min-nodes": _FLAG,
    "wckey": r"\*?" + _WORD,
}
"""The options that an admin can add in `[profile.resources.extra]`.

Options are not here if they read or write files as the hub, set another identity, the environment or the job's name,
hold the job, or make more than one job.
"""

FIELDS: Final[dict[str, str]] = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "reservation": "reservation",
    "constraint": "constraint",
    "gres": "gpus",
    "cpus-per-task": "cores",
    "mem": "memory",
    "time": "walltime",
    "nodes": "nodes",
}
"""sbatch's name of an option → the kind of a profile's option that sets it."""


def line(name: str, value: str) -> str:
    """Return `#SBATCH --name=value`. Raises LauncherError for a value that does not have the form."""
    checked(name, value)
    if not value:
        return f"#SBATCH --{name}"
    return f"#SBATCH --{name}={value}" if _PLAIN.fullmatch(value) else f'#SBATCH --{name}="{value}"'


def checked(name: str, value: str) -> None:
    """Check an option. Raises LauncherError if it is not on a list, or if its value does not have the form."""
    field = FIELDS.get(name, "")
    form = OWN.get(name, ALLOWED.get(name))
    if form is None:
        raise LauncherError(
            f"The option --{name} of sbatch cannot be set by a profile.",
            transient=False,
            code="option",
            hint="Tell the hub's admins.",
        )
    if not re.fullmatch(form, value):
        raise LauncherError(
            f"{value[:80]!r} cannot be the job's {field or f'--{name}'}.",
            transient=False,
            code="option",
            field=field,
            hint="Pick another value." if field else "Tell the hub's admins.",
        )


def further(name: str, value: str) -> str:
    """Check an option that an admin has added. Raises LauncherError if it is not on the allow-list."""
    if name not in ALLOWED:
        raise LauncherError(
            f"The option --{name} of sbatch is not one that a profile may set.",
            transient=False,
            code="option",
            hint="Tell the hub's admins: the list is batch.launchers.slurm.grammar.ALLOWED.",
        )
    return line(name, value)
