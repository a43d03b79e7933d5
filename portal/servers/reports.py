"""Processes starters' reports: updates the record, the events and the route.

Owns which reports are accepted, and what each changes. Does not know about launchers. A job can only report about its
own attempt: the name that its node must prove is set here, and the job's id comes from the scheduler.
"""

import hmac
import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from msgspec.structs import replace

from portal.audit import recorder
from portal.servers import metrics
from portal.servers.report_messages import (
    Active,
    Ended,
    Noticed,
    Ready,
    Report,
    Running,
    Warned,
    endpoint_of,
    notice_of,
    reason_of,
    refusal,
)
from portal.servers.routing import publish
from portal.site.site import Site
from state.errors import ConflictError
from state.names import server_path
from state.offer.app_ports import shares_port
from state.plugins.launchers import cluster_named, endpoints_of, kind_of
from state.records.audit import of_end
from state.records.failure_log import log_failure
from state.records.lifecycle import PROGRESS, advance
from state.records.models import Event, Notice, Server, Status, Target
from state.records.readiness import END_REPORTED

REPORT_LIMIT: Final = 128 * 1024
"""Maximum size of a report, in bytes."""
TRIES: Final = 8


@dataclass(frozen=True)
class ReportResponse:
    """The response to a report: a status and a body."""

    status: int
    body: dict[str, Any]


ACCEPTED: Final = ReportResponse(200, {})
WRONG_TOKEN: Final = ReportResponse(403, {"status": 403, "message": "This report token is not valid.", "stop": False})
UNKNOWN: Final = ReportResponse(404, {"status": 404, "message": "The server does not exist.", "stop": False})
OUTDATED: Final = ReportResponse(409, {"status": 409, "message": "This attempt has ended.", "stop": True})


async def accept(site: Site, report: Report, token: str) -> ReportResponse:
    """Accept a report. Idempotent: the same report is accepted again and changes nothing."""
    for _ in range(TRIES):
        server = await site.store.servers.get(report.user, report.server)
        refused = check(server, report, token)
        if refused is None and isinstance(report, Ready):
            assert server is not None  # `check` rejects None
            refused = site_refusal(site, server, report)
        if refused is not None:
            if refused is ACCEPTED and server is not None and isinstance(report, Ready):
                await publish(site, server)
            return refused
        assert server is not None  # `check` rejects None
        try:
            await _take(site, server, report)
        except ConflictError:
            continue
        return ACCEPTED
    raise ConflictError("This server's record keeps changing. Try again.")


def check(server: Server | None, report: Report, token: str) -> ReportResponse | None:  # noqa: PLR0911 - a table in order
    """Return the response if the report does not change the record; None: apply it. Pure.

    A missing record is not a reason to stop the app: after a loss of Redis the controller still has to find the job.
    """
    lives = isinstance(report, Running | Ready)
    if server is None:
        return UNKNOWN
    if server.attempt != report.attempt:
        return OUTDATED
    if not server.active:
        return OUTDATED if lives else ACCEPTED
    if not server.report_hash or not hmac.compare_digest(sha256(token.encode()).hexdigest(), server.report_hash):
        return WRONG_TOKEN
    if report.restart < server.restart:  # a run of the job that has ended
        return OUTDATED if lives else ACCEPTED
    if isinstance(report, Ended):
        return None
    return _news(server, report)


def _news(server: Server, report: Running | Ready | Warned | Noticed | Active) -> ReportResponse | None:
    """Return the response to a report of a running job that contains nothing new; None: it does."""
    lives = isinstance(report, Running | Ready)
    if server.target is Target.STOPPED or server.status is Status.STOPPING:
        return OUTDATED if lives else ACCEPTED
    if isinstance(report, Noticed):
        text = notice_of(report)
        return ACCEPTED if not text or (server.notice is not None and server.notice.message == text) else None
    if report.restart > server.restart or isinstance(report, Warned | Active):
        return None
    if isinstance(report, Running):
        return ACCEPTED if server.status in (Status.STARTING, Status.READY) and server.node == report.node else None
    return _moved(server, report) if server.status is Status.READY else None


def _moved(server: Server, report: Ready) -> ReportResponse | None:
    """Return the response to another ready report. A starter that takes over opens a new endpoint."""
    if server.endpoint == endpoint_of(report):
        return ACCEPTED
    return None if report.takeover else OUTDATED


def site_refusal(site: Site, server: Server, report: Ready) -> ReportResponse | None:
    """Return the response if the server's cluster may not have such an endpoint; None: it may."""
    folders = (f"{site.data_dir}/jobs/{server.attempt}", f"/tmp/towpath-{os.geteuid()}-{server.attempt}")  # noqa: S108 - the starter's, for sockets whose path is too long
    profile = site.config.profile_named(server.profile)
    shared = profile is not None and shares_port(profile)
    problem = refusal(endpoint_of(report), _endpoints(site, server), folders, shared_port=shared)
    return ReportResponse(400, {"status": 400, "message": problem, "stop": False}) if problem else None


