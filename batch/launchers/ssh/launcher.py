"""The cluster of kind `ssh`: the contract of a launcher, kept with a few requests to hosts.

Owns the order of steps that keeps an attempt from having two jobs. A place is chosen and saved by the controller before
anything is started; from the first start request on, the attempt is that host's, whose lock in the job's folder lets
through one process. Only an attempt whose requests never reached its host is placed again.
"""

import hashlib
import ipaddress
import re
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from batch.contract import (
    Change,
    JobSpec,
    JobState,
    JobView,
    LauncherError,
    Offer,
    PartReport,
    Resources,
    Updated,
    starter_spec,
)
from batch.launchers.ssh.answers import Started
from batch.launchers.ssh.catalog import offer_of
from batch.launchers.ssh.job_table import JobTable
from batch.launchers.ssh.kind import SshConfig
from batch.launchers.ssh.native_id import Place, parse
from batch.launchers.ssh.passes import PassMaker
from batch.launchers.ssh.placement import Share
from batch.launchers.ssh.pool import HostPool, Placed
from batch.launchers.ssh.records import seal_record
from batch.launchers.ssh.requests import TELL_ADMINS, HostRequests
from batch.launchers.ssh.setup import check_texts, setup_script, with_image
from batch.launchers.ssh.views import DIRECT
from batch.ssh.errors import SshError
from state.records.models import JobRef, Server
from state.records.ssh import SshPass

ACCOUNT: Final = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
ATTEMPT: Final = re.compile(r"[0-9a-f]{32}")
LOCK_FD: Final = 3
REPEAT_SECONDS: Final = 30.0
"""So often a job reports again that it is ready."""
GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL for a job whose own grace is not on its host."""


class SshLauncher:
    """See `batch.contract.Launcher`."""

    def __init__(
        self,
        cluster: str,
        config: SshConfig,
        hosts: HostRequests,
        *,
        key: bytes,
        starter: str,
        reserve: bool = True,
        clock: Callable[[], float] = time.time,
        endpoints: frozenset[str] = DIRECT,
        passes: PassMaker | None = None,
    ) -> None:
        """`key`: of the records' seal. `starter`: its text, of `batch.bundle`. `reserve`: see `HostPool`.

        `endpoints`: see `JobTable`. `passes`: None where gateways do not use SSH.
        """
        self._cluster = cluster
        self._config = config
        self._hosts = hosts
        self._key = key
        self._starter = starter.encode()
        self._digest = hashlib.sha256(self._starter).hexdigest()
        self._clock = clock
        self._passes = passes
        self._endpoints = endpoints
        self._table = JobTable(hosts, [host.name for host in config.host], key, clock, endpoints=endpoints)
        self._pool = HostPool(cluster, config, hosts, clock, reserve=reserve)

    # --- place and submit

    async def place(self, spec: JobSpec) -> JobRef | None:
        """See the contract."""
        placed = self._pool.placed.get(spec.attempt)
        if _place_in(spec.record) is not None and (placed is None or placed.touched):
            return spec.record.job
        _check_names(spec, self._config)
        _check_socket(spec, self._endpoints)
        placed = await self._pool.reserve(spec)
        return JobRef(cluster=self._cluster, native_id=str(placed.place))

    async def submit(self, spec: JobSpec) -> JobRef:
        """See the contract. One request to the host; two when it does not have this version's starter yet."""
        _check_names(spec, self._config)
        place = _place_in(spec.record)
        if place is None:
            ref = await self.place(spec)
            place = parse(ref.native_id) if ref is not None else None
        if place is None or self._pool.host(place.host) is None:
            raise LauncherError("The host of this server is not in the pool any more.", transient=False, code="host")
        await self._pool.check_account(place)
        share = await self._share(spec, place)
        request = self._request(spec, place, share)
        placed = self._pool.placed.get(spec.attempt)
        self._pool.placed[spec.attempt] = Placed(user=spec.user, place=place, share=share, touched=True)
        try:
            started = await self._hosts.start(place, request)
            if started.need:
                started = await self._hosts.start(place, request, self._starter)
        except LauncherError as error:
            self._pool.forget_load(place.host)
            if placed is not None and isinstance(error.__cause__, SshError) and not error.__cause__.started:
                self._pool.placed[spec.attempt] = placed  # as untouched as it was
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
        host = self._pool.host(place.host)
        assert host is not None  # checked by the caller
        check_texts(spec)
        text = starter_spec(
            with_image(spec),
            folder,
            lock_fd=LOCK_FD,
            repeat=REPEAT_SECONDS,
            address=own_address(host.address),
            inherit=True,
            guard=True,
            prune=True,
        )
        return {
            "attempt": spec.attempt,
            "starter": self._digest,
            "spec": text.decode(),
            "record": seal_record(self._key, spec.record),
            "label": share.label,
            "grace": spec.grace,
            "share": {"cores": share.cores, "memory": share.memory},
            "setup": setup_script(spec, folder=folder, python=self._config.python),
            "environment": gpu_environment(spec.resources, share),
        }

    async def _share(self, spec: JobSpec, place: Place) -> Share:
        """The share that the job got when it was placed; after a restart it is computed again, only for this host."""
        placed = self._pool.placed.get(spec.attempt)
        if placed is not None and placed.place.host == place.host:
            return placed.share
        look = await self._hosts.look(place.host, place.account, [spec.attempt])
        if spec.attempt in look.jobs and look.jobs[spec.attempt].job is not None:
            return Share()  # it was started: what it has stays
        return (await self._pool.reserve(spec, only=place.host)).share

    async def ssh_pass(self, server: Server, public_key: str) -> SshPass:
        """See `batch.contract.SshLogins`. Certificates are made for accounts of users alone."""
        place = _place_in(server)
        if self._passes is None or place is None or place.account != server.user:
            raise LauncherError("This server is not reached over SSH.", transient=False, code="way-in")
        if self._pool.host(place.host) is None:
            raise LauncherError("The host of this server is not in the pool any more.", transient=False, code="host")
        await self._pool.check_account(place)
        return await self._passes.make(place, public_key)

    # --- poll, cancel, catalog, close

    async def poll(self, known: Collection[Server] = ()) -> dict[str, JobView]:
        """See the contract."""
        views = await self._table.poll(known)
        running = {attempt for attempts in self._table.running.values() for attempt in attempts}
        self._pool.release(running, [attempt for attempt, view in views.items() if view.state.final])
        return views

    async def cancel(self, ref: JobRef | None, attempt: str) -> None:
        """See the contract. The host's program acts on the job of this attempt in this account's folder, or on none."""
        if not ATTEMPT.fullmatch(attempt):
            return
        view = self._table.view_of(attempt)
        if view is not None and view.state.final:
            return
        placed = self._pool.placed.pop(attempt, None)
        place = self._table.place_of(attempt) or (parse(ref.native_id) if ref is not None else None)
        if place is None and placed is not None:
            place = placed.place
        if place is None:
            await self._table.poll(())  # the job may run, unknown to us
            place = self._table.place_of(attempt)
        if place is None or self._pool.host(place.host) is None:
            return
        await self._hosts.stop(place, attempt, GRACE)

    async def update(self, change: Change) -> Updated:  # noqa: ARG002 - a job on a host runs at once
        """See the contract."""
        return Updated.NOT_WAITING

    async def catalog(self) -> Offer:
        """See the contract."""
        facts, silent = await self._pool.facts([host.name for host in self._config.host])
        return offer_of(self._cluster, facts, silent, time=self._clock())

    async def check(self) -> list[PartReport]:
        """See the contract: one report per host."""
        return await self._hosts.check_hosts()

    def troubles(self) -> list[PartReport]:
        """See the contract."""
        return self._hosts.troubles()

    async def close(self) -> None:
        """See the contract."""
        await self._hosts.close()


