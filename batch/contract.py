"""The contract between the controller and a kind of cluster.

Owns: the words of both sides (PSI/J's vocabulary: JobSpec, Resources, JobState) and what each verb of a Launcher
promises. Refuses to know servers' lifecycles and how any scheduler does it.

Whose job it is. A native id (a job's number, a process id, a container's name) may belong to something else by the
time it is used: a scheduler that was killed before it saved its state hands out the same numbers again, and the kernel
reuses process ids. So whatever acts on a job (cancels, signals, changes or enters it) names the attempt beside the
native id, in the same request, and the cluster itself compares the two where it can: `scancel --name`, a pidfd, a
container's label in the filter of the call. Where it cannot, the launcher reads the job's attempt right before it acts.
A mismatch means that the attempt has no such job; it is not an error, and the other job is left alone.

A launcher for another kind of cluster is a function
`open(cluster: ClusterConfig, context: LauncherContext) -> Launcher`
under the entry point group `towpath.launchers`, with the kind as its name. It must pass
tests/contracts/test_launcher.py.
"""

import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from state.offer.catalog import Catalog, Grants
from state.records.models import Endpoint, JobRef, Reason, Server, Waiting


class JobState(StrEnum):
    """Where a job stands (PSI/J). The last three are final."""

    NEW = "new"  # accepted by the launcher, not yet by the scheduler: a submit again is safe and needed
    QUEUED = "queued"
    ACTIVE = "active"
    COMPLETED = "completed"  # ended with exit code 0
    FAILED = "failed"
    CANCELED = "canceled"  # ended because somebody asked for it

    @property
    def final(self) -> bool:
        """Whether the job has ended for good."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)


class Resources(Struct, frozen=True, kw_only=True):
    """What a job asks for; None and `""`: the cluster's default. `walltime` in seconds, `memory` in bytes per node.

    `gpus` are per node. `signal`: seconds before the walltime's end at which the starter gets SIGUSR1 (sbatch:
    `--signal=B:USR1@SECONDS`); 0: no warning. `warning_signal`: what the app gets then, such as `USR1`; `""`: nothing.
    `more`: further options of the scheduler, by long name, from the launcher's allow-list.
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
    """What a job on another machine proves itself with, as PEM text: see `batch.authority`.

    `certificate` and `key` are the server's own, for the name `name`; `authority` vouches for the gateway's client
    certificate and for the hub's listener of reports.
    """

    name: str
    certificate: str
    key: str
    authority: str

    def __repr__(self) -> str:
        return f"Passport(name={self.name!r})"


class JobSpec(Struct, frozen=True, kw_only=True):
    """All that is needed to run one attempt of one server. Holds secrets: never logged, never in an argv.

    `record` is the server as it was saved before the submit: a launcher keeps it with the job and gives it back
    in `JobView.record`, so that servers can be rebuilt when Redis was lost. `secrets` are taken out of every log
    tail. `start_window` and `grace` (between SIGTERM and SIGKILL) are seconds. `environment` holds what the app is
    told, without what depends on the account (HOME, USER, ...) where the job runs as its user. `passport`: for clusters
    whose jobs run on other machines; the starter then lets in the gateway alone. `again`: this attempt may have been
    submitted before; False is a promise that it was not.
    `shared_node_port`: an app whose command names {port} may listen on a port that every user of the node can open.
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
    grace: float = 10.0
    resources: Resources = Resources()
    setup: Setup = Setup()
    passport: Passport | None = None
    again: bool = True

    def __repr__(self) -> str:
        return f"JobSpec(attempt={self.attempt!r}, user={self.user!r}, server={self.server!r})"


class Report(Struct, frozen=True, kw_only=True):
    """The starter's last word (docs/architecture.md). `kind`: ready, ended or failed."""

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
    """One job as the cluster shows it. `reason`: the scheduler's own word on it (may be empty).

    `started` and `deadline`: seconds since the epoch, None while not known. `report`: where the launcher can see the
    job's folder; `record`: where the job carries it. `waiting`: while it is queued, where the scheduler says why.
    `node`: where it runs. `ending`: for an ended job, the cause in plain words, where the scheduler knows one (out of
    memory, walltime, ...), for one that waits again that of its last run; it has no log tail. `restarts`: how
    often the scheduler has put it back into the queue; 0 while that is not to be told. `unsure`: the next poll will
    know more, such as how it ended: it should come soon. `silent`: a sentence that says that the job's host does not
    answer; the rest of the view is then as it was last known, and nothing follows from it. `note`: a sentence on where
    it runs that its user should know.
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
    silent: str = ""
    note: str = ""


class LauncherError(Exception):
    """A verb failed. `str` is a sentence for the user; `transient`: the same call may succeed later.

    `code` is stable and for programs, `hint` says what the user may do. `field`: the kind of option that it is about
    (`partition`, `account`, ...), so that it can be shown beside it.
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
    """What a launcher is opened with beside its cluster's configuration.

    `data_dir`: the controller's data directory (0700). `seal_key`: returns the 32 bytes with which job records are
    sealed that others could read or change; raises TowpathError where there is none.
    """

    data_dir: Path
    seal_key: Callable[[], bytes]


