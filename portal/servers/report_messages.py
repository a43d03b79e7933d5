"""The reports that a starter can send, and their meaning. Pure.

Owns the typed messages, the check of endpoints by kind of cluster, and the reasons for an app's end.
Does not know how records are stored. Unknown fields of a report are rejected or ignored, never stored.
"""

import ipaddress
import posixpath
from collections.abc import Collection, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from state.names import node_name, server_key
from state.records.endings import SEE_LOG, STOPPED, app_ended
from state.records.models import Endpoint, Reason, Server, Status, Target

LOG_TAIL_MAX: Final = 16 * 1024

EndTime = Annotated[float, Meta(ge=0, le=10**11)]
"""When the scheduler will end the job (seconds since the epoch); 0: the job does not know."""
ShortText = Annotated[str, Meta(max_length=1000)]
Name = Annotated[str, Meta(max_length=64)]
Attempt = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class ReportedEndpoint(Struct, frozen=True):
    """Where the app listens. The accepted kinds depend on the cluster: see `refusal`.

    `ssh_path`: the socket behind which the job serves SSH as `account`, if it does.
    """

    kind: Literal["unix", "tcp", "tls", "ssh-socket", "reverse"]
    path: Annotated[str, Meta(max_length=107)] = ""
    host: Annotated[str, Meta(max_length=255, pattern=r"^[A-Za-z0-9.:_-]*$")] = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    ssh_path: Annotated[str, Meta(max_length=107)] = ""
    account: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._@-]*$")] = ""


