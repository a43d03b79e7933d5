"""The contract between the controller and a kind of cluster.

Owns the vocabulary of both sides (PSI/J's JobSpec, Resources and JobState) and what each method of a Launcher
guarantees. Does not know the lifecycle of servers, or how a scheduler works.

Whose job it is: a native id (a job's number, a process id, a container's name) may belong to something else by the time
it is used. A scheduler that was killed before it saved its state assigns the same numbers again, and the kernel reuses
process ids. So whatever acts on a job (cancels, signals, changes or enters it) names the attempt together with the
native id in the same request, and the cluster itself compares the two where it can: `scancel --name`, a pidfd, a
container's label in the filter of the call. Where it cannot, the launcher reads the job's attempt right before it acts.
A mismatch means that the attempt has no such job. That is not an error, and the other job is not touched.

A package brings another kind of cluster by an entry point (`state.plugins.launchers`, docs/plug-ins.md). Its launcher
must pass the suite in `batch.contract_suite`.
"""

import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from state.offer.catalog import Catalog, Grants
from state.records.models import Endpoint, JobRef, Reason, Server, Waiting
from state.records.ssh import SshPass
from state.store import codecs


class JobState(StrEnum):
    """The state of a job (PSI/J). The last three are final."""

    NEW = "new"  # accepted by the launcher, but not yet by the scheduler: submitting again is safe and necessary
    QUEUED = "queued"
    ACTIVE = "active"
    COMPLETED = "completed"  # ended with exit code 0
    FAILED = "failed"
    CANCELED = "canceled"  # ended by request

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)


class Resources(Struct, frozen=True, kw_only=True):
    """What a job requests.

    None and `""` mean the cluster's default. `walltime` is in seconds, `memory` in bytes per node.

    `gpus` are per node. `signal`: seconds before the time limit at which the starter gets SIGUSR1 (sbatch:
    `--signal=B:USR1@SECONDS`); 0: no warning. `warning_signal`: the signal that the app gets then, such as `USR1`;
    `""`: none. `more`: further options of the scheduler by long name, from the launcher's allow-list.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    constraint: str = ""
    gpu_type: str = ""
    gpus: int | None = None
    cores: int | None = None
    memory: int | None = None
    walltime: int | None = None
    nodes: int | None = None
    signal: int = 0
    warning_signal: str = ""
    more: tuple[tuple[str, str], ...] = ()


class Setup(Struct, frozen=True, kw_only=True):
    """What makes the app available on the node (see `state.config.tables.SetupConfig`)."""

    modules: tuple[str, ...] = ()
    prologue: str = ""
    conda: str = ""
    venv: str = ""
    image: str = ""
    binds: tuple[str, ...] = ()


class Passport(Struct, frozen=True, kw_only=True):
    """The credentials of a job on another machine, as PEM text: see `batch.authority`.

    `certificate` and `key` are the server's, for the name `name`. `authority` issued the gateway's client certificate
    and that of the hub's listener for reports.
    """

    name: str
    certificate: str
    key: str
    authority: str

    def __repr__(self) -> str:
        return f"Passport(name={self.name!r})"


class JupyterHub(Struct, frozen=True, kw_only=True):
    """What a stock Jupyter server is told about the hub (`batch.starter.jupyter_config`).

    `prefix`: the path of the hub's pages; `host`: their origin, if the server has another. `user` and
    `server` name the server.
    """

    prefix: str
    host: str
    user: str
    server: str


class JobSpec(Struct, frozen=True, kw_only=True):
    """Everything that is needed to run one attempt of one server. Contains secrets: never log it or put it in an argv.

    `record` is the server as saved before the submit. A launcher stores it with the job and returns it in
    `JobView.record`, so that servers can be restored after a loss of Redis. `secrets` are removed from every log tail.
    `start_window` and `grace` (between SIGTERM and SIGKILL) are in seconds. `environment` is that of the app, without
    what depends on the account (HOME, USER, ...) where the job runs as its user. `passport`: for clusters whose jobs
    run on other machines; the starter then accepts only the gateway. `way_in`: how gateways reach the app
    (`state.plugins.launchers`). `ports`: the first and the last that `direct` may listen on; None: any. `again`: this
    attempt may have been submitted before; False guarantees that it was not. `shared_node_port`: an app whose command
    contains {port} may listen on a port that every user of the node can reach. `jupyter`: for a stock Jupyter server,
    which the starter also asks about its user's activity. `ssh`: whether the user may connect to the job by SSH.
    """

    attempt: str
    user: str
    server: str
    command: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    base_path: str
    hub_urls: tuple[str, ...]
    report_token: str
    secrets: tuple[str, ...]
    start_window: float
    record: Server
    shared_node_port: bool = False
    jupyter: JupyterHub | None = None
    ssh: bool = False
    grace: float = 10.0
    resources: Resources = Resources()
    setup: Setup = Setup()
    passport: Passport | None = None
    way_in: str = ""
    ports: tuple[int, int] | None = None
    again: bool = True

    def __repr__(self) -> str:
        return f"JobSpec(attempt={self.attempt!r}, user={self.user!r}, server={self.server!r})"


class Updated(StrEnum):
    """What has become of a change (`Launcher.update`)."""

    DONE = "done"
    NOT_WAITING = "not-waiting"  # no job of this attempt waits: it runs, has ended, or is not there
    IMPOSSIBLE = "impossible"  # it waits as before: only a new job can ask for this


class Change(Struct, frozen=True, kw_only=True):
    """Another request for the job of an attempt. `before`: what it asks for now; `after`: what it shall ask for.

    `record`: the server with the new choices, in place of the one that the job carries.
    """

    attempt: str
    user: str
    before: Resources
    after: Resources
    record: Server


class Report(Struct, frozen=True, kw_only=True):
    """The starter's last report (docs/architecture.md). `kind`: ready, ended or failed."""

    kind: str
    attempt: str
    time: float = 0.0
    endpoint: Endpoint | None = None
    exit_code: int | None = None
    log_tail: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""


