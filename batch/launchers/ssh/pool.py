"""The hosts of a pool as places for jobs: what each has left, who waits for room, and which place a job gets.

Owns the reservations between a placement and the moment when the host itself shows the job, and the order of waiting
jobs. Does not start anything.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from msgspec import Struct

from batch.contract import JobSpec, LauncherError, Resources
from batch.launchers.ssh.answers import Account, HostResources, gpu_of
from batch.launchers.ssh.kind import SshConfig, SshHostConfig
from batch.launchers.ssh.native_id import Place
from batch.launchers.ssh.placement import Choice, HostFacts, Share, choose, in_turn, share_of
from batch.launchers.ssh.requests import TELL_ADMINS, HostRequests

PATIENCE_SECONDS: Final = 3.0
"""How long a placement waits for hosts that are slow to answer."""
FRESH_SECONDS: Final = 5.0
"""How old what is known of a host's load may be for a placement."""
ACCOUNT_SECONDS: Final = 60.0
NOBODY: Final = frozenset({65534, 65535, 2**32 - 2, 2**32 - 1})
"""What kernels and NFS give to files of accounts that they do not know."""
TURN_SECONDS: Final = 90.0
"""One who waits and has not asked again for so long has given up: the controller asks every 30 s at least."""


class Placed(Struct, frozen=True, kw_only=True):
    """A job that has its place. `touched`: a start request may have reached the host."""

    user: str
    place: Place
    share: Share
    touched: bool = False


class Waiting(Struct, frozen=True, kw_only=True):
    """A job for which there was no room. `requested`: when its user asked; `seen`: when the hub last tried."""

    requested: float
    seen: float
    resources: Resources


