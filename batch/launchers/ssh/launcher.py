"""The cluster of kind `ssh`: the contract of a launcher, kept with a few requests to hosts.

Owns the order of steps that keeps an attempt from having two jobs. A place is chosen and saved by the controller before
anything is started; from the first start request on, the attempt is that host's, whose lock in the job's folder lets
through one process. Only an attempt of which no request has reached its host is placed anew.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from msgspec import Struct

from batch.contract import JobSpec, JobState, JobView, LauncherError, Offer, starter_spec
from batch.launchers.ssh.catalog import offer_of
from batch.launchers.ssh.hosts import TELL_ADMINS, Hosts, Resources, Started, gpu_of
from batch.launchers.ssh.job_table import JobTable
from batch.launchers.ssh.native_id import Place, parse
from batch.launchers.ssh.placement import Choice, HostFacts, Share, choose, share_of
from batch.launchers.ssh.records import seal_record
from batch.ssh.errors import SshError
from state.config.tables import SshConfig
from state.records.models import JobRef, Server

ACCOUNT: Final = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
ATTEMPT: Final = re.compile(r"[0-9a-f]{32}")
LOCK_FD: Final = 3
REPEAT_SECONDS: Final = 30.0
"""So often a job reports again that it is ready."""
PATIENCE_SECONDS: Final = 3.0
"""How long a placement waits for hosts that are slow to answer."""
FRESH_SECONDS: Final = 5.0
"""How old what is known of a host's load may be for a placement."""
ACCOUNT_SECONDS: Final = 60.0
GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL for a job whose own grace is not on its host."""


class Placed(Struct, frozen=True, kw_only=True):
    """A job that has its place. `touched`: a start request may have reached the host."""

    user: str
    place: Place
    share: Share
    touched: bool = False


class SshLauncher:
    """See `batch.contract.Launcher`."""

    def __init__(
        self,
        cluster: str,
        config: SshConfig,
        hosts: Hosts,
        *,
        key: bytes,
        starter: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`key`: of the records' seal. `starter`: its text, of `batch.bundle`."""
        self._cluster = cluster
        self._config = config
        self._hosts = hosts
        self._key = key
        self._starter = starter.encode()
        self._digest = hashlib.sha256(self._starter).hexdigest()
        self._clock = clock
        self._table = JobTable(hosts, [host.name for host in config.host], key, clock)
        self._placed: dict[str, Placed] = {}
        self._facts: dict[str, tuple[float, Resources | LauncherError]] = {}
        self._accounts: dict[tuple[str, str], float] = {}
        self._placing = asyncio.Lock()

    # --- place and submit

    async def place(self, spec: JobSpec) -> JobRef | None:
        """See the contract."""
        place = _place_in(spec.record)
        placed = self._placed.get(spec.attempt)
        if place is not None and (placed is None or placed.touched):
            return spec.record.job
        _check_names(spec, self._config)
        async with self._placing:  # each sees what the others before it were given
            choice = await self._choose(spec)
            chosen = Place(account=spec.user, host=choice.host)
            self._placed[spec.attempt] = Placed(user=spec.user, place=chosen, share=choice.share)
        try:
            await self._check_account(chosen)
        except LauncherError:
            del self._placed[spec.attempt]
            raise
        return JobRef(cluster=self._cluster, native_id=str(chosen))

    async def submit(self, spec: JobSpec) -> JobRef:
        """See the contract. One request to the host; two when it does not have this version's starter yet."""
        _check_names(spec, self._config)
        place = _place_in(spec.record)
        if place is None:
            ref = await self.place(spec)
            place = parse(ref.native_id) if ref is not None else None
        if place is None or place.host not in {host.name for host in self._config.host}:
            raise LauncherError("The host of this server is not in the pool any more.", transient=False, code="host")
        await self._check_account(place)
        share = await self._share(spec, place)
        request = self._request(spec, place, share)
        placed = self._placed.get(spec.attempt)
        reached = Placed(user=spec.user, place=place, share=share, touched=True)
        self._placed[spec.attempt] = reached
        try:
            started = await self._hosts.start(place, request)
            if started.need:
                started = await self._hosts.start(place, request, self._starter)
        except LauncherError as error:
            self._facts.pop(place.host, None)
            if placed is not None and isinstance(error.__cause__, SshError) and not error.__cause__.started:
                self._placed[spec.attempt] = placed  # as untouched as it was
            raise
        return self._note(spec, place, started)

    def _note(self, spec: JobSpec, place: Place, started: Started) -> JobRef:
        job = started.job or {}
        pid, start = job.get("pid"), job.get("start")
        if isinstance(pid, int) and isinstance(start, int):
            place = Place(account=place.account, host=place.host, pid=pid, start=start)
        view = JobView(
            attempt=spec.attempt,
            user=spec.user,
            server=spec.server,
            state=JobState.ACTIVE if started.job is not None else JobState.QUEUED,
            native_id=str(place),
            node=place.host,
        )
        self._table.submitted(place, view)
        return JobRef(cluster=self._cluster, native_id=str(place))

    def _request(self, spec: JobSpec, place: Place, share: Share) -> dict[str, Any]:
        folder = f"{self._config.folder.rstrip('/')}/jobs/{spec.attempt}"
        host = next(host for host in self._config.host if host.name == place.host)
        text = starter_spec(
            spec, folder, lock_fd=LOCK_FD, repeat=REPEAT_SECONDS, address=own_address(host.address), inherit=True
        )
        return {
            "attempt": spec.attempt,
            "starter": self._digest,
            "spec": text.decode(),
            "record": seal_record(self._key, spec.record),
            "label": share.label,
            "grace": spec.grace,
            "environment": gpu_environment(share),
        }

    async def _share(self, spec: JobSpec, place: Place) -> Share:
        """What the job was given when it got its place; after a restart it is worked out anew, for this host alone."""
        placed = self._placed.get(spec.attempt)
        if placed is not None and placed.place.host == place.host:
            return placed.share
        look = await self._hosts.look(place.host, place.account, [spec.attempt])
        if spec.attempt in look.jobs and look.jobs[spec.attempt].job is not None:
            return Share()  # it was started: what it has stays
        async with self._placing:
            choice = await self._choose(spec, only=place.host)
            self._placed[spec.attempt] = Placed(user=spec.user, place=place, share=choice.share, touched=True)
        return choice.share

    # --- choosing a host

    async def _choose(self, spec: JobSpec, *, only: str = "") -> Choice:
        facts, silent = await self._all_facts([only or spec.resources.partition], without=spec.attempt)
        self._check_user_limit(spec.user, facts)
        asked = spec.resources
        if only:
            facts, silent = (
                [one for one in facts if one.name == only],
                {host: why for host, why in silent.items() if host == only},
            )
        return choose(asked, facts, silent=silent, cluster=self._cluster)

    def _check_user_limit(self, user: str, facts: Collection[HostFacts]) -> None:
        limit = self._config.servers_per_user
        count = sum(owner == user for host in facts for owner, _ in host.shares)
        if limit and count >= limit:
            raise LauncherError(
                f"You already have {count} servers on {self._cluster}, which is the most that one user may have.",
                transient=False,
                code="limit",
                hint="Stop one of them first.",
            )

    async def _all_facts(self, wanted: Collection[str], without: str = "") -> tuple[list[HostFacts], dict[str, str]]:
        """(hosts that can be used, hosts that cannot → why). Only hosts in `wanted` are waited for to the end."""
        tasks = {host.name: asyncio.ensure_future(self._resources(host.name)) for host in self._config.host}
        await asyncio.wait(tasks.values(), timeout=PATIENCE_SECONDS)
        found: list[HostFacts] = []
        silent: dict[str, str] = {}
        for host in self._config.host:
            task = tasks[host.name]
            if not task.done() and host.name not in wanted:
                silent[host.name] = f"{host.name} has not answered yet."
                continue
            answer = await task
            if isinstance(answer, LauncherError):
                silent[host.name] = str(answer)
            else:
                found.append(self._facts_of(host.name, host.max_servers, answer, without))
        return found, silent

    async def _resources(self, host: str) -> Resources | LauncherError:
        held = self._facts.get(host)
        if held is not None and self._clock() - held[0] < FRESH_SECONDS:
            return held[1]
        try:
            answer: Resources | LauncherError = await self._hosts.resources(host)
        except LauncherError as error:
            answer = error
        self._facts[host] = (self._clock(), answer)
        return answer

    def _facts_of(self, name: str, max_servers: int, resources: Resources, without: str) -> HostFacts:
        shown = {process.attempt for process in resources.jobs}
        shares = [
            (process.account, share_of(process.label)) for process in resources.jobs if process.attempt != without
        ]
        shares += [
            (placed.user, placed.share)
            for attempt, placed in self._placed.items()
            if placed.place.host == name and attempt not in shown and attempt != without
        ]
        return HostFacts(
            name=name,
            cores=resources.cores,
            memory=resources.memory,
            memory_available=resources.memory_available,
            load=resources.load,
            gpus=tuple(gpu_of(raw) for raw in resources.gpus),
            shares=tuple(shares),
            max_servers=max_servers,
        )

    async def _check_account(self, place: Place) -> None:
        """Make sure that the account is a user's, before a certificate for it is made. Raises LauncherError."""
        key = (place.host, place.account)
        if self._clock() - self._accounts.get(key, -ACCOUNT_SECONDS) < ACCOUNT_SECONDS:
            return
        account = await self._hosts.account(place.host, place.account)
        if not account.found:
            words = f"{place.host} has no account named {place.account}."
            raise LauncherError(words, transient=False, code="no-account", hint=TELL_ADMINS)
        if account.uid < self._config.min_uid or account.gid == 0 or account.root_group:
            words = f"The account {place.account} on {place.host} is one of the system's."
            raise LauncherError(words, transient=False, code="system-account", hint=TELL_ADMINS)
        self._accounts[key] = self._clock()

    # --- poll, cancel, catalog, close

    async def poll(self, known: Collection[Server] = ()) -> dict[str, JobView]:
        """See the contract."""
        views = await self._table.poll(known)
        self._release(views)
        return views

    def _release(self, views: dict[str, JobView]) -> None:
        """Forget placements of jobs that a scan shows, or that are over."""
        running = set().union(*self._table.running.values()) if self._table.running else set()
        for attempt in list(self._placed):
            view = views.get(attempt)
            if attempt in running or (view is not None and view.state.final):
                del self._placed[attempt]

    async def cancel(self, ref: JobRef | None, attempt: str) -> None:
        """See the contract. The host's program acts on the job of this attempt in this account's folder, or on none."""
        if not ATTEMPT.fullmatch(attempt):
            return
        view = self._table.view_of(attempt)
        if view is not None and view.state.final:
            return
        placed = self._placed.pop(attempt, None)
        place = self._table.place_of(attempt) or (parse(ref.native_id) if ref is not None else None)
        if place is None and placed is not None:
            place = placed.place
        if place is None:
            await self._table.poll(())  # the job may run, unknown to us
            place = self._table.place_of(attempt)
        if place is None or place.host not in {host.name for host in self._config.host}:
            return
        await self._hosts.stop(place, attempt, GRACE)

    async def catalog(self) -> Offer:
        """See the contract."""
        facts, silent = await self._all_facts([host.name for host in self._config.host])
        return offer_of(self._cluster, facts, silent, time=self._clock())

    async def close(self) -> None:
        """See the contract."""
        await self._hosts.close()


def own_address(address: str) -> str:
    """The address on which a starter listens, where the configuration names one."""
    return address if address.replace(".", "").replace(":", "").isalnum() and not address.isalpha() else ""


def gpu_environment(share: Share) -> dict[str, str]:
    """What tells an app which GPUs are its own."""
    indexes = ",".join(map(str, share.gpus))
    return {"CUDA_VISIBLE_DEVICES": indexes, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _place_in(record: Server) -> Place | None:
    return parse(record.job.native_id) if record.job is not None else None


def _check_names(spec: JobSpec, config: SshConfig) -> None:
    """Refuse what cannot be an account of a user's, before anything is asked of a host."""
    if not ATTEMPT.fullmatch(spec.attempt):
        raise LauncherError("The attempt's id is not 32 hex digits.", transient=False, code="attempt")
    if not ACCOUNT.fullmatch(spec.user) or spec.user in ("root", config.monitor_user):
        words = f"{spec.user!r} cannot be the name of a user's account on a host."
        raise LauncherError(words, transient=False, code="no-account", hint=TELL_ADMINS)
