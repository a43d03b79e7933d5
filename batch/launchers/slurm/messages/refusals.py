"""Why Slurm refused a job, or did not respond: its error, as a message, what to do, and the form's field.

Owns which part of Slurm's output gives the reason, and which of it is the site's own text. Pure. Does not know how a
command is run.

The site's own text comes first: what a job_submit plug-in or a cli_filter tells the user. sbatch prints it as lines
before the error, and slurmrestd returns it as `job_submit_user_msg`. The name of a limit, which sbatch also prints
there, says more than the error: `batch.launchers.slurm.messages.limits` explains it.
"""

import re
from typing import Final

from batch.contract import LauncherError
from batch.launchers.slurm.messages.limits import Explanation, limit
from batch.launchers.slurm.messages.refusal_table import TABLE, Refusal

TEXT_MAX: Final = 300
SITE_MAX: Final = 1000
"""How many characters of a site's text are shown."""
_BY_NUMBER: Final = {number: row for row in TABLE for number in row.numbers}
_BY_TEXT: Final = tuple((text, row) for row in TABLE for text in row.texts)
_NOISE: Final = re.compile(
    r"^(?:sbatch|scancel|squeue|scontrol|sacct|sacctmgr|srun)?:?\s*(?:error|fatal):\s*", re.IGNORECASE
)
_ERROR_LINE: Final = re.compile(r"^sbatch: error: (?:lua: )?(?P<said>.*)$")
_NAME: Final = re.compile(r"\b(?:QOS|Assoc|Max)[A-Za-z]+\b")
_INTERNAL: Final = re.compile(r"^(?:slurm_|auth|plugin|unpack|cred|hash|mpi|If munged|Munge|[a-z0-9_]+: )")
"""Prefixes with which Slurm's own libraries print messages."""
_SUBMIT: Final = "Batch job submission failed:"
_SPEAKS_OF_ITSELF: Final = frozenset({"configuration", "authentication"})
"""Errors beside which Slurm prints details of its own, which are not a site's text."""
_FIELDS: Final = (
    ("walltime", r"time[- ]?limit|wall[- ]?time|--time|max(?:imum)? time"),
    ("account", r"accounts?|projects?|allocations?|--account"),
    ("qos", r"qos|quality of service"),
    ("gpus", r"gpus?|gres"),
    ("memory", r"memory|--mem|ram"),
    ("cores", r"cores?|cpus?"),
    ("reservation", r"reservations?"),
    ("constraint", r"constraints?|features?"),
    ("nodes", r"nodes?"),
    ("partition", r"partitions?|queues?"),
)
"""Kind of option → what a site may call it. The first one that occurs in a sentence decides."""


def refused(
    text: str = "", *, number: int | None = None, site: str = "", qos: str = "", account: str = ""
) -> LauncherError:
    """Return the hub's error for an error of Slurm. `text`: stderr, or REST's `description` and `error` in lines.

    `number`: of slurm_errno.h, if it is known. `site`: the site's text, if Slurm returns it separately. An error that
    neither identifies is shown with Slurm's own text, and is not transient: the same request would be refused again.
    """
    lower = text.lower()
    row = _BY_NUMBER.get(number) if number is not None else None
    if row is None:
        row = next((row for part, row in _BY_TEXT if part in lower), None)
    explained = _limit_in(text, qos=qos, account=account) if row is None or row.code == "limit" else None
    site_text = _of_the_site(site.splitlines()) or _of_the_site(_site_lines(text, row))
    if site_text:
        return _by_the_site(site_text, row, explained)
    if explained is not None:
        name, found = explained
        return LauncherError(found.message, transient=False, code=name, hint=_before(found.hint), field=found.field)
    if row is None:
        reason = plain(text) or (f"error {number}" if number is not None else "no reason given")
        return LauncherError(
            f"Slurm refuses this: {reason.rstrip('.')}.",
            transient=False,
            code="refused",
            hint="Change the request, or ask the cluster's admins.",
        )
    return LauncherError(row.message, transient=row.transient, code=row.code, hint=row.hint, field=row.field)


def _limit_in(text: str, *, qos: str, account: str) -> tuple[str, Explanation] | None:
    """Return the limit that a text names, and its explanation."""
    for name in _NAME.findall(text):
        if found := limit(name, qos=qos, account=account):
            return name, found
    return None


def _before(hint: str) -> str:
    """Return the hint for a waiting job, changed for a job that was refused."""
    replacements = {
        "Cancel it and ask": "Ask",
        "Cancel the job and ask": "Ask",
        "Or cancel it, and ask": "Or ask",
        "Cancel it and request": "Request",
        "Cancel it, and request": "Request",
        "Cancel the job and request": "Request",
        "Or cancel it, and request": "Or request",
    }
    for old, new in replacements.items():
        hint = hint.replace(old, new)
    return hint


# --- the site's own text --------------------------------------------------------------------------------------------
def _by_the_site(site_text: str, row: Refusal | None, explained: tuple[str, Explanation] | None) -> LauncherError:
    """Return the site's text, followed by the meaning of Slurm's error if it has one of its own."""
    field = _field_of(site_text)
    if explained is not None:
        name, found = explained
        message = f"{site_text} {found.message}"
        return LauncherError(message, transient=False, code=name, hint=_before(found.hint), field=found.field)
    if row is None or row.code == "site":
        hint = "Change the request, or ask the cluster's admins."
        return LauncherError(site_text, transient=False, code="site", hint=hint, field=field)
    return LauncherError(
        f"{site_text} {row.message}", transient=row.transient, code=row.code, hint=row.hint, field=field or row.field
    )


def _site_lines(text: str, row: Refusal | None) -> list[str]:
    """Return the lines of sbatch's errors that do not come from Slurm."""
    if row is not None and (row.transient or row.code in _SPEAKS_OF_ITSELF):
        return []
    messages = [found["said"].strip() for line in text.splitlines() if (found := _ERROR_LINE.match(line.strip()))]
    return [line for line in messages if line and not _is_slurms(line)]


def _is_slurms(line: str) -> bool:
    """Return whether a line is the error itself, a limit's name, or one that Slurm's programs are known to print."""
    lower = line.lower()
    return (
        line.startswith(_SUBMIT)
        or _NAME.fullmatch(line) is not None
        or _INTERNAL.match(line) is not None
        or any(part in lower for part, _ in _BY_TEXT)
    )


def _of_the_site(lines: list[str]) -> str:
    """Return the lines as one text: printable, shortened, with a full stop at the end."""
    kept = ["".join(letter for letter in line if letter.isprintable()).strip() for line in lines]
    text = " ".join(line for line in kept if line)
    if len(text) > SITE_MAX:
        text = f"{text[:SITE_MAX].rstrip()}\u2026"
    return text if not text or text.endswith((".", "!", "?", "\u2026", ")")) else f"{text}."


def _field_of(sentence: str) -> str:
    """Return the kind of option that a sentence is about; `""`: none, or not known."""
    lower = sentence.lower()
    return next((kind for kind, names in _FIELDS if re.search(rf"(?<![\w-])(?:{names})(?![\w-])", lower)), "")


def plain(text: str) -> str:
    """Return the last line of an error's text that has content, shortened, without the command's name."""
    lines = [_NOISE.sub("", line.strip()) for line in text.splitlines()]
    lines = [line.removeprefix(_SUBMIT).strip() for line in lines if line]
    printable = "".join(letter for letter in (lines[-1] if lines else "") if letter.isprintable())
    return printable[:TEXT_MAX]