class JobView(Struct, frozen=True, kw_only=True):
    """One job as its cluster shows it. `reason`: the scheduler's own code (may be empty).

    `started` and `deadline`: seconds since the epoch, None while unknown. `report`: if the launcher can read the job's
    folder. `record`: if the job carries it. `waiting`: why a queued job waits, if the scheduler says so. `node`: where
    it runs. `ending`: the cause of an ended job's end, if the scheduler knows one (out of memory, time limit, ...), or
    that of the last run of a requeued job; it has no log tail. `restarts`: how often the scheduler has requeued it; 0
    while unknown. `unsure`: the next poll will know more, such as how the job ended, and should come soon. `silent`: a
    message that the job's host does not answer; the rest of the view is then the last known state, and nothing follows
    from it. `note`: a message for the user about where the job runs. `suspended`: the job has its nodes, but its
    processes are stopped for a while, so that the app does not respond.
    """

    attempt: str
    user: str
    server: str
    state: JobState
    native_id: str = ""
    reason: str = ""
    exit_code: int | None = None
    started: float | None = None
    deadline: float | None = None
    report: Report | None = None
    record: Server | None = None
    waiting: Waiting | None = None
    node: str = ""
    ending: Reason | None = None
    restarts: int = 0
    unsure: bool = False
    suspended: bool = False
    silent: str = ""
    note: str = ""