async def _take(site: Site, server: Server, report: Report) -> None:
    match report:
        case Running():
            await _take_running(site, server, report)
        case Ready():
            await _take_ready(site, server, report)
        case Warned():
            await site.store.servers.tell(
                server.user, server.name, _event(site, server, f"Its time is over in {_span(report.seconds)}.")
            )
        case Active():
            seen = min(report.last_activity, site.clock())
            await site.store.servers.touch({(server.user, server.name): seen})
        case Noticed():
            await _take_notice(site, server, report)
        case Ended():
            await _take_end(site, server, report)


async def _take_running(site: Site, server: Server, report: Running) -> None:
    """Record that the job is running, which starts its time window. If it was requeued, its old endpoint is removed."""
    now = site.clock()
    again = report.restart > server.restart
    deadline, log = _deadline(server, report), report.log or server.log
    server = replace(server, node=report.node, restart=report.restart, deadline=deadline, log=log)
    if again and server.ready is not None:
        await _drop_route(site, server)
    if not again and server.status in (Status.STARTING, Status.READY):
        # It was reported earlier: only the node is recorded.
        await site.store.servers.save(server)
        return
    saved = replace(advance(server, Status.STARTING, now=now), running=now)
    where = f" on {report.node}" if report.node else ""
    text = "The job is running again" if again else "The job is running"
    event = _event(site, saved, f"{text}{where}. Waiting for the app to be ready.")
    await site.store.servers.save(saved, event=event)


def _deadline(server: Server, report: Running | Ready) -> float | None:
    """Return the job's deadline: as it reports it, until the scheduler is polled. Earlier runs do not count."""
    return report.ends or (None if report.restart > server.restart else server.deadline)


async def _take_ready(site: Site, server: Server, report: Ready) -> None:
    now = site.clock()
    deadline, log = _deadline(server, report), report.log or server.log
    server = replace(server, restart=report.restart, deadline=deadline, log=log)
    first = server.status is not Status.READY
    if not first:  # the job was requeued on another node: the same URL is routed to the new node
        server = advance(server, Status.STARTING, now=now)
    ready = advance(server, Status.READY, now=now, endpoint=endpoint_of(report))
    # The controller must be notified: it polls less often now, or once more if the deadline is unknown.
    wake = not _cheap_polls(site, server)
    again = "The server is ready again." if report.takeover else "The server is ready on another node."
    event = _event(site, ready, "The server is ready." if first else again)
    await publish(site, await site.store.servers.save(ready, event=event, marked=True, wake=wake))
    if first:
        metrics.SPAWN.labels(metrics.WORKER, "success").observe(now - server.requested)


async def _take_notice(site: Site, server: Server, report: Noticed) -> None:
    """Show a notice on the server's pages and among its events."""
    notice = Notice(code=report.code, message=notice_of(report), time=site.clock())
    await site.store.servers.save(replace(server, notice=notice), event=_event(site, server, notice.message))


async def _take_end(site: Site, server: Server, report: Ended) -> None:
    """Record the end of an app. If the scheduler ended it, its reason is read from the scheduler first."""
    now = site.clock()
    status, reason = reason_of(server, report)
    server = replace(server, log=report.log or server.log)
    await _drop_route(site, server)
    if report.told and server.target is not Target.STOPPED and not _cheap_polls(site, server):
        noted = replace(server, reason=replace(reason, code=END_REPORTED, message="The scheduler told the job to end."))
        await site.store.servers.save(noted, event=_event(site, noted, "The scheduler told the job to end."))
        return
    ended = advance(server, status, now=now, reason=reason)
    await site.store.servers.save(ended, event=_event(site, ended, reason.message))
    log_failure(ended)
    await recorder.write(site.store, of_end(ended, time=now, by="the job"))
    if server.ready is None:
        metrics.SPAWN.labels(metrics.WORKER, "failure").observe(now - server.requested)


def _event(site: Site, server: Server, message: str) -> Event:
    return Event(
        attempt=server.attempt,
        time=site.clock(),
        status=server.status,
        message=message,
        progress=PROGRESS[server.status],
    )


def _span(seconds: int) -> str:
    if seconds >= 2 * 60:
        return f"{seconds // 60} minutes"
    return "a minute" if seconds >= 60 else f"{seconds} seconds"  # noqa: PLR2004 - of a minute


def _endpoints(site: Site, server: Server) -> frozenset[str]:
    """Return the kinds of endpoint that the server's cluster may have; `tls` if it is no longer configured."""
    cluster = cluster_named(site.config, server.cluster)
    return frozenset({"tls"}) if cluster is None else endpoints_of(cluster)


def _cheap_polls(site: Site, server: Server) -> bool:
    """Return whether the controller polls the server's job at every tick anyway."""
    cluster = cluster_named(site.config, server.cluster)
    return cluster is not None and kind_of(cluster).cheap_polls


async def _drop_route(site: Site, server: Server) -> None:
    await site.store.feed.drop_route(server_path(site.base, server.user, server.name), attempt=server.attempt)
