"""Prometheus metrics. Values of the whole hub are read from the store; those of a worker have its label.

Owns the names (JupyterHub's if it has the metric, otherwise `towpath_`). A scrape reaches one worker, whose counters
have the label `worker`, so that different workers have different series, which `sum by` adds up. Does not know who
may scrape.
"""

import os
import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from portal.site.site import Site
from state.records.readiness import is_ready

WORKER: Final = str(os.getpid())
REGISTRY: Final = CollectorRegistry()
MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

STARTS: Final = Counter("towpath_starts_total", "Starts that were asked for", ["worker", "profile"], registry=REGISTRY)
STOPS: Final = Counter("towpath_stops_total", "Stops that were asked for", ["worker"], registry=REGISTRY)
REPORTS: Final = Counter(
    "towpath_reports_total", "Reports of starters", ["worker", "kind", "status"], registry=REGISTRY
)
SPAWN: Final = Histogram(
    "jupyterhub_server_spawn_duration_seconds",
    "From the request of a start to its end",
    ["worker", "status"],
    buckets=[0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 3600, float("inf")],
    registry=REGISTRY,
)
UP_SINCE: Final = Gauge("towpath_worker_start_time_seconds", "When this worker began", ["worker"], registry=REGISTRY)
UP_SINCE.labels(WORKER).set(time.time())

USERS: Final = Gauge("jupyterhub_total_users", "Users of the hub", registry=REGISTRY)
RUNNING: Final = Gauge("jupyterhub_running_servers", "Servers that are ready", registry=REGISTRY)
SERVERS: Final = Gauge("towpath_servers", "Servers that have not ended, by status", ["status"], registry=REGISTRY)
FRESH: Final = Gauge("towpath_state_fresh", "1 while this worker knows the state", ["worker"], registry=REGISTRY)


async def scrape(site: Site) -> bytes:
    """Return all metrics in Prometheus' text format. Raises StateUnavailableError."""
    users = await site.store.users.count()
    records = list((await site.store.servers.many(list(await site.store.servers.active()))).values())
    active = [record for record in records if record.active]
    USERS.set(users)
    RUNNING.set(sum(is_ready(record) for record in active))
    SERVERS.clear()
    for record in active:
        SERVERS.labels(record.status.value).inc()
    FRESH.labels(WORKER).set(site.mirror.fresh)
    return generate_latest(REGISTRY)