class LauncherError(Exception):
    """A method failed. `str` is a message for the user; `transient`: the same call may succeed later.

    `code` is stable and for programs; `hint` says what the user can do. `field`: the kind of option that the error is
    about (`partition`, `account`, ...), so that it can be shown next to it.
    """

    def __init__(
        self, message: str, *, transient: bool, code: str = "cluster", hint: str = "", field: str = ""
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.code = code
        self.hint = hint
        self.field = field


class LauncherContext(Struct, frozen=True, kw_only=True):
    """What a launcher is opened with, in addition to its cluster's configuration.

    `data_dir`: the controller's data directory (0700). `seal_key`: returns the 32 bytes with which job records are
    sealed where others could read or change them; raises TowpathError if there is no key.
    """

    data_dir: Path
    seal_key: Callable[[], bytes]


class Offer(Struct, frozen=True, kw_only=True):
    """A catalog, and what each user may use of it: user → grants. Users who are not listed may use nothing."""

    catalog: Catalog
    grants: dict[str, Grants]


class PartReport(Struct, frozen=True, kw_only=True):
    """The condition of a part of a cluster, such as a host, for admins.

    `text`: what it is, or what is wrong and what to do. `good`: it can be used; `doubt`: it can, but admins should know
    this. `since`: when the problem began (seconds since the epoch); 0: unknown. `urgent`: admins see it immediately,
    instead of only when it lasts.
    """

    part: str
    text: str
    good: bool = True
    doubt: bool = False
    since: float = 0.0
    urgent: bool = False


class Launcher(Protocol):
    """The adapter to one cluster. Every method may raise LauncherError and no other exception."""

    async def place(self, spec: JobSpec) -> JobRef | None:
        """Choose where the job will run; None: the cluster chooses when it runs the job. Starts nothing.

        For clusters without a scheduler. The controller saves the result as the server's job, under its fencing token,
        before it calls `submit`, which finds it in `spec.record.job` and uses it, so that nobody places the attempt
        elsewhere. It is called before each submit. An earlier result is in `spec.record.job`, and may be replaced only
        if nothing can have been started there.
        """
        ...

    async def submit(self, spec: JobSpec) -> JobRef:
        """Run the job. Idempotent by `spec.attempt`: an attempt never has a second job.

        If there is one already (running or ended), its JobRef is returned and `spec` is ignored. Two processes that
        submit the same attempt at the same time get the same job.
        """
        ...

    async def poll(self, known: Collection[Server] = ()) -> Mapping[str, JobView]:
        """Return all jobs that carry an attempt id, in one call: attempt → view.

        `known`: the records of this cluster's servers that are active or not yet settled. A cluster without a scheduler
        cannot list what ended, or what is on a host that does not answer (see `JobView.silent`); other launchers can
        ignore it.

        A job that a finished `submit` created before this call began is included, and stays for at least an hour after
        its end. So an attempt that is not included has no job. If something cannot be known (the scheduler does not
        answer), the call raises; it never returns an incomplete result.
        """
        ...

    async def cancel(self, ref: JobRef | None, attempt: str) -> None:
        """Request the job's end: SIGTERM to the app, SIGKILL after its grace period. Does not wait for the end.

        The job is the one that carries `attempt` at this moment. `ref` is a hint and never sufficient: see "Whose job
        it is" above. Idempotent: no job of that attempt, or an ended one, is not an error. `ref` None: unknown (the
        result of the submit was lost); the job is found by its attempt.
        """
        ...

    async def update(self, change: Change) -> Updated:
        """Change what a waiting job asks for, where that leaves it its place in the queue.

        The job is the one that carries the attempt at this moment: see "Whose job it is" above. All of the change is
        made, or nothing. After `Updated.DONE` the job carries `change.record`. Raises LauncherError where the cluster
        refuses the new request (not transient: the old one stands), or cannot be asked now. A kind of cluster without a
        queue always answers `Updated.IMPOSSIBLE`, or `Updated.NOT_WAITING`.
        """
        ...

    async def catalog(self) -> Offer:
        """Return what the cluster offers now, and to whom (for the form and for `check`)."""
        ...

    async def check(self) -> Sequence[PartReport]:
        """Check each part of the cluster that can fail separately, for `towpath check`; `()`: there are none."""
        ...

    def troubles(self) -> Sequence[PartReport]:
        """Return known problems with parts of the cluster, without querying them; admins' pages show them."""
        ...

    async def close(self) -> None:
        """Close connections. Jobs keep running."""
        ...


@runtime_checkable
class SshLogins(Protocol):
    """A launcher whose apps gateways reach by SSH (`ssh-socket` in `LauncherKind.endpoints`)."""

    async def ssh_pass(self, server: Server, public_key: str) -> SshPass:
        """Return the way to the app of a running server, for a gateway with this public key (as OpenSSH writes it).

        Its certificates are for forwarding as the server's account and for nothing else. Raises LauncherError.
        """
        ...


class StarterSpec(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The JSON that the starter reads (`batch.starter.main`).

    `passport`: the job's credentials on another machine. With them, and unless `way_in` is `ssh`, the starter opens a
    listener with TLS, for the gateway only, at `address` (`""`: the node's own) and on one of `ports`. `repeat`:
    seconds between reports that the app is ready; 0: report once. `plain_reports`: whether an http URL of the hub may
    be used. `inherit`: what only the node knows is filled in there: its environment, `~/` in the two folders, `{home}`.
    `walltime`: seconds that the job requested, from which its end follows if the scheduler does not tell the job; 0:
    unknown. `shared_node_port`, `jupyter`, `ssh`: see JobSpec. `activity_seconds`: between two requests about a Jupyter
    server's activity. `prune`: remove the folders of the user's old jobs. `guard`: the scheduler ends the job with the
    process that it started, so the starter is a child of that process (`batch.starter.guard`). `record`: JSON as in the
    store (`state.store.codecs.SERVER`), which keeps the fields of a newer version.
    """

    attempt: str
    user: str
    server: str
    folder: str
    command: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    base_path: str
    hub_urls: tuple[str, ...]
    report_token: str
    secrets: tuple[str, ...]
    start_window: float
    grace: float
    shared_node_port: bool = False
    jupyter: JupyterHub | None = None
    ssh: bool = False
    activity_seconds: float = 60.0
    record: msgspec.Raw = msgspec.Raw(b"null")
    end_patience: float = 20.0
    log_cap: int = 16 * 1024 * 1024
    lock_fd: int = 0
    passport: Passport | None = None
    way_in: str = ""
    ports: tuple[int, int] | None = None
    address: str = ""
    repeat: float = 0.0
    plain_reports: bool = True
    warning_seconds: int = 0
    warning_signal: str = ""
    inherit: bool = False
    guard: bool = False
    prune: bool = False
    walltime: int = 0


def starter_spec(
    spec: JobSpec,
    folder: str,
    *,
    lock_fd: int = 0,
    end_patience: float = 20.0,
    repeat: float = 0.0,
    address: str = "",
    inherit: bool = False,
    guard: bool = False,
    prune: bool = False,
) -> bytes:
    """Return the starter's input for a job in `folder`.

    It contains the report token: pass it on stdin or in a 0600 file.

    A job with a passport runs on another machine: it sends its token over http to loopback addresses only.
    """
    return msgspec.json.encode(
        StarterSpec(
            attempt=spec.attempt,
            user=spec.user,
            server=spec.server,
            folder=folder,
            command=spec.command,
            environment=spec.environment,
            directory=spec.directory,
            base_path=spec.base_path,
            hub_urls=spec.hub_urls,
            report_token=spec.report_token,
            secrets=spec.secrets,
            start_window=spec.start_window,
            grace=spec.grace,
            shared_node_port=spec.shared_node_port,
            jupyter=spec.jupyter,
            ssh=spec.ssh,
            record=msgspec.Raw(codecs.SERVER.encode(spec.record)),
            end_patience=end_patience,
            lock_fd=lock_fd,
            passport=spec.passport,
            way_in=spec.way_in,
            ports=spec.ports,
            address=address,
            repeat=repeat,
            plain_reports=spec.passport is None or all(_stays_here(url) for url in spec.hub_urls),
            warning_seconds=spec.resources.signal,
            warning_signal=spec.resources.warning_signal,
            inherit=inherit,
            guard=guard,
            prune=prune,
            walltime=spec.resources.walltime or 0,
        )
    )


def _stays_here(url: str) -> bool:
    """Return whether requests to this URL are encrypted or stay on this machine."""
    parts = urlsplit(url)
    try:
        return parts.scheme == "https" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
