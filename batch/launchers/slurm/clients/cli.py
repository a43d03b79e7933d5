"""Slurm by its commands: sbatch, squeue, sacct, scancel; text in, text out.

Owns their arguments and the reading of what they print. Does not know where they run (`commands.CommandRunner`) and
which jobs are ours.

What users write into names and comments may hold anything, line ends too. So fields are separated by a random mark,
a new one for every call: no user can inject a row into the answer. Where few jobs are known, JSON
does the same for one message instead of two (squeue reads the partitions before it prints a table); of many jobs it
costs the hub twenty times the time. What scontrol prints could be forged. Sources: squeue(1), sacct(1),
docs/decisions/0009.
"""

import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Final

from batch.contract import JobState, LauncherError
from batch.launchers.slurm import changes, states
from batch.launchers.slurm.catalog.text import TextSource
from batch.launchers.slurm.catalog.text_fields import seconds_of
from batch.launchers.slurm.client import AccountingDisabledError, Job, JobGoneError, Past
from batch.launchers.slurm.clients import lenient_json
from batch.launchers.slurm.clients.commands import CommandRunner
from batch.launchers.slurm.clients.local_commands import LocalCommands
from batch.launchers.slurm.clients.rest_shapes import jobs_of
from batch.launchers.slurm.clients.sacct import FIELDS, from_sacct, memory_of
from batch.launchers.slurm.comment import attempt_of
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.messages.refusals import refused
from batch.launchers.slurm.script import Batch

log = logging.getLogger("towpath.slurm")

QUEUE_FIELDS: Final = (
    "JobID",
    "UserName",
    "State",
    "exit_code",
    "RestartCnt",
    "PriorityLong",
    "SubmitTime",
    "StartTime",
    "EndTime",
    "Partition",
    "Account",
    "QOS",
    "BatchHost",
    "tres-alloc",
    "NumNodes",
    "TimeLimit",
    "Reason",
    "Name",
    "Comment",
)
PAST_FIELDS: Final = (*FIELDS, "User", "Submit", "Start", "End", "JobName", "Comment")
FEW: Final = 200
"""So many jobs are read as JSON: a tenth of a second, where 1,000 take 0.6 s and 9 MB (22.05 to 26.05)."""
GONE: Final = ("invalid job id", "already completing or completed", "job/step already completing", "!= filter")
"""What scancel says of a job that is not there, has ended, or (with --ctld, from 23.11 on) is another one."""
NOT_WAITING: Final = ("no jobs with", "no longer pending", "invalid job id", "already completing or completed")
"""What scontrol says of a job that is not there, runs or has ended."""
MESSAGE_MAX: Final = 300
DISABLED: Final = ("accounting storage is disabled", "slurmdbd is not in use")
ENDED: Final = "BF,CA,CD,DL,F,NF,OOM,PR,TO,RV"
NOTHING: Final = frozenset({"", "N/A", "(null)", "None", "Unknown", "NONE", "n/a"})


def open_client(config: SlurmConfig) -> "CliClient":
    """Finds the programs on this machine. Raises LauncherError where one is missing."""
    return CliClient(LocalCommands(config))


