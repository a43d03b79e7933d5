"""Turns Slurm's rows into the controller's view: which jobs belong to the hub, their states, their places in the queue.

Owns the parsing of rows. Pure: the time and the seal's key are arguments. Does not know how rows are requested, and
what follows from a view.

A row belongs to the hub if its name contains an attempt, this hub sealed its comment for that attempt, and Slurm runs
it as the account of the user whom the comment names. Any user can copy name and comment into a job of their own.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from batch.contract import JobState, JobView
from batch.launchers.slurm.client import Job, Past
from batch.launchers.slurm.comment import Owner, attempt_of, read
from batch.launchers.slurm.identity import same_user
from batch.launchers.slurm.messages.ending import Ended, cause
from batch.launchers.slurm.messages.reasons import waiting
from batch.launchers.slurm.states import RUNS, SUSPENDED, job_state
from state.offer.catalog import Reservation
from state.records.models import Reason, Waiting

Places = Mapping[int, tuple[int, int]]
"""Job's id → its place among the jobs that wait for its partition, and how many wait."""


class Mine(Struct, frozen=True, kw_only=True):
    """A job of the hub in the queue. `doubles`: younger jobs of the same attempt, which should not exist."""

    attempt: str
    owner: Owner
    job: Job
    doubles: tuple[Job, ...] = ()


class Seals:
    """Parses comments, each of them once, because every poll shows the same ones again."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._read: dict[tuple[str, str], Owner | None] = {}

    def owner(self, attempt: str, comment: str) -> Owner | None:
        """Return the owner of a job; None: it does not belong to this hub."""
        at = (attempt, comment)
        if at not in self._read:
            self._read[at] = read(self._key, attempt, comment)
        return self._read[at]

    def keep(self, jobs: Iterable[Mine]) -> None:
        """Forget all others."""
        present = {(one.attempt, job.comment) for one in jobs for job in (one.job, *one.doubles)}
        self._read = {at: owner for at, owner in self._read.items() if at in present}


def ours(rows: Iterable[Job], seals: Seals, known: Mapping[str, int] | None = None) -> dict[str, Mine]:
    """Return attempt → its job. If it has several, the oldest counts.

    `known`: attempt → id of a job that was verified before, because the name of its account may not resolve for a
    while.
    """
    known = known or {}
    found: dict[str, list[tuple[Job, Owner]]] = {}
    for row in rows:
        attempt = attempt_of(row.name)
        owner = seals.owner(attempt, row.comment) if attempt else None
        if owner is not None and (same_user(row.user, owner.user) or known.get(attempt) == row.id):
            found.setdefault(attempt, []).append((row, owner))
    mine = {}
    for attempt, jobs in found.items():
        (job, owner), *others = sorted(jobs, key=lambda pair: (pair[0].submitted or 0, pair[0].id))
        mine[attempt] = Mine(attempt=attempt, owner=owner, job=job, doubles=tuple(row for row, _ in others))
    return mine


def places(rows: Iterable[Job]) -> dict[int, tuple[int, int]]:
    """Return the place of each waiting job in the first partition that it requests: by priority, then by age.

    Held jobs (priority 0) and jobs that wait for another job or a set time do not delay others.
    """
    lines: dict[str, list[Job]] = {}
    for row in rows:
        if row.state == "PENDING" and row.priority and row.reason not in ("Dependency", "BeginTime"):
            for partition in row.partition.split(","):
                lines.setdefault(partition, []).append(row)
    found: dict[int, tuple[int, int]] = {}
    for partition, line in lines.items():
        line.sort(key=lambda row: (-row.priority, row.id))
        for place, row in enumerate(line, 1):
            if row.partition.split(",")[0] == partition:
                found[row.id] = (place, len(line))
    return found


def view(
    mine: Mine,
    places: Places,
    *,
    now: float,
    ending: Reason | None = None,
    maintenance: Iterable[Reservation] = (),
) -> JobView:
    """Return the view of one job in the queue. `ending`: what accounting knows about its end, if anything.

    `maintenance`: the known reservations for maintenance.
    """
    job, owner = mine.job, mine.owner
    state = job_state(job.state)
    return JobView(
        attempt=mine.attempt,
        user=owner.user,
        server=owner.server,
        state=state,
        native_id=str(job.id),
        reason="",
        exit_code=exit_code(job) if state.final else None,
        started=job.started,
        deadline=job.ends if job.state in RUNS else None,
        record=owner.record,
        waiting=_waiting(job, places, now, maintenance) if state is JobState.QUEUED else None,
        node=job.node if state is JobState.ACTIVE else "",
        ending=ending or cause(facts_of(job), user=owner.user) if state.final else None,
        suspended=job.state in SUSPENDED,
        # Slurm already counts the next run of a requeued job while its last run still ends (COMPLETING).
        restarts=job.restarts if job.state == "PENDING" or job.state in RUNS else 0,
    )


def past_view(past: Past, attempt: str, owner: Owner | None, before: JobView | None = None) -> JobView:
    """Return the view of one job that has left the queue. `before`: how it was last seen there."""
    facts = past.facts or Ended(state=past.state)
    user = owner.user if owner else before.user if before else past.user
    return JobView(
        attempt=attempt,
        user=user,
        server=owner.server if owner else before.server if before else "",
        state=job_state(facts.state),
        native_id=str(past.id),
        exit_code=facts.exit_code,
        started=past.started,
        record=owner.record if owner else before.record if before else None,
        ending=cause(facts, user=user),
    )


def last_run(runs: Iterable[Past], attempt: str, number: int, restarts: int) -> Past | None:
    """Return the last run of a job that waits again after so many restarts; None: accounting has no end of it yet.

    Accounting may know another job with the same id, from before or after slurmctld lost its state.
    """
    ours = (run for run in runs if run.id == number and attempt_of(run.name) == attempt)
    over = [run for run in ours if run.started and run.ended]
    return max(over, key=lambda run: run.started or 0.0) if len(over) >= restarts else None


def interruption(run: Past, *, user: str) -> Reason | None:
    """Return why a run ended that is followed by another; None: not known."""
    if run.state == "REQUEUED":
        return Reason(code="requeued", message="It was put back into the queue on request.")
    return cause(Ended(state=run.state, nodes=run.node), user=user)


def facts_of(job: Job) -> Ended:
    """Return what slurmctld itself knows of a job's end, which is less than accounting knows."""
    elapsed = job.ends - job.started if job.ends is not None and job.started is not None else None
    return Ended(
        state=job.state,
        code=job.exit_code,
        signal=job.signal,
        reason=job.reason,
        requested=job.memory,
        elapsed=elapsed,
        limit=job.limit,
        nodes=job.node,
    )


def exit_code(job: Job) -> int | None:
    """Return the exit code as a shell reports it."""
    return facts_of(job).exit_code


def _waiting(job: Job, places: Places, now: float, maintenance: Iterable[Reservation]) -> Waiting:
    place, of = places.get(job.id, (None, None))
    return waiting(
        job.reason,
        start=job.expected,
        position=place,
        of=of,
        partition=job.partition,
        qos=job.qos,
        account=job.account,
        now=now,
        limit=job.limit,
        maintenance=_next_maintenance(job, now, maintenance),
    )


def _next_maintenance(job: Job, now: float, maintenance: Iterable[Reservation]) -> float | None:
    """Return when the next maintenance begins that the job would run into; None: none is known."""
    end = now + job.limit if job.limit else float("inf")
    partitions = {"", *job.partition.split(",")}
    ahead = [one.start for one in maintenance if now < one.start < end and one.partition in partitions]
    return min(ahead, default=None)