class HostPool:
    """See the module."""

    def __init__(
        self,
        cluster: str,
        config: SshConfig,
        hosts: HostRequests,
        clock: Callable[[], float] = time.time,
        *,
        reserve: bool = True,
    ) -> None:
        """`reserve`: whether cores and memory that a job was given are kept for it. GPUs always are."""
        self._cluster = cluster
        self._config = config
        self._hosts = hosts
        self._clock = clock
        self._reserve = reserve
        self._facts: dict[str, tuple[float, HostResources | LauncherError]] = {}
        self._accounts: dict[tuple[str, str], float] = {}
        self._waiting: dict[str, Waiting] = {}
        self._placing = asyncio.Lock()
        self.placed: dict[str, Placed] = {}

    def host(self, name: str) -> SshHostConfig | None:
        """The configuration of a host; None: it is not in the pool."""
        return next((host for host in self._config.host if host.name == name), None)

    def forget_load(self, host: str) -> None:
        """Something went wrong there: what is known of it is not so any more."""
        self._facts.pop(host, None)

    def release(self, running: Collection[str], over: Collection[str]) -> None:
        """Forget reservations of jobs that their hosts show, and of those that are over."""
        for attempt in [attempt for attempt in self.placed if attempt in running or attempt in over]:
            del self.placed[attempt]

    async def reserve(self, spec: JobSpec, *, only: str = "") -> Placed:
        """Choose a place for a job and reserve what it gets there. Raises LauncherError.

        `only`: the host where it may have been started by another controller.
        """
        async with self._placing:  # each sees what the others before it were given
            choice = await self._choose(spec, only)
            place = Place(account=spec.user, host=choice.host)
            placed = self.placed[spec.attempt] = Placed(
                user=spec.user, place=place, share=choice.share, touched=bool(only)
            )
        try:
            await self.check_account(place)
        except LauncherError:
            del self.placed[spec.attempt]
            raise
        return placed

    async def _choose(self, spec: JobSpec, only: str) -> Choice:
        facts, silent = await self.facts([only or spec.resources.partition], without=spec.attempt)
        self._check_user_limit(spec.user, facts)
        if only:
            facts = [one for one in facts if one.name == only]
            silent = {host: why for host, why in silent.items() if host == only}
        now, requested = self._clock(), spec.record.requested
        earlier = sorted(
            (one.requested, one.resources)
            for attempt, one in self._waiting.items()
            if attempt != spec.attempt and one.requested < requested and now - one.seen < TURN_SECONDS
        )
        facts = in_turn([resources for _, resources in earlier], facts, cluster=self._cluster)
        try:
            choice = choose(spec.resources, facts, silent=silent, cluster=self._cluster)
        except LauncherError as error:
            if error.transient:
                self._waiting[spec.attempt] = Waiting(requested=requested, seen=now, resources=spec.resources)
            raise
        self._waiting.pop(spec.attempt, None)
        return choice

    def _check_user_limit(self, user: str, facts: Iterable[HostFacts]) -> None:
        limit = self._config.servers_per_user
        count = sum(owner == user for host in facts for owner, _ in host.shares)
        if limit and count >= limit:
            raise LauncherError(
                f"You already have {count} server{'s' * (count > 1)} on {self._cluster}, the most for one user.",
                transient=False,
                code="limit",
                hint="Stop one of them first.",
            )

    # --- what is known of the hosts

    async def facts(self, needed: Collection[str], *, without: str = "") -> tuple[list[HostFacts], dict[str, str]]:
        """(hosts that can be used, hosts that cannot → why). Only hosts in `needed` are waited for to the end."""
        tasks = {host.name: asyncio.ensure_future(self._resources(host.name)) for host in self._config.host}
        await asyncio.wait(tasks.values(), timeout=PATIENCE_SECONDS)
        found: list[HostFacts] = []
        silent: dict[str, str] = {}
        for host in self._config.host:
            task = tasks[host.name]
            if not task.done() and host.name not in needed:
                silent[host.name] = f"{host.name} has not answered yet."
                continue
            answer = await task
            if isinstance(answer, LauncherError):
                silent[host.name] = str(answer)
            else:
                found.append(self._facts_of(host, answer, without))
        return found, silent

    async def _resources(self, host: str) -> HostResources | LauncherError:
        held = self._facts.get(host)
        if held is not None and self._clock() - held[0] < FRESH_SECONDS:
            return held[1]
        try:
            answer: HostResources | LauncherError = await self._hosts.resources(host)
        except LauncherError as error:
            answer = error
        self._facts[host] = (self._clock(), answer)
        return answer

    def _facts_of(self, host: SshHostConfig, resources: HostResources, without: str) -> HostFacts:
        shown = {process.attempt for process in resources.jobs}
        shares = [
            (process.account, share_of(process.label)) for process in resources.jobs if process.attempt != without
        ]
        shares += [
            (placed.user, placed.share)
            for attempt, placed in self.placed.items()
            if placed.place.host == host.name and attempt not in shown and attempt != without
        ]
        if not self._reserve:
            shares = [(user, Share(gpus=share.gpus)) for user, share in shares]
        return HostFacts(
            name=host.name,
            cores=resources.cores,
            memory=resources.memory,
            memory_available=resources.memory_available if self._reserve else resources.memory,
            load=resources.load,
            gpus=tuple(gpu_of(raw) for raw in resources.gpus),
            shares=tuple(shares),
            max_servers=host.max_servers,
        )

    async def check_account(self, place: Place) -> None:
        """Make sure that the account is a user's, before a certificate for it is made. Raises LauncherError."""
        key = (place.host, place.account)
        if self._clock() - self._accounts.get(key, -ACCOUNT_SECONDS) < ACCOUNT_SECONDS:
            return
        account = await self._hosts.account(place.host, place.account)
        if not account.found:
            message = f"{place.host} has no account named {place.account}."
            raise LauncherError(message, transient=False, code="no-account", hint=TELL_ADMINS)
        if is_system_account(account, self._config.min_uid):
            message = f"The account {place.account} on {place.host} is a system account, which cannot have servers."
            raise LauncherError(message, transient=False, code="system-account", hint=TELL_ADMINS)
        self._accounts[key] = self._clock()


def is_system_account(account: Account, min_uid: int) -> bool:
    """Return whether an account is one of the system's own, which cannot have servers. Root always is."""
    return account.uid < max(min_uid, 1) or account.uid in NOBODY or account.gid == 0 or account.root_group