class CliClient:
    """See `batch.launchers.slurm.client.Client`."""

    def __init__(self, commands: CommandRunner) -> None:
        self._commands = commands
        self._few = False  # whether few jobs were known at the last look
        self._speaks_json = True

    @property
    def user(self) -> str:
        """See the Protocol."""
        return self._commands.user

    async def submit(self, batch: Batch, identity: Identity) -> int:
        """See the Protocol. The argv is the same for every job: what differs is in the script, on standard input."""
        answer = await self._commands.run_as(
            identity, "sbatch", ["--parsable"], environment=batch.environment, stdin=batch.text, once=True
        )
        number = answer.out.strip().split(";")[0]
        if answer.code == 0 and number.isascii() and number.isdigit():
            if output := answer.err.strip():
                name = dict(batch.options).get("job-name", "-")
                log.info(
                    "Slurm has a message about a job: job=%s name=%s message=%r", number, name, output[:MESSAGE_MAX]
                )
            return int(number)
        if answer.code == 0:
            raise LauncherError("sbatch has not returned a job id.", transient=True, code="no-answer")
        options = dict(batch.options)
        raise refused(answer.err, qos=options.get("qos", ""), account=options.get("account", ""))

    async def jobs(self, name: str = "") -> list[Job]:
        """See the Protocol. 17 ms for a thousand."""
        found = await self._by_json() if self._few and not name and self._speaks_json else None
        if found is None:
            json_failed = self._few and not name
            found = await self._by_table(name)
            # slurmctld answers, so it was for want of Slurm's plugins for JSON.
            self._speaks_json = self._speaks_json and not json_failed
        if not name:
            self._few = len(found) <= FEW
        return found

    async def _by_json(self) -> list[Job] | None:
        """One message to slurmctld; None: squeue cannot write JSON."""
        answer = await self._commands.run("squeue", ["--all", "--local", "--states=all", "--json"])
        return read_json(answer.out) if answer.code == 0 else None

    async def _by_table(self, name: str) -> list[Job]:
        """Two messages to slurmctld."""
        mark = f"|{secrets.token_hex(4)}|"
        fields = ",".join(f"{field}:{mark}" for field in QUEUE_FIELDS)
        named = [f"--name={name}"] if name else []
        argv = ["--noheader", "--all", "--local", "--states=all", *named, f"--Format={fields}"]
        answer = await self._commands.run("squeue", argv)
        if answer.code != 0:
            raise refused(answer.err)
        return [job for row in rows(answer.out, mark, len(QUEUE_FIELDS)) if (job := _read(row)) is not None]

    async def past(self, *, ids: Sequence[int] = (), name: str = "", since: float, runs: bool = False) -> list[Past]:
        """See the Protocol."""
        mark = f"|{secrets.token_hex(4)}|"
        which = [f"--jobs={','.join(map(str, ids))}"] if ids else [f"--name={name}"] if name else [f"--state={ENDED}"]
        argv = [
            "--noheader",
            "--allusers",
            "--local",
            "--parsable",
            "--noconvert",
            f"--delimiter={mark}",
            f"--starttime={_when(since)}",
            "--endtime=now",
            *(["--duplicates"] if runs else []),
            *which,
            f"--format={','.join(PAST_FIELDS)}",
        ]
        answer = await self._commands.run("sacct", argv)
        output = answer.err.lower()
        if any(message in output for message in DISABLED):
            raise AccountingDisabledError
        if answer.code != 0:
            raise refused(answer.err)
        return _pasts(rows(answer.out, mark, len(PAST_FIELDS)))

    async def cancel(self, job: int, name: str, identity: Identity) -> None:
        """See the Protocol. From Slurm 23.11 on, slurmctld compares name and account; before, scancel does.

        Ten digits: the sudoers file can then name the arguments exactly.
        """
        argv = ["--ctld", "--me", f"--name={name}", f"{job:010}"]
        answer = await self._commands.run_as(identity, "scancel", argv, environment=identity.environment)
        output = answer.err.lower()
        if not output.strip() or any(message in output for message in GONE):
            return
        if answer.code != 0:
            raise refused(answer.err)
        log.warning("scancel has complained: job=%d name=%s message=%r", job, name, answer.err.strip()[:MESSAGE_MAX])

    async def update(self, job: int, name: str, options: Sequence[tuple[str, str]], identity: Identity) -> bool:  # noqa: ARG002
        """See the Protocol. scontrol finds the job by its name and account.

        What it shall do is on its standard input, so that a sudoers file can allow it without any argument.
        """
        line = changes.scontrol_line(name, identity.uid, options)
        if line is None:
            return False
        answer = await self._commands.run_as(identity, "scontrol", [], environment=identity.environment, stdin=line)
        output = answer.err.lower()
        if any(message in output for message in NOT_WAITING):
            raise JobGoneError
        if answer.code != 0 or output.strip():
            chosen = dict(options)
            raise refused(answer.err, qos=chosen.get("qos", ""), account=chosen.get("account", ""))
        return True

    def source(self) -> TextSource:
        """See the Protocol."""
        return TextSource(self._tell)

    async def _tell(self, argv: Sequence[str]) -> str:
        program, *arguments = argv
        answer = await self._commands.run(program, arguments)
        if answer.code != 0:
            raise refused(answer.err)
        return answer.out

    async def close(self) -> None:
        """See the Protocol."""
        await self._commands.close()


