"""Turns what a host reports about a job into the contract's view of it. Pure.

The user can write anything into a job's folder: its content is only trusted about this one job, and the job's place in
the hub (user, server, secrets) comes from the sealed record only.
"""

from collections.abc import Container
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from batch.contract import JobState, JobView, Report
from batch.launchers.ssh.native_id import Place
from state.names import node_name, server_key
from state.records.models import Endpoint, Reason, Server

STILLBORN_SECONDS: Final = 60.0
"""A job that has no process this long after its folder was made did not start."""
TAIL_MAX: Final = 16 * 1024
DIRECT: Final = frozenset({"tls"})
RESTARTED: Final = "host-restarted"

Text = Annotated[str, Meta(max_length=TAIL_MAX)]
T = TypeVar("T")
Port = Annotated[int, Meta(ge=1, le=65535)]


class _Job(Struct):
    """job.json."""

    pid: int = 0
    start: int = 0
    boot: str = ""
    time: float = 0.0


class _Endpoint(Struct):
    kind: str
    path: Annotated[str, Meta(max_length=107, pattern=r"^(/[^\0]*)?$")] = ""
    host: Annotated[str, Meta(max_length=255, pattern=r"^[A-Za-z0-9.:_-]+$")] = ""
    port: Port | None = None
    ssh_path: Annotated[str, Meta(max_length=107, pattern=r"^(/[^\0]*)?$")] = ""
    account: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._@-]*$")] = ""


class _Report(Struct):
    """report.json."""

    kind: str
    time: float = 0.0
    endpoint: _Endpoint | None = None
    exit_code: Annotated[int, Meta(ge=-255, le=65535)] | None = None
    log_tail: Text = ""
    code: Annotated[str, Meta(max_length=40)] = ""
    message: Annotated[str, Meta(max_length=1000)] = ""


class _Amounts(Struct, frozen=True):
    cores: int = 0
    memory: int = 0


class _Limits(Struct, frozen=True):
    cores: bool = False
    memory: bool = False


class _Owner(Struct):
    """owner.json, without the record."""

    share: _Amounts | None = None
    limits: _Limits = _Limits()


class Facts(Struct, kw_only=True):
    """The report of `remote.look` about one job."""

    owner: dict[str, Any] | None = None
    job: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    canceled: bool = False
    locked: bool = False
    alive: bool = False
    age: float = 0.0


class Look(Struct, kw_only=True):
    """An answer of `remote.look`."""

    boot: str
    jobs: dict[str, Facts]


def view_of(facts: Facts, place: Place, record: Server, *, boot: str, endpoints: Container[str] = DIRECT) -> JobView:
    """Return the view of a job that has a folder on its host.

    `boot`: the host's present boot id. `endpoints`: the kinds of endpoint that the cluster's way in is for.
    """
    job = _convert(facts.job, _Job)
    report = _report(facts.report, record, endpoints)
    state, reason, ending = _state(facts, job, report, place, boot)
    native = Place(account=place.account, host=place.host, pid=job.pid if job else 0, start=job.start if job else 0)
    return JobView(
        attempt=record.attempt,
        user=record.user,
        server=record.name,
        state=state,
        native_id=str(native),
        reason=reason,
        exit_code=report.exit_code if report is not None and state.final else None,
        started=job.time if job else None,
        report=report,
        record=record,
        node=place.host,
        ending=ending,
        note=limits_note(facts.owner, place.host),
    )


def limits_note(owner: dict[str, Any] | None, host: str) -> str:
    """Return, as a sentence, what the job requested and the host does not limit; `""`: nothing."""
    found = _convert(owner, _Owner)
    if found is None or found.share is None:
        return ""
    names = [
        name
        for name, requested, limited in (
            ("memory", found.share.memory, found.limits.memory),
            ("CPU", found.share.cores, found.limits.cores),
        )
        if requested and not limited
    ]
    if not names:
        return ""
    return f"{host} does not limit the {' and '.join(names)} of a server: stay within what you requested."


def _state(
    facts: Facts, job: _Job | None, report: Report | None, place: Place, boot: str
) -> tuple[JobState, str, Reason | None]:
    """Return (state, reason, ending) of a job."""
    if facts.alive:
        return JobState.ACTIVE, "", None
    if job is None and facts.locked:
        return JobState.QUEUED, "", None
    if facts.canceled:
        return JobState.CANCELED, "The job was cancelled.", None
    if job is None:
        stillborn = facts.age > STILLBORN_SECONDS
        message = f"The job's starter did not come up on {place.host}." if stillborn else ""
        return (JobState.FAILED if stillborn else JobState.NEW), message, None
    return _ended(job, report, place, boot)


def _ended(job: _Job, report: Report | None, place: Place, boot: str) -> tuple[JobState, str, Reason | None]:
    if report is not None and report.kind != "ready":
        ended_well = report.kind == "ended" and report.exit_code == 0
        return (JobState.COMPLETED if ended_well else JobState.FAILED), report.message, None
    if job.boot != boot:
        ending = Reason(code=RESTARTED, message=f"{place.host} was restarted.", hint="Start the server again.")
        return JobState.FAILED, ending.message, ending
    return JobState.FAILED, f"The job's processes on {place.host} were killed.", None


def _report(note: dict[str, Any] | None, record: Server, endpoints: Container[str]) -> Report | None:
    """Return the starter's last report. An endpoint only counts if the app must prove that it is this attempt's."""
    found = _convert(note, _Report)
    if found is None or found.kind not in ("ready", "ended", "failed"):
        return None
    endpoint = None
    if found.kind == "ready":
        endpoint = _endpoint(found.endpoint, record, endpoints)
        if endpoint is None:
            return None
    return Report(
        kind=found.kind,
        attempt=record.attempt,
        time=found.time,
        endpoint=endpoint,
        exit_code=found.exit_code,
        log_tail=found.log_tail,
        code=found.code,
        message=found.message,
    )


def _endpoint(reported: _Endpoint | None, record: Server, endpoints: Container[str]) -> Endpoint | None:
    if reported is None or reported.kind not in endpoints:
        return None
    endpoint = Endpoint(
        kind=reported.kind,
        name=node_name(record.attempt),
        ssh_path=reported.ssh_path,
        account=reported.account if reported.ssh_path else "",
    )
    if reported.kind == "ssh-socket":
        if not reported.path:
            return None
        key = server_key(record.user, record.name)
        return replace(endpoint, path=reported.path, server=key)
    if reported.kind == "reverse":
        return replace(endpoint, ssh_path="", account="")
    if reported.port is None or not reported.host:
        return None
    return replace(endpoint, host=reported.host, port=reported.port)


def _convert(note: dict[str, Any] | None, kind: type[T]) -> T | None:
    if note is None:
        return None
    try:
        return msgspec.convert(note, kind)
    except msgspec.ValidationError:
        return None