class Offer(Struct, frozen=True, kw_only=True):
    """A catalog, and what each person may use of it: user → grants. A person who is not there may use nothing."""

    catalog: Catalog
    grants: dict[str, Grants]


class PartReport(Struct, frozen=True, kw_only=True):
    """What admins should know of a part of a cluster, such as a host.

    `text`: what it is, or what is wrong and what to do. `good`: it can be used; `doubt`: it can, but admins should know
    this. `since`: when the trouble began (seconds since the epoch), 0: not known. `urgent`: admins are told at once,
    and not only when it lasts.
    """

    part: str
    text: str
    good: bool = True
    doubt: bool = False
    since: float = 0.0
    urgent: bool = False


class Launcher(Protocol):
    """The adapter to one cluster. Every verb may raise LauncherError and nothing else."""

    async def place(self, spec: JobSpec) -> JobRef | None:
        """Choose where the job is going to run; None: the cluster chooses when it runs the job. Starts nothing.

        For clusters without a scheduler. The controller saves the answer as the server's job, under its fencing token,
        before it calls `submit`, which finds it in `spec.record.job` and keeps to it: so nobody else places the attempt
        differently. It is called before each submit; an earlier answer is in `spec.record.job`, and may be replaced
        only where nothing can have been started there.
        """
        ...

    async def submit(self, spec: JobSpec) -> JobRef:
        """Run the job. Idempotent by `spec.attempt`: there is never a second job for one attempt.

        When there is one already (running or ended), its JobRef is returned and `spec` is not looked at. Two
        processes that submit the same attempt at once get the same job.
        """
        ...

    async def poll(self, known: Collection[Server] = ()) -> Mapping[str, JobView]:
        """All jobs that carry an attempt id, in one call: attempt → view.

        `known`: the records of this cluster's servers that are active or not yet settled. A cluster without a scheduler
        has no list of what ended, or of what is on a host that does not answer (see `JobView.silent`); others need not
        look at them.

        A job that a finished `submit` made before this call began is in the answer, and stays for at least an
        hour after its end. So an attempt that is not in the answer has no job. What cannot be known (no answer
        from the scheduler) raises; it never yields a smaller answer.
        """
        ...

    async def cancel(self, ref: JobRef | None, attempt: str) -> None:
        """Ask for the job's end: SIGTERM to the app, SIGKILL after its grace. Does not wait for the end.

        The job is the one that carries `attempt` at this moment. `ref` is a hint and never enough: see "Whose job it
        is" above. Idempotent: no job of that attempt, or an ended one, is no error. `ref` None: not known (the answer
        to the submit was lost); the job is found by its attempt.
        """
        ...

    async def catalog(self) -> Offer:
        """What the cluster offers now, and to whom (for the form and for `check`)."""
        ...

    async def check(self) -> Sequence[PartReport]:
        """Ask each part of the cluster that can fail by itself, for `towpath check`; `()`: there are no such parts."""
        ...

    def troubles(self) -> Sequence[PartReport]:
        """What is known to be wrong with parts of the cluster, without asking them; admins' pages show it."""
        ...

    async def close(self) -> None:
        """Let go of connections. Jobs run on."""
        ...


class StarterSpec(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The JSON that the starter reads (`batch.starter.main`).

    `passport`: open a way in with TLS, for the gateway alone, at `address` (`""`: the node's own). `repeat`: seconds
    between two words that it is ready; 0: once. `plain_reports`: whether a hub's http URL may be used. `inherit`: what
    only the node knows is filled in there: its environment, `~/` in the two folders, `{home}`. `walltime`: seconds
    that the job was asked for, from which its end follows where the scheduler does not tell the job; 0: not known.
    `shared_node_port`: see JobSpec. `guard`: the scheduler ends the job with the process that it started, so the
    starter is a child of that (`batch.starter.guard`).
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
    record: Server | None = None
    end_patience: float = 20.0
    log_cap: int = 16 * 1024 * 1024
    lock_fd: int = 0
    passport: Passport | None = None
    address: str = ""
    repeat: float = 0.0
    plain_reports: bool = True
    warning_seconds: int = 0
    warning_signal: str = ""
    inherit: bool = False
    guard: bool = False
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
) -> bytes:
    """The starter's input for a job in `folder`. Holds the report token: give it by stdin or a 0600 file.

    A job with a passport runs on another machine: its token goes over http to a loopback address only.
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
            record=spec.record,
            end_patience=end_patience,
            lock_fd=lock_fd,
            passport=spec.passport,
            address=address,
            repeat=repeat,
            plain_reports=spec.passport is None or all(_stays_here(url) for url in spec.hub_urls),
            warning_seconds=spec.resources.signal,
            warning_signal=spec.resources.warning_signal,
            inherit=inherit,
            guard=guard,
            walltime=spec.resources.walltime or 0,
        )
    )


def _stays_here(url: str) -> bool:
    """Whether what is said to this URL leaves no machine, or is encrypted."""
    parts = urlsplit(url)
    try:
        return parts.scheme == "https" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
