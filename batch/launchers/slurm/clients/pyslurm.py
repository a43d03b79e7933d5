"""Slurm by pyslurm, in a process of its own: fast, and bound to one version of Slurm.

Owns that process (start, time-outs, its end and the next one), and what a job is called there. Does not know
pyslurm's calls (`pyslurm_helper`). The hub must be root or SlurmUser: jobs are submitted with `user_id`.

A request that takes too long ends the helper, and the next one starts it again.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from batch.contract import JobState, LauncherError
from batch.launchers.slurm.catalog.text import TextSource
from batch.launchers.slurm.client import AccountingDisabledError, Job, Past
from batch.launchers.slurm.clients.cli import open_client as open_cli
from batch.launchers.slurm.identity import Identity, user_of
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.messages.ending import Ended
from batch.launchers.slurm.messages.refusals import refused
from batch.launchers.slurm.script import PATH, Batch
from batch.launchers.slurm.states import job_state

log = logging.getLogger("towpath.slurm")

HELPER: Final = (sys.executable, "-P", "-m", "batch.launchers.slurm.clients.pyslurm_helper")
LINE_MAX: Final = 256 * 1024 * 1024
GONE: Final = frozenset({2017, 2021})
DISABLED: Final = ("accounting storage is disabled", "slurmdbd is not in use", "no connection to the slurm database")
UNFINISHED: Final = frozenset({"PENDING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING", "COMPLETING"})
MIB: Final = 1024 * 1024

NAMES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "job-name": ("name", str),
    "comment": ("comment", str),
    "partition": ("partitions", lambda value: value.split(",")),
    "account": ("account", str),
    "qos": ("qos", str),
    "reservation": ("reservations", lambda value: value.split(",")),
    "constraint": ("constraints", str),
    "gres": ("gres_per_node", str),
    "cpus-per-task": ("cpus_per_task", int),
    "mem": ("memory_per_node", str),
    "time": ("time_limit", str),
    "nodes": ("nodes", str),
    "no-kill": ("kill_on_node_fail", lambda _: False),
    "signal": ("signal", lambda value: value.replace("USR1", "SIGUSR1")),
    "dependency": ("dependencies", str),
    "chdir": ("working_directory", str),
    "output": ("standard_output", str),
    "requeue": ("is_requeueable", lambda _: True),
    "exclude": ("excluded_nodes", lambda value: value.split(",")),
    "nodelist": ("required_nodes", lambda value: value.split(",")),
    "exclusive": ("resource_sharing", lambda value: value or "no"),
    "oversubscribe": ("resource_sharing", lambda _: "yes"),
    "licenses": ("licenses", lambda value: value.split(",")),
    "mail-user": ("mail_user", str),
    "mcs-label": ("mcs_label", str),
    "mem-per-cpu": ("memory_per_cpu", str),
    "mem-per-gpu": ("memory_per_gpu", str),
    "mincpus": ("min_cpus_per_node", int),
    "nice": ("nice", int),
    "ntasks": ("ntasks", int),
    "ntasks-per-node": ("ntasks_per_node", int),
    "contiguous": ("requires_contiguous_nodes", lambda _: True),
    "cores-per-socket": ("cores_per_socket", int),
    "sockets-per-node": ("sockets_per_node", int),
    "threads-per-core": ("threads_per_core", int),
    "spread-job": ("spreads_over_nodes", lambda _: True),
    "use-min-nodes": ("use_min_nodes", lambda _: True),
    "tmp": ("temporary_disk_per_node", str),
}
"""sbatch's name of an option → pyslurm's, and its value there."""
SILENT: Final = frozenset({"export", "propagate"})
"""pyslurm hands on neither an environment that it is not given nor limits."""


def open_client(config: SlurmConfig) -> "PyslurmClient":
    """The helper is started with the first request."""
    return PyslurmClient(config)


class PyslurmClient:
    """See `batch.launchers.slurm.client.Client`. One request at a time."""

    def __init__(
        self, config: SlurmConfig, *, helper: Sequence[str] = HELPER, environment: Mapping[str, str] | None = None
    ) -> None:
        """`helper`, `environment`: for tests, whose pyslurm is another."""
        self.user = user_of(os.geteuid())
        self._config = config
        self._helper = tuple(helper)
        self._environment = {
            "PATH": PATH,
            "LC_ALL": "C.UTF-8",
            **({"SLURM_CONF": config.conf} if config.conf else {}),
            **(environment or {}),
        }
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._number = 0

    async def submit(self, batch: Batch, identity: Identity) -> int:
        """See the Protocol."""
        return int(await self._ask("submit", job=described(batch, identity)))

    async def jobs(self, name: str = "") -> list[Job]:
        """See the Protocol. 10 ms for a thousand."""
        return [job_of(row) for row in await self._ask("jobs") if not name or row["name"] == name]

    async def past(
        self,
        *,
        ids: Sequence[int] = (),
        name: str = "",
        since: float,
        runs: bool = False,  # noqa: ARG002 - pyslurm shows the last run alone
    ) -> list[Past]:
        """See the Protocol."""
        names = [name] if name else []
        rows = await self._ask("past", ids=list(ids), names=names, start_time=int(since))
        found = [past_of(row) for row in rows]
        return found if ids or name else [past for past in found if past.facts is not None]

    async def cancel(self, job: int, name: str, identity: Identity) -> None:
        """See the Protocol. pyslurm's cancel takes an id alone: the helper reads the job right before."""
        await self._ask("cancel", fine=GONE, job=job, name=name, user_id=identity.uid)

    async def update(self, job: int, name: str, options: Sequence[tuple[str, str]], identity: Identity) -> bool:  # noqa: ARG002
        """See the Protocol. pyslurm changes a job by its id alone, and as the hub: that is not safe."""
        return False

    def source(self) -> TextSource:
        """See the Protocol: where pyslurm is, Slurm's commands are, too."""
        return open_cli(self._config).source()

    async def close(self) -> None:
        """See the Protocol."""
        async with self._turn:
            await self._end()

    async def _ask(self, verb: str, *, fine: frozenset[int] = frozenset(), **more: Any) -> Any:
        async with self._turn:
            try:
                async with asyncio.timeout(self._config.timeout):
                    answer = await self._talk(verb, more)
            except TimeoutError:
                await self._end()
                message = f"Slurm has not answered within {self._config.timeout:.0f} seconds."
                raise LauncherError(message, transient=True, code="no-answer") from None
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                await self._end()
                message = "The pyslurm helper has ended."
                raise LauncherError(message, transient=True, code="no-answer") from error
            except BaseException:
                await self._end()  # its next answer would be to this request
                raise
        if "error" in answer:
            if answer.get("number") in fine:
                return None
            if any(message in answer["error"].lower() for message in DISABLED):
                raise AccountingDisabledError
            raise refused(answer["error"], number=answer.get("number"))
        return answer["found"]

    async def _talk(self, verb: str, more: Mapping[str, Any]) -> dict[str, Any]:
        process = self._process or await self._start()
        assert process.stdin is not None  # both are pipes
        self._number += 1
        process.stdin.write(json.dumps({**more, "id": self._number, "verb": verb}).encode() + b"\n")
        await process.stdin.drain()
        answer = await self._line(process)
        if answer.get("id") != self._number:
            raise ValueError("that was the answer to another request")
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self._helper,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
            cwd="/",
            start_new_session=True,
            limit=LINE_MAX,
        )
        self._process = process
        first = await self._line(process)
        if "missing" in first:
            await self._end()
            raise LauncherError(
                "pyslurm is not installed on the hub's host.",
                transient=False,
                code="config",
                hint=f"Install towpath[pyslurm] for this Slurm, or use another client: {first['missing']}.",
            )
        log.info("The helper speaks pyslurm %s.", first.get("ready"))
        return process

    async def _line(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout is not None  # it is a pipe
        line = await process.stdout.readuntil(b"\n")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError("that was no answer")  # noqa: TRY004 - of another process, not of a caller
        return answer

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()


def described(batch: Batch, identity: Identity) -> dict[str, Any]:
    """The keyword arguments of `JobSubmitDescription`. Raises LauncherError for an option that it has no name for."""
    job: dict[str, Any] = {
        "script": batch.text,
        "environment": batch.environment,
        "user_id": identity.uid,
        "group_id": identity.gid,
        "working_directory": identity.home,
    }
    for name, value in batch.options:
        if name in NAMES:
            theirs, convert = NAMES[name]
            job[theirs] = convert(value)
        elif name not in SILENT:
            raise LauncherError(
                f"pyslurm does not support the option --{name}.",
                transient=False,
                code="option",
                hint="Tell the hub's admins: the profile sets it in [profile.resources].",
            )
    return job


def job_of(row: Mapping[str, Any]) -> Job:
    """A row of the helper's."""
    state = row["state"] or ""
    waits = job_state(state) is JobState.QUEUED
    begins, ends = _time(row["start_time"]), _time(row["end_time"])
    return Job(
        id=row["id"],
        user=row["user_name"] or "",
        name=row["name"] or "",
        comment=row["comment"] or "",
        state=state,
        reason="" if row["state_reason"] == "None" else row["state_reason"] or "",
        partition=row["partition"] or "",
        account=row["account"] or "",
        qos=row["qos"] or "",
        priority=row["priority"] or 0,
        submitted=_time(row["submit_time"]),
        started=None if waits else begins,
        expected=begins if waits else None,
        ends=None if waits else ends,
        exit_code=row["exit_code"],
        signal=row["exit_code_signal"] or 0,
        restarts=row["requeue_count"] or 0,
        node=row["batch_host"] or "",
        memory=_memory(row),
        limit=_limit(row),
    )


def past_of(row: Mapping[str, Any]) -> Past:
    """A row of the helper's."""
    state = (row["state"] or "").split(" ")[0]
    facts = None
    if state and state not in UNFINISHED:
        facts = Ended(
            state=state,
            cancelled_by=row["cancelled_by"] if state == "CANCELLED" else None,
            code=row["exit_code"],
            signal=row["exit_code_signal"] or 0,
            reason="" if row["state_reason"] == "None" else row["state_reason"] or "",
            used=row["used"] or None,
            requested=_memory(row),
            elapsed=row["elapsed_time"],
            limit=_limit(row),
            nodes="" if row["nodelist"] == "None assigned" else row["nodelist"] or "",
        )
    return Past(
        id=row["id"],
        user=row["user_name"] or "",
        name=row["name"] or "",
        comment=row["comment"] or "",
        state=state,
        facts=facts,
        submitted=_time(row["submit_time"]),
        started=_time(row["start_time"]),
        ended=_time(row["end_time"]),
        node=facts.nodes.split(",")[0] if facts else "",
    )


def _memory(row: Mapping[str, Any]) -> int | None:
    """Bytes on each node: pyslurm has the megabytes of all."""
    memory = row["memory"]
    return memory * MIB // (row["num_nodes"] or 1) if isinstance(memory, int) else None


def _limit(row: Mapping[str, Any]) -> float | None:
    limit = row["time_limit"]  # in minutes; a word where there is none
    return limit * 60.0 if isinstance(limit, int) else None


def _time(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value else None
