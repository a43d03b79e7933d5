"""Checks the edge of a running hub periodically, in one worker at a time, without delaying a start.

Owns when it runs and what is logged. The report is in the store, where the admin's page and `towpath check` read
it.
"""

import asyncio
import logging
import time
from typing import Final

from gateway.edge.diagnosis import Expected, diagnose
from gateway.edge.probe import Probe, Target
from state.config.addresses import base_path, in_url, origin_of_url
from state.config.tables import Config
from state.errors import TowpathError
from state.records.edge import EdgeFinding, EdgeReport
from state.store.edge_reports import EdgeReports

log = logging.getLogger("towpath.edge")

WELL_SECONDS: Final = 600.0
BAD_SECONDS: Final = 30.0
SILENCE_SECONDS: Final = 75.0
"""Longer than the 60 s after which most proxies give up."""
SILENCE_EVERY: Final = 3600.0
PATIENCE_SECONDS: Final = 60.0
"""Seconds before the first check: an edge may be started after the hub."""
_SECRET_SECONDS: Final = SILENCE_SECONDS + 120.0


async def check(reports: EdgeReports, config: Config, *, silence: float = 0.0) -> EdgeReport | None:
    """Check the edge once. Returns None if no `public_url` is configured.

    Raises StateUnavailableError when the store does not answer.
    """
    gateway = config.gateway
    if not gateway.public_url:
        return None
    origin = origin_of_url(gateway.public_url)
    scheme, _, netloc = origin.partition("://")
    secret = await reports.issue(lifetime=_SECRET_SECONDS + silence)
    target = Target(
        origin=origin,
        base_path=base_path(config),
        secret=secret,
        user_domain=gateway.user_domain,
        silence=silence,
    )
    observed = await Probe(target).run()
    expected = Expected(
        netloc=netloc,
        scheme=scheme,
        gateway=f"{in_url(gateway.host)}:{gateway.port}",
        own_tls=bool(gateway.tls_certificate),
    )
    return EdgeReport(time=time.time(), url=gateway.public_url, findings=diagnose(observed, expected))


class EdgeWatch:
    """The periodic check in one worker. The store assigns each check to one of the workers."""

    def __init__(self, reports: EdgeReports, config: Config) -> None:
        self._reports = reports
        self._config = config
        self._started_at = time.monotonic()
        self._silence_at = 0.0
        self._silent: EdgeFinding | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start checking in the background."""
        if self._config.gateway.public_url:
            self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Stop checking."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            wait = BAD_SECONDS
            try:
                wait = await self._reports.take_turn(seconds=BAD_SECONDS)
                if not wait:
                    wait = await self._turn()
            except TowpathError as error:
                log.info("The edge was not checked. error=%s", error)
            except Exception:
                log.exception("The check of the edge failed")
            await asyncio.sleep(wait)

    async def _turn(self) -> float:
        """Check once; returns the seconds until the next turn."""
        report = await check(self._reports, self._config)
        assert report is not None
        unreached = any(each.check == "reach" for each in report.problems)
        if unreached and time.monotonic() - self._started_at < PATIENCE_SECONDS:
            return BAD_SECONDS
        await self._publish(self._with_silence(report))
        if await self._try_silence(report):  # only now: it takes over a minute
            await self._publish(self._with_silence(report))
        if self._with_silence(report).problems:
            return BAD_SECONDS
        await self._reports.extend_turn(seconds=WELL_SECONDS)
        return WELL_SECONDS

    async def _publish(self, report: EdgeReport) -> None:
        before = await self._reports.latest()
        await self._reports.save(report)
        tell(report, before)

    async def _try_silence(self, report: EdgeReport) -> bool:
        """Check a long silence: once an hour, or at each turn while it is ended. Returns whether it was checked."""
        reached = any(each.check == "websocket" for each in report.findings)
        if not reached or time.monotonic() < self._silence_at:
            return False
        self._silent = await self._silence()
        if self._silent is not None and not self._silent.good:
            self._silent = await self._silence()  # the edge may have been started again just then
        if self._silent is not None and self._silent.good:
            self._silence_at = time.monotonic() + SILENCE_EVERY
        return True

    async def _silence(self) -> EdgeFinding | None:
        """Check a long silence once; None: the edge was not reached."""
        await self._reports.extend_turn(seconds=SILENCE_SECONDS + BAD_SECONDS)
        longer = await check(self._reports, self._config, silence=SILENCE_SECONDS)
        assert longer is not None
        return next((each for each in longer.findings if each.check == "silence"), None)

    def _with_silence(self, report: EdgeReport) -> EdgeReport:
        """Return the report with the last result of a long silence."""
        if self._silent is None:
            return report
        return EdgeReport(time=report.time, url=report.url, findings=(*report.findings, self._silent))


def tell(report: EdgeReport, before: EdgeReport | None) -> None:
    """Log what has changed since the report before."""
    known = {each.text for each in before.problems} if before is not None else set()
    for each in report.problems:
        if each.text not in known:
            log.warning("The edge is not set up as the hub needs it. check=%s %s %s", each.check, each.text, each.fix)
    if before is None or (known and not report.problems):
        log.info("The edge was checked. url=%s problems=%d", report.url, len(report.problems))