def own_address(address: str) -> str:
    """The address on which a starter listens, where the configuration has one and not a name; else `""`."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def gpu_environment(resources: Resources, share: Share) -> dict[str, str]:
    """What tells an app which GPUs are its own; nothing where the profile does not ask about GPUs."""
    if resources.gpus is None and not resources.gpu_type:
        return {}
    indexes = ",".join(map(str, share.gpus))
    variables = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
    return {**dict.fromkeys(variables, indexes), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _check_socket(spec: JobSpec, endpoints: frozenset[str]) -> None:
    """Refuse an app whose port is open to all users of its host, where gateways connect to sockets alone."""
    if "ssh-socket" in endpoints and spec.shared_node_port and any("{port}" in word for word in spec.command):
        message = "Apps on a port that is shared with the host cannot be reached over SSH."
        raise LauncherError(message, transient=False, code="way-in", hint=TELL_ADMINS)


def _place_in(record: Server) -> Place | None:
    return parse(record.job.native_id) if record.job is not None else None


def _check_names(spec: JobSpec, config: SshConfig) -> None:
    """Refuse what cannot be an account of a user's, before anything is asked of a host."""
    if not ATTEMPT.fullmatch(spec.attempt):
        raise LauncherError("The attempt's id is not 32 hex digits.", transient=False, code="attempt")
    if not ACCOUNT.fullmatch(spec.user) or spec.user in ("root", config.monitor_user):
        message = f"{spec.user!r} cannot be the name of a user's account on a host."
        raise LauncherError(message, transient=False, code="no-account", hint=TELL_ADMINS)
