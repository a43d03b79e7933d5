"""The starter's word: ready, or ended. From the report to the record, the event and the route.

Owns: the one typed message that a job may send, and what each does. Refuses to know launchers, and any other field
than these: nothing that is posted is set on anything by its name.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from portal import metrics
from portal.site import Site
from state.errors import ConflictError
from state.lifecycle import PROGRESS, advance
from state.names import server_path
from state.records import Endpoint, Event, Reason, Route, Server, Status, Target

REPORT_LIMIT: Final = 128 * 1024
"""Largest report in bytes."""
LOG_TAIL_MAX: Final = 16 * 1024
TRIES: Final = 8

ShortText = Annotated[str, Meta(max_length=1000)]
Name = Annotated[str, Meta(max_length=64)]
Attempt = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class ReportedEndpoint(Struct, frozen=True):
    """Where the app listens."""

    kind: Literal["unix", "tcp"]
    path: Annotated[str, Meta(max_length=107)] = ""
    host: Annotated[str, Meta(max_length=255, pattern=r"^[A-Za-z0-9.:_-]*$")] = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0


class Ready(Struct, frozen=True, kw_only=True, tag_field="kind", tag="ready"):
    """The app answers at `endpoint`."""

    user: Name
    server: Name
    attempt: Attempt
    endpoint: ReportedEndpoint


class Ended(Struct, frozen=True, kw_only=True, tag_field="kind", tag="ended"):
    """The app is gone, or never came up. `exit_code` None: it never ran, or was killed before it could say."""

    user: Name
    server: Name
    attempt: Attempt
    exit_code: Annotated[int, Meta(ge=-255, le=65535)] | None = None
    log_tail: str = ""
    message: ShortText = ""
    code: Annotated[str, Meta(max_length=40)] = ""
    hint: ShortText = ""


class Failed(Ended, frozen=True, kw_only=True, tag_field="kind", tag="failed"):
    """The starter gave up: the app was not to be had, or never answered."""


Report = Ready | Ended | Failed


@dataclass(frozen=True)
class Heard:
    """The answer to a report: a status and a body."""

    status: int
    body: dict[str, Any]


HEARD: Final = Heard(200, {})
WRONG_TOKEN: Final = Heard(403, {"status": 403, "message": "This report token is not valid.", "stop": False})
UNKNOWN: Final = Heard(404, {"status": 404, "message": "There is no such server.", "stop": False})
OUTDATED: Final = Heard(409, {"status": 409, "message": "This attempt is over.", "stop": True})


async def hear(site: Site, report: Report, token: str) -> Heard:
    """Take a report in. Idempotent: the same word again is heard again, and changes nothing."""
    for _ in range(TRIES):
        server = await site.store.servers.get(report.user, report.server)
        refused = judge(server, report, token)
        if refused is not None:
            if refused is HEARD and server is not None and isinstance(report, Ready):
                await _publish(site, server)
            return refused
        assert server is not None  # judge refuses None
        try:
            await _take(site, server, report)
        except ConflictError:
            continue
        return HEARD
    raise ConflictError("This server's record keeps changing. Try again.")


def judge(server: Server | None, report: Report, token: str) -> Heard | None:  # noqa: PLR0911 - a table in order
    """The answer, where the record is not to be changed; None: take it in. Pure.

    No record at all is not a reason to stop the app: after a loss of Redis the controller has yet to find the job.
    """
    if server is None:
        return UNKNOWN
    if server.attempt != report.attempt:
        return OUTDATED
    if not server.active:
        return OUTDATED if isinstance(report, Ready) else HEARD
    if not server.report_hash or not hmac.compare_digest(sha256(token.encode()).hexdigest(), server.report_hash):
        return WRONG_TOKEN
    if not isinstance(report, Ready):
        return None
    if server.target is Target.STOPPED or server.status is Status.STOPPING:
        return OUTDATED
    if server.status is Status.READY:
        return HEARD if server.endpoint == endpoint_of(report) else OUTDATED
    return None


def endpoint_of(report: Ready) -> Endpoint:
    """The endpoint as the record holds it."""
    said = report.endpoint
    if said.kind == "unix":
        return Endpoint(kind="unix", path=said.path)
    return Endpoint(kind="tcp", host=said.host, port=said.port)


def fault(report: Report) -> str:
    """What is wrong with a report that has the right shape; `""`: nothing. Pure."""
    if not isinstance(report, Ready):
        return ""
    said = report.endpoint
    if said.kind == "unix" and (not said.path.startswith("/") or "\0" in said.path or "/../" in said.path):
        return "A unix endpoint has an absolute path."
    if said.kind == "tcp" and (not said.host or said.port == 0):
        return "A tcp endpoint has a host and a port."
    return ""


def reason_of(server: Server, report: Ended) -> tuple[Status, Reason]:
    """Stopped or failed, and why in plain words. Pure."""
    tail, code = report.log_tail[-LOG_TAIL_MAX:], report.exit_code
    if server.target is Target.STOPPED:
        return Status.STOPPED, Reason(code="stopped", message="It was stopped.", exit_code=code)
    if server.status is Status.READY and code == 0 and not isinstance(report, Failed):
        return Status.STOPPED, Reason(code="app-ended", message="The app ended by itself.", exit_code=0)
    if report.message:
        message, word = report.message, report.code or "start-failed"
    elif server.status is Status.READY:
        message, word = f"The app ended unexpectedly{_with(code)}.", "app-died"
    else:
        message, word = f"The app ended before it was ready{_with(code)}.", "app-exited"
    hint = report.hint or "The end of its log is below. Start it again, or change what you asked for."
    return Status.FAILED, Reason(code=word, message=message, hint=hint, log_tail=tail, exit_code=code)


def _with(exit_code: int | None) -> str:
    return "" if exit_code is None else f" (exit code {exit_code})"


async def _take(site: Site, server: Server, report: Report) -> None:
    now = site.clock()
    if isinstance(report, Ready):
        ready = advance(server, Status.READY, now=now, endpoint=endpoint_of(report))
        event = Event(
            attempt=server.attempt,
            time=now,
            status=Status.READY,
            message="It answers.",
            progress=PROGRESS[Status.READY],
        )
        await _publish(site, await site.store.servers.save(ready, event=event, marked=True))
        metrics.SPAWN.labels(metrics.WORKER, "success").observe(now - server.requested)
        return
    status, reason = reason_of(server, report)
    await site.store.feed.drop_route(server_path(site.base, server.user, server.name), attempt=server.attempt)
    event = Event(attempt=server.attempt, time=now, status=status, message=reason.message, progress=PROGRESS[status])
    await site.store.servers.save(advance(server, status, now=now, reason=reason), event=event)
    if server.ready is None:
        metrics.SPAWN.labels(metrics.WORKER, "failure").observe(now - server.requested)


async def _publish(site: Site, server: Server) -> None:
    """Set the route of a ready server; take it back when somebody asked for a stop in the meantime."""
    assert server.endpoint is not None  # ready records have one
    prefix = server_path(site.base, server.user, server.name)
    await site.store.feed.set_route(
        Route(
            prefix=prefix,
            user=server.user,
            name=server.name,
            attempt=server.attempt,
            endpoint=server.endpoint,
            credential=server.credential,
        )
    )
    now = await site.store.servers.get(server.user, server.name)
    if now is None or now.attempt != server.attempt or now.target is Target.STOPPED or now.status is not Status.READY:
        await site.store.feed.drop_route(prefix, attempt=server.attempt)
