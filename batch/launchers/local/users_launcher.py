"""Servers on this machine under their users' accounts: a pool of SSH hosts that is one host, reached without SSH.

Owns what differs from such a pool. The folder of a job, who may start it once, how it is found again and ended are
those of `batch.launchers.ssh`.
"""

import time
from collections.abc import Callable, Collection, Mapping

from msgspec.structs import replace

from batch.contract import JobSpec, JobView, Offer
from batch.launchers.local.account_hosts import AccountHosts
from batch.launchers.ssh.catalog import offer_of
from batch.launchers.ssh.kind import SshConfig
from batch.launchers.ssh.launcher import SshLauncher
from state.records.models import JobRef, Server


class UsersLauncher(SshLauncher):
    """See `batch.contract.Launcher`."""

    def __init__(
        self,
        cluster: str,
        pool: SshConfig,
        hosts: AccountHosts,
        *,
        key: bytes,
        starter: str,
        reserve: bool,
        node: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`reserve`: whether cores and memory are kept for a server. `node`: this machine's name, for users."""
        super().__init__(cluster, pool, hosts, key=key, starter=starter, reserve=reserve, clock=clock)
        self._accounts = hosts
        self._node = node
        self._expected: set[str] = set()
        self._missing: set[str] = set()

    async def place(self, spec: JobSpec) -> JobRef | None:
        """See the contract."""
        return await super().place(self._here(spec))

    async def submit(self, spec: JobSpec) -> JobRef:
        """See the contract."""
        return await super().submit(self._here(spec))

    async def poll(self, known: Collection[Server] = ()) -> dict[str, JobView]:
        """See the contract. /proc is read once; a process per account looks at jobs that are not settled."""
        views = await super().poll(known)
        final = {attempt for attempt, view in views.items() if view.state.final}
        await self._accounts.limits.tidy(final | self._lost(known, views))
        return {attempt: replace(view, node=self._node) for attempt, view in views.items()}

    def _lost(self, known: Collection[Server], views: Mapping[str, JobView]) -> set[str]:
        """Return the jobs that two polls in a row have not found: their users have damaged their folders."""
        expected = self._expected | {server.attempt for server in known if server.job is not None}
        missing = expected - views.keys()
        lost = missing & self._missing
        self._missing, self._expected = missing, {*views, *missing} - lost
        return lost

    async def catalog(self) -> Offer:
        """See the contract."""
        facts, silent = await self._pool.facts([self._cluster])
        return offer_of(self._cluster, facts, silent, time=self._clock(), kind="local", pool=False)

    def _here(self, spec: JobSpec) -> JobSpec:
        """The spec for this machine by its name, so that messages name it."""
        return replace(spec, resources=replace(spec.resources, partition=self._cluster))