def read_json(text: str) -> list[Job] | None:
    """The jobs of `squeue --json`, in whatever version's shape; None: this is no such answer."""
    try:
        answer = lenient_json.decode(text)
        whole = isinstance(answer, dict) and isinstance(answer.get("jobs"), list) and not answer.get("errors")
        return jobs_of(answer) if whole else None
    except ValueError:
        return None


def rows(text: str, mark: str, width: int) -> list[list[str]]:
    """The rows of an answer in which every field ends with `mark`. Raises LauncherError when they come out uneven."""
    fields = text.split(mark)
    if fields.pop().strip() or len(fields) % width:
        raise LauncherError("Slurm's response is incomplete.", transient=True, code="no-answer")
    found = [fields[start : start + width] for start in range(0, len(fields), width)]
    for row in found:
        row[0] = row[0].removeprefix("\n")
    return found


def _read(row: list[str]) -> Job | None:
    """A row of `QUEUE_FIELDS`; None: it cannot be read, and is another user's. Raises LauncherError: it may be ours."""
    try:
        return job_of(row)
    except ValueError as error:
        if attempt_of(row[QUEUE_FIELDS.index("Name")]):
            raise LauncherError("Slurm's response cannot be read.", transient=True, code="no-answer") from error
        log.warning("Skipping another user's job that cannot be read: job=%r", row[0][:40])
        return None


def job_of(row: list[str]) -> Job:
    """One row of `QUEUE_FIELDS`."""
    values = dict(zip(QUEUE_FIELDS, row, strict=True))
    state = values["State"]
    begins, ends = _time(values["StartTime"]), _time(values["EndTime"])
    waits = states.job_state(state) is JobState.QUEUED
    code, signal = states.exit_text(values["exit_code"])
    return Job(
        id=int(values["JobID"]),
        user=values["UserName"],
        name=values["Name"],
        comment=_text(values["Comment"]),
        state=state,
        reason=_text(values["Reason"]),
        partition=values["Partition"],
        account=_text(values["Account"]),
        qos=_text(values["QOS"]),
        priority=int(values["PriorityLong"] or 0),
        submitted=_time(values["SubmitTime"]),
        started=None if waits else begins,
        expected=begins if waits else None,
        ends=None if waits else ends,
        exit_code=code,
        signal=signal,
        restarts=int(values["RestartCnt"] or 0),
        node=_text(values["BatchHost"]),
        memory=memory_of(values["tres-alloc"], int(values["NumNodes"]) if values["NumNodes"].isdigit() else None),
        limit=seconds_of(values["TimeLimit"]),
    )


def _pasts(lines: Iterable[list[str]]) -> list[Past]:
    found = list(lines)
    facts = from_sacct("\n".join("|".join(row[: len(FIELDS)]) for row in found))
    pasts = []
    for row in found:
        values = dict(zip(PAST_FIELDS, row, strict=True))
        job = values["JobIDRaw"]
        if not job.isdigit():  # a step, or a part of an array
            continue
        pasts.append(
            Past(
                id=int(job),
                user=values["User"],
                name=values["JobName"],
                comment=_text(values["Comment"]),
                state=values["State"].split(" ")[0],
                facts=facts.get(job),
                submitted=_time(values["Submit"]),
                started=_time(values["Start"]),
                ended=_time(values["End"]),
                node=_text(values["NodeList"]).split(",")[0],
            )
        )
    return pasts


def _when(since: float) -> str:
    """A time as sacct reads it, whatever time zone it is in: so long ago."""
    return f"now-{max(1, int(time.time() - since))}seconds"


def _text(value: str) -> str:
    return "" if value in NOTHING else value


def _time(value: str) -> float | None:
    return float(value) if value.isascii() and value.isdigit() and value != "0" else None
