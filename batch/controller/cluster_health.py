"""Clusters that have not answered for a while, as problems in the store: pages, health and logs show them."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

from batch.controller.watcher import ClusterWatch
from state.errors import StateUnavailableError
from state.records.health import CLUSTER_SILENT, Problem
from state.store.health import Health

LOOK_SECONDS: Final = 20.0
SILENT_SECONDS: Final = 60.0


async def report_clusters(store: Health, watches: Iterable[ClusterWatch]) -> None:
    """Report again and again, until cancelled."""
    reported: set[str] = set()
    while True:
        with contextlib.suppress(StateUnavailableError):
            for watch in watches:
                name = watch.config.name
                problem = problem_of(watch)
                if problem is not None:
                    await store.report(problem)
                    reported.add(name)
                elif name in reported:
                    await store.solved("", _part(name))
                    reported.discard(name)
        await asyncio.sleep(LOOK_SECONDS)


def problem_of(watch: ClusterWatch) -> Problem | None:
    """Return what is wrong with a cluster; None: it answers, or has been silent only for a moment."""
    silence = watch.silence
    if silence is None or silence.seconds < SILENT_SECONDS:
        return None
    return Problem(
        code=CLUSTER_SILENT,
        part=_part(watch.config.name),
        host="",
        message=f"The cluster {watch.config.name} does not answer: {silence.reason}",
        since=silence.since,
    )


def _part(cluster: str) -> str:
    return f"cluster {cluster}"
