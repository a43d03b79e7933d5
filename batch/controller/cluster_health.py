"""Reports clusters, and parts of them, that have not answered for a while, as problems in the store.

Pages, health checks and logs show them.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Final

from batch.controller.watcher import ClusterWatch
from state.errors import StateUnavailableError
from state.records.health import CLUSTER_SILENT, PART_SILENT, Problem
from state.store.health import Health

LOOK_SECONDS: Final = 20.0
SILENT_SECONDS: Final = 60.0


async def report_clusters(store: Health, watches: Iterable[ClusterWatch]) -> None:
    """Report repeatedly, until cancelled."""
    reported: set[str] = set()
    watched = tuple(watches)
    while True:
        with contextlib.suppress(StateUnavailableError):
            found = {problem.part: problem for watch in watched for problem in problems_of(watch)}
            for problem in found.values():
                await store.report(problem)
            for part in reported - found.keys():
                await store.solved("", part)
            reported = set(found)
        await asyncio.sleep(LOOK_SECONDS)


def problems_of(watch: ClusterWatch) -> Iterator[Problem]:
    """Yield the problems of a cluster and its parts. Short outages are left out."""
    name = watch.config.name
    silence = watch.silence
    if silence is not None and silence.seconds >= SILENT_SECONDS:
        message = f"The cluster {name} does not answer: {silence.reason}"
        yield Problem(code=CLUSTER_SILENT, part=f"cluster {name}", host="", message=message, since=silence.since)
    for trouble in watch.launcher.troubles():
        if not trouble.urgent and time.time() - trouble.since < SILENT_SECONDS:
            continue
        message = f"Cluster {name}, {trouble.part}: {trouble.text}"
        part = f"cluster {name}, {trouble.part}"
        yield Problem(code=PART_SILENT, part=part, host="", message=message, since=trouble.since)
