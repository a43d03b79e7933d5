"""The launcher for clusters of kind `slurm`: the contract of a launcher, built on four operations of Slurm.

Owns the order of queries that keeps an attempt from having two jobs, what is remembered of jobs between polls, and what
follows when accounting does not answer. Does not know how Slurm is reached (`batch.launchers.slurm.client`), and
servers.

An attempt never has two jobs. A first submit queries nothing (its record was saved before, under the leader's fencing
token). A second one, after a lost answer or a crash, first looks for a job of that name, and once more after its own
submit: if two controllers do so at the same time, both see the same oldest job. If a submit of a fenced-off leader
arrives late, the younger job does not begin (`--dependency=singleton`), and the next poll cancels it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from batch.contract import Change, JobSpec, JobState, JobView, LauncherError, Offer, PartReport, Updated
from batch.launchers.slurm import comment
from batch.launchers.slurm.changes import changes
from batch.launchers.slurm.client import AccountingDisabledError, Client, JobGoneError, LoginSite, Past
from batch.launchers.slurm.comment import attempt_of
from batch.launchers.slurm.identity import Identity, identity_of, same_user
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.known import AccountingAnswer, Known, with_accounting
from batch.launchers.slurm.script import NAME_PREFIX, batch
from batch.launchers.slurm.states import job_state
from batch.launchers.slurm.view import Mine, Seals, interruption, last_run, ours, past_view, places, view
from state.offer.catalog import Reservation
from state.records.models import JobRef, Reason, Server

log = logging.getLogger("towpath.slurm")

KEEP_SECONDS: Final = 3600.0
"""How long an ended job stays in the answer."""
LATE_SECONDS: Final = 10.0
"""How far accounting may lag behind an end that slurmctld already shows."""
SETTLE_SECONDS: Final = 120.0
"""How long accounting is queried for details after an end that only slurmctld has shown."""
LOST_SECONDS: Final = 120.0
"""How long a job may be missing in both the queue and accounting before it counts as lost."""
AGAIN_SECONDS: Final = 3.0
"""How long a requeued job is shown as before while accounting has no record of its last run yet."""
PATIENCE_SECONDS: Final = 2.0
"""How long a poll waits for accounting."""
REST_SECONDS: Final = 30.0
"""How long accounting is not queried after it has failed to answer."""
MARGIN: Final = 60.0
"""Seconds by which the hub's clock and Slurm's may differ."""
IDENTITY_SECONDS: Final = 60.0
AT_ONCE: Final = 24
"""How many submits and cancels run at the same time."""
UNKNOWN_END: Final = Reason(
    code="ended",
    message="The job has ended. Slurm keeps no record of how.",
    hint="Start the server again.",
)


class SlurmLauncher:
    """See `batch.contract.Launcher`."""

    def __init__(
        self,
        cluster: str,
        config: SlurmConfig,
        client: Client,
        *,
        key: bytes,
        starter: str,
        offer: Callable[[], Awaitable[Offer]],
        nodes: LoginSite | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`key` seals the jobs' records. `starter`: its program text (`batch.bundle`). `offer` gathers the catalog.

        `nodes`: the login nodes over which Slurm is reached, which then know the accounts.
        """
        self._cluster = cluster
        self._config = config
        self._client = client
        self._key = key
        self._starter = starter
        self._offer = offer
        self._nodes = nodes
        self._clock = clock
        self._seals = Seals(key)
        self._known: dict[str, Known] = {}
        self._cancelled: set[str] = set()
        self._held: dict[str, float] = {}  # attempt → since when its requeued job is shown as before
        self._explained: dict[str, int] = {}  # attempt → how many restarts have a reason, or will never have one
        self._room = asyncio.Semaphore(AT_ONCE)
        self._identities: dict[str, tuple[float, Identity]] = {}
        self._maintenance: tuple[Reservation, ...] = ()  # as of the last catalog
        self._caught_up = False
        self._asking: asyncio.Future[AccountingAnswer] | None = None
        self._rest_until = 0.0

    # --- submit

    async def place(self, spec: JobSpec) -> JobRef | None:  # noqa: ARG002 - there is nothing to choose from
        """See the contract."""
        return None

    async def submit(self, spec: JobSpec) -> JobRef:
        """See the contract. One request to Slurm, or three when the attempt may have been submitted before."""
        identity = await self._identity(spec.user)
        job = batch(
            spec,
            identity,
            comment=comment.write(self._key, spec.record),
            starter=self._starter,
            python=self._config.python,
            node_folder=self._config.node_folder,
        )
        async with self._room:
            if spec.again and (found := await self._look_up(spec.attempt, spec.record.requested)) is not None:
                return self._ref(found)
            number = await self._client.submit(job, identity)
            if spec.again:
                number = await self._oldest(spec.attempt, number, identity)
        first = JobView(
            attempt=spec.attempt,
            user=spec.user,
            server=spec.server,
            state=JobState.QUEUED,
            native_id=str(number),
            record=spec.record,
        )
        self._known.setdefault(spec.attempt, Known(id=number, view=first, requested=spec.record.requested))
        return self._ref(number)

    async def _look_up(self, attempt: str, requested: float) -> int | None:
        """Return the number of the attempt's job, running or ended. Raises when Slurm cannot say."""
        name = NAME_PREFIX + attempt
        mine = ours(await self._client.jobs(name), Seals(self._key)).get(attempt)
        if mine is not None:
            return mine.job.id
        try:
            pasts = await self._client.past(name=name, since=requested - KEEP_SECONDS)
        except AccountingDisabledError:
            return None
        return min((past.id for past in pasts if past.name == name), default=None)

    async def _oldest(self, attempt: str, number: int, identity: Identity) -> int:
        """Return the oldest job of this attempt. The new job is cancelled if it is not the oldest."""
        mine = ours(await self._client.jobs(NAME_PREFIX + attempt), Seals(self._key)).get(attempt)
        if mine is None or mine.job.id == number:
            return number
        log.warning("Cancelling a duplicate job: attempt=%s job=%d kept=%d", attempt, number, mine.job.id)
        await self._client.cancel(number, NAME_PREFIX + attempt, identity)
        return mine.job.id

    # --- poll

    async def poll(self, known: Collection[Server] = ()) -> dict[str, JobView]:  # noqa: ARG002 - jobs are listed here
        """See the contract. One request to slurmctld, and one to accounting if jobs have ended since the last poll."""
        before = dict(self._known)
        rows = await self._client.jobs()
        mine = ours(rows, self._seals, {attempt: known.id for attempt, known in before.items()})
        self._seals.keep(mine.values())
        now = self._clock()
        where = places(rows)
        seen = {attempt: view(one, where, now=now, maintenance=self._maintenance) for attempt, one in mine.items()}
        missing = [
            attempt
            for attempt, known in before.items()
            if attempt not in mine and not (known.view.state.final and self._is_settled(attempt))
        ]
        ended = [attempt for attempt, one in seen.items() if one.state.final and not self._is_settled(attempt)]
        answer = await self._accounting([*missing, *ended], mine, before)
        seen |= await self._interrupted(seen, before)
        for attempt, one in seen.items():
            self._note(attempt, mine[attempt], one, answer, now)
        sees_others = self._client.user == "root" or any(row.user != self._client.user for row in rows)
        ids = {row.id for row in rows}
        for attempt in missing:
            reused = before[attempt].id in ids
            self._miss(attempt, before[attempt], answer, now, sees_others=sees_others, reused=reused)
        self._remember(answer, mine, now)
        self._forget(mine.keys(), now)
        await self._cancel_doubles(mine.values())
        return {attempt: known.view for attempt, known in self._known.items()}

    async def _interrupted(self, seen: Mapping[str, JobView], before: Mapping[str, Known]) -> dict[str, JobView]:
        """Return the views of requeued jobs with the reason; until accounting has it, they are shown as before."""
        again = {
            attempt: before[attempt]
            for attempt, one in seen.items()
            if one.state is JobState.QUEUED and attempt in before and one.restarts > self._explained.get(attempt, 0)
        }
        now = self._clock()
        self._held = {attempt: self._held.get(attempt, now) for attempt in again}
        runs = await self._runs(again.values()) if again and self._rest_until <= now else None
        views = {}
        for attempt, known in again.items():
            run = last_run(runs or (), attempt, known.id, seen[attempt].restarts)
            if run is None and runs is not None and now - self._held[attempt] < AGAIN_SECONDS:
                views[attempt] = replace(known.view, unsure=True)
                continue
            self._explained[attempt] = seen[attempt].restarts
            if run is not None:
                views[attempt] = replace(seen[attempt], ending=interruption(run, user=known.view.user))
        return views

    async def _runs(self, jobs: Iterable[Known]) -> list[Past] | None:
        """Return all runs of these jobs; None: accounting does not answer, or not soon enough."""
        requested = {known.id: known.requested for known in jobs}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._client.past(ids=list(requested), since=min(requested.values()) - MARGIN, runs=True)
        except (LauncherError, AccountingDisabledError, TimeoutError):
            return None

    def _is_settled(self, attempt: str) -> bool:
        """Return whether the end needs no query: it is reported already, too long ago, or the hub cancelled the job."""
        known = self._known.get(attempt)
        if attempt in self._cancelled or known is None or not known.view.state.final:
            return attempt in self._cancelled
        return known.settled or self._clock() - known.since > SETTLE_SECONDS

    async def _accounting(
        self, attempts: Sequence[str], mine: Mapping[str, Mine], before: Mapping[str, Known]
    ) -> AccountingAnswer:
        """Return what accounting knows of these jobs, and the first time of all jobs that ended lately.

        Sends at most one request, and waits for it only briefly: a slow database must not delay the view of the
        queue. Its answer is read in a later poll.
        """
        now, patience = self._clock(), 0.0
        if self._asking is None:
            patience = PATIENCE_SECONDS
            if self._rest_until > now or (self._caught_up and not attempts):
                return AccountingAnswer()
            known = {one: (mine[one].job.id, mine[one].owner.record.requested) for one in attempts if one in mine}
            known |= {one: (before[one].id, before[one].requested) for one in attempts if one not in mine}
            self._asking = asyncio.ensure_future(self._ask_accounting(known if self._caught_up else None))
        await asyncio.wait([self._asking], timeout=patience)
        if not self._asking.done():
            return AccountingAnswer(pending=True)
        asking, self._asking = self._asking, None
        try:
            answer = asking.result()
        except LauncherError as error:
            log.warning("The accounting of %s does not answer: %s", self._cluster, error)
            self._rest_until = self._clock() + REST_SECONDS
            return AccountingAnswer()
        self._caught_up = True
        return answer

    async def _ask_accounting(self, known: Mapping[str, tuple[int, float]] | None) -> AccountingAnswer:
        """Query accounting. `known`: attempt → id and time of the request; None: all jobs that ended lately."""
        try:
            if known is None:
                pasts = await self._client.past(since=self._clock() - KEEP_SECONDS)
            else:
                since = min(at for _, at in known.values()) - MARGIN
                pasts = await self._client.past(ids=[number for number, _ in known.values()], since=since)
        except AccountingDisabledError:
            return AccountingAnswer(attempts=None, disabled=True)
        found: dict[str, Past] = {}
        for past in sorted(pasts, key=lambda past: past.id, reverse=True):
            if attempt := attempt_of(past.name):
                found[attempt] = past
        return AccountingAnswer(pasts=found, attempts=None if known is None else frozenset(known), whole=known is None)

    def _note(self, attempt: str, mine: Mine, seen: JobView, answer: AccountingAnswer, now: float) -> None:
        """Note a job that the queue lists."""
        known = self._known.get(attempt)
        number = mine.job.id
        over = known is not None and known.view.state.final and seen.state.final
        if over and self._is_settled(attempt):
            return
        since = (known.since if known is not None else 0.0) or now
        settled = answer.disabled
        if seen.state.final and attempt not in self._cancelled:
            past = answer.pasts.get(attempt)
            if past is not None and past.id == number and past.facts is not None:
                seen, settled = with_accounting(seen, past_view(past, attempt, mine.owner)), True
            elif over and not settled:
                return
            elif not over and answer.may_follow(attempt) and now - since < LATE_SECONDS:
                seen = replace(seen, state=JobState.ACTIVE, exit_code=None, ending=None, unsure=True)
                self._known[attempt] = Known(
                    id=number, view=seen, requested=mine.owner.record.requested, seen=True, since=since
                )
                return
        at = 0.0 if not seen.state.final else since if over else now
        seen = replace(seen, unsure=seen.state.final and not settled and attempt not in self._cancelled)
        self._known[attempt] = Known(
            id=number, view=seen, requested=mine.owner.record.requested, seen=True, since=at, settled=settled
        )

    def _miss(
        self, attempt: str, known: Known, answer: AccountingAnswer, now: float, *, sees_others: bool, reused: bool
    ) -> None:
        """Note a job that the queue does not list any more.

        slurmctld forgets jobs that have ended, and jobs that it had not saved when it was killed. `sees_others`:
        whether Slurm shows the hub jobs of other users, so that a job which was never seen is not only hidden from it.
        `reused`: whether another job has its id, so that slurmctld cannot have this job any more.
        """
        past, over = answer.pasts.get(attempt), known.view.state.final
        if past is not None and past.facts is not None:
            full = past_view(past, attempt, None, known.view)
            view, since = (
                (replace(with_accounting(known.view, full), unsure=False), known.since) if over else (full, now)
            )
            self._known[attempt] = Known(
                id=past.id, view=view, requested=known.requested, seen=True, since=since, settled=True
            )
        elif over:
            return
        elif answer.disabled:
            view = replace(known.view, state=JobState.FAILED, waiting=None, ending=UNKNOWN_END)
            self._known[attempt] = Known(
                id=known.id, view=view, requested=known.requested, seen=True, since=now, settled=True
            )
        elif answer.covers(attempt):
            since = known.since or now
            if not known.seen and not sees_others and now - since > LATE_SECONDS:
                raise LauncherError(
                    "Slurm does not show the hub other users' jobs (PrivateData in slurm.conf).",
                    transient=True,
                    code="private-data",
                    hint="Tell the hub's admins: the hub's account must be a Slurm operator.",
                )
            if reused or now - since > LOST_SECONDS:
                del self._known[attempt]
            else:
                doubted = replace(known.view, unsure=True)
                self._known[attempt] = Known(
                    id=known.id, view=doubted, requested=known.requested, seen=known.seen, since=since
                )
        else:
            known.view = replace(known.view, unsure=True)

    def _remember(self, answer: AccountingAnswer, mine: Mapping[str, Mine], now: float) -> None:
        """Note, at the start, the jobs that ended within the last hour and that slurmctld has forgotten."""
        if not answer.whole:
            return
        for attempt, past in answer.pasts.items():
            if attempt in mine or attempt in self._known or past.facts is None:
                continue
            owner = self._seals.owner(attempt, past.comment) if past.comment else None
            if past.comment and (owner is None or not same_user(past.user, owner.user)):
                continue  # a job of another hub, or a copy of ours
            ended = past_view(past, attempt, owner)
            self._known[attempt] = Known(
                id=past.id, view=ended, requested=now, seen=True, since=past.ended or now, settled=True
            )

    def _forget(self, present: Collection[str], now: float) -> None:
        for attempt, known in list(self._known.items()):
            if attempt not in present and known.view.state.final and now - known.since > KEEP_SECONDS:
                del self._known[attempt]
            elif known.view.state.final and known.view.unsure and self._is_settled(attempt):
                known.view = replace(known.view, unsure=False)
        self._cancelled &= self._known.keys()
        self._explained = {attempt: count for attempt, count in self._explained.items() if attempt in self._known}

    async def _cancel_doubles(self, mine: Iterable[Mine]) -> None:
        for one in mine:
            for job in one.doubles:
                if job_state(job.state).final:
                    continue
                log.warning("Cancelling a duplicate job: attempt=%s job=%d kept=%d", one.attempt, job.id, one.job.id)
                try:
                    await self._client.cancel(job.id, job.name, await self._identity(one.owner.user))
                except LauncherError as error:
                    log.warning("Cannot cancel a duplicate job: attempt=%s job=%d: %s", one.attempt, job.id, error)

    # --- cancel, catalog, close

    async def cancel(self, ref: JobRef | None, attempt: str) -> None:  # noqa: ARG002  (a hint that is not needed)
        """See the contract. The id is from the last poll; the request also names the job and its account."""
        known = self._known.get(attempt)
        if known is None:
            mine = ours(await self._client.jobs(NAME_PREFIX + attempt), Seals(self._key)).get(attempt)
            if mine is None or job_state(mine.job.state).final:
                return
            number, user = mine.job.id, mine.owner.user
        elif known.view.state.final:
            return
        else:
            number, user = known.id, known.view.user
        identity = await self._identity(user)
        async with self._room:
            await self._client.cancel(number, NAME_PREFIX + attempt, identity)
        self._cancelled.add(attempt)

    async def update(self, change: Change) -> Updated:
        """See the contract. The job is looked up by its name and seal right before."""
        options = changes(change.before, change.after)
        mine = ours(await self._client.jobs(NAME_PREFIX + change.attempt), Seals(self._key)).get(change.attempt)
        if mine is None or mine.job.state != "PENDING":
            return Updated.NOT_WAITING
        if options is None:
            return Updated.IMPOSSIBLE
        identity = await self._identity(change.user)
        options = (*options, ("comment", comment.write(self._key, change.record)))
        async with self._room:
            try:
                done = await self._client.update(mine.job.id, mine.job.name, options, identity)
            except JobGoneError:
                return Updated.NOT_WAITING
            except LauncherError as error:
                if error.code == "denied":  # 22.05 to 26.05 let a user change less than they may submit
                    return Updated.IMPOSSIBLE
                raise
        return Updated.DONE if done else Updated.IMPOSSIBLE

    async def catalog(self) -> Offer:
        """See the contract."""
        offer = await self._offer()
        self._maintenance = tuple(one for one in offer.catalog.reservations if one.maintenance)
        return offer

    async def check(self) -> Sequence[PartReport]:
        """See the contract: one report for each login node."""
        return () if self._nodes is None else await self._nodes.check()

    def troubles(self) -> Sequence[PartReport]:
        """See the contract."""
        return () if self._nodes is None else self._nodes.troubles()

    async def close(self) -> None:
        """See the contract."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._client.close()

    # --- small things

    async def _identity(self, user: str) -> Identity:
        now = self._clock()
        held = self._identities.get(user)
        if held is None or now - held[0] > IDENTITY_SECONDS:
            if self._nodes is not None:
                found = await self._nodes.identity(user)
            else:
                found = await asyncio.to_thread(identity_of, user, min_uid=self._config.min_uid)
            held = self._identities[user] = (now, found)
        return held[1]

    def _ref(self, number: int) -> JobRef:
        return JobRef(cluster=self._cluster, native_id=str(number))