class ReportBase(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every report says.

    `restart`: how often the scheduler has run the job again (SLURM_RESTART_COUNT). `takeover`: how many starters of
    this run have died before the one that reports. `log`: the path of the app's whole log, where it runs.
    """

    user: Name
    server: Name
    attempt: Attempt
    restart: Annotated[int, Meta(ge=0, le=2**31)] = 0
    takeover: Annotated[int, Meta(ge=0, le=1000)] = 0
    log: ShortText = ""


class Running(ReportBase, frozen=True, kw_only=True, tag="running"):
    """The starter is running on `node`, and the app is starting. `native_id` is only displayed."""

    node: Annotated[str, Meta(max_length=255, pattern=r"^[A-Za-z0-9._-]*$")] = ""
    native_id: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = ""
    ends: EndTime = 0


class Ready(ReportBase, frozen=True, kw_only=True, tag="ready"):
    """The app responds at `endpoint`."""

    endpoint: ReportedEndpoint
    ends: EndTime = 0


class Warned(ReportBase, frozen=True, kw_only=True, tag="warning"):
    """The scheduler will end the job in about `seconds`."""

    seconds: Annotated[int, Meta(ge=0, le=10**7)]


class Noticed(ReportBase, frozen=True, kw_only=True, tag="notice"):
    """A notice for the user while the app keeps running. `code` is one of NOTICES; `detail` is inserted into its text.

    Unknown codes of a newer starter are ignored.
    """

    code: Annotated[str, Meta(max_length=40)]
    detail: Annotated[str, Meta(max_length=300)] = ""


class Active(ReportBase, frozen=True, kw_only=True, tag="activity"):
    """The user of a stock Jupyter server did something, or something ran there for them, at this time (epoch)."""

    last_activity: Annotated[float, Meta(ge=0, le=10**11)]


class Ended(ReportBase, frozen=True, kw_only=True, tag="ended"):
    """The app has ended or never started. `exit_code` None: it never ran, or was killed.

    `told`: the scheduler ended the job. It knows the reason, and may requeue the job.
    """

    told: bool = False
    exit_code: Annotated[int, Meta(ge=-255, le=65535)] | None = None
    log_tail: str = ""
    message: ShortText = ""
    code: Annotated[str, Meta(max_length=40)] = ""
    hint: ShortText = ""


class Failed(Ended, frozen=True, kw_only=True, tag="failed"):
    """The starter gave up: the app could not be started, or never responded."""


Report = Running | Ready | Warned | Noticed | Active | Ended | Failed

NOTICES: Final = {
    "taken-over": "The process that watches this server was killed and has been replaced. The server kept running.",
    "cannot-write": "The disk or the quota that the job's folder is on is full ({detail})."
    " Delete what you no longer need: until then this server may be unable to save files.",
    "killed-for-memory": "A process of this server, such as a notebook's kernel, was killed because the job ran out of"
    " memory ({detail}). Restart the kernel and use less memory, or start the server again with more.",
    "no-ssh": "You cannot connect to this server by SSH: {detail}. The server itself is not affected.",
}
"""The texts of notices, by code."""


def notice_of(report: Noticed) -> str:
    """Return the message for the user; `""` for an unknown code."""
    return NOTICES.get(report.code, "").replace("{detail}", " ".join(report.detail.split()))


def endpoint_of(report: Ready) -> Endpoint:
    """Return the endpoint for the record. The node's name is set from the attempt, never from the report."""
    reported = report.endpoint
    name = "" if reported.kind in ("unix", "tcp") else node_name(report.attempt)
    by_path = reported.kind in ("unix", "ssh-socket")
    return Endpoint(
        kind=reported.kind,
        host="" if by_path else reported.host,
        port=0 if by_path else reported.port,
        path=reported.path if by_path else "",
        name=name,
        server=server_key(report.user, report.server) if reported.kind == "ssh-socket" else "",
        ssh_path=reported.ssh_path,
        account=reported.account if reported.ssh_path else "",
    )


def fault(report: Report) -> str:
    """Return what is wrong with a well-formed report; `""`: nothing. Pure."""
    if not isinstance(report, Ready):
        return ""
    endpoint = report.endpoint
    if endpoint.kind in ("unix", "ssh-socket") and not _is_absolute(endpoint.path):
        return f"The path of an endpoint of kind {endpoint.kind} must be absolute."
    if endpoint.ssh_path and (not _is_absolute(endpoint.ssh_path) or not endpoint.account):
        return "SSH is served at an absolute path, and as an account."
    if endpoint.kind in ("tcp", "tls") and (not endpoint.host or endpoint.port == 0):
        return f"A {endpoint.kind} endpoint has a host and a port."
    return ""


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and "\0" not in path and posixpath.normpath(path) == path


def refusal(endpoint: Endpoint, accepted: Collection[str], folders: Sequence[str], *, shared_port: bool) -> str:
    """Return why an endpoint is rejected; `""`: it is accepted. Pure.

    `accepted`: the kinds of endpoint that the cluster may have. `folders`: where the attempt's socket may be, on
    this machine. `shared_port`: whether the profile shares the app's port with the node.
    """
    if endpoint.kind not in accepted:
        return f"This cluster accepts only {' and '.join(sorted(accepted, reverse=True))} endpoints."
    if endpoint.kind in ("unix", "tcp") and endpoint.ssh_path and posixpath.dirname(endpoint.ssh_path) not in folders:
        return "The socket of SSH is not in the job's own folder."
    if endpoint.kind == "unix":
        inside = posixpath.dirname(endpoint.path) in folders
        return "" if inside else "The socket is not in the job's own folder."
    if endpoint.kind == "tcp" and not shared_port:
        return "This profile does not share the app's port with the node."
    if endpoint.kind == "tcp":
        try:
            on_loopback = ipaddress.ip_address(endpoint.host).is_loopback
        except ValueError:
            on_loopback = False
        return "" if on_loopback else "This cluster accepts only ports on a loopback address."
    return ""


def reason_of(server: Server, report: Ended) -> tuple[Status, Reason]:
    """Return whether the server has stopped or failed, and why. Pure."""
    tail, code = report.log_tail[-LOG_TAIL_MAX:], report.exit_code
    if server.target is Target.STOPPED:
        return Status.STOPPED, replace(STOPPED, exit_code=code)
    was_ready, failed = server.status is Status.READY, isinstance(report, Failed)
    status, reason = app_ended(was_ready=was_ready, exit_code=code, log_tail=tail, failed=failed)
    if status is Status.FAILED and report.message:
        reason = replace(reason, code=report.code or "start-failed", message=report.message, hint=SEE_LOG)
    if status is Status.FAILED and report.hint:
        reason = replace(reason, hint=report.hint)
    return status, reason
