"""One data directory for the servers of a cluster on this machine: a second one is refused.

The servers of a `local` cluster are processes of one machine, described in one data directory. A controller with
another directory finds none of them, and would consider them lost.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from state.errors import ConfigError, Fault, StateUnavailableError
from state.sealing.private_files import is_private_file, write_private_file
from state.store.all import Store
from state.store.homes import ClusterHome

log = logging.getLogger("towpath.controller")

FILE: Final = "home-id"
SHOW_SECONDS: Final = 15.0
ID_BYTES: Final = 16


def home_of(data_dir: Path) -> ClusterHome:
    """Return the identity of this data directory. It stays the same when the directory or the machine is renamed."""
    path = data_dir / FILE
    if not is_private_file(path):
        fresh = path.with_name(f"{FILE}.{secrets.token_hex(4)}")
        write_private_file(fresh, secrets.token_hex(ID_BYTES).encode())
        with contextlib.suppress(FileExistsError):  # another controller of this directory was first
            os.link(fresh, path)
        fresh.unlink()
    return ClusterHome(id=path.read_text().strip(), where=f"{data_dir} on {socket.gethostname()}")


async def claim_homes(store: Store, clusters: Iterable[str], home: ClusterHome, *, take_over: bool = False) -> None:
    """Claim the clusters for this data directory. Raises ConfigError while another one has them.

    `take_over`: claim them although servers run from the other directory, if no controller is active there.
    """
    faults = []
    for cluster in clusters:
        held = await store.homes.claim(cluster, home)
        if held.id == home.id:
            continue
        alive = held.alive(time.time())
        running = 0 if alive else await _running(store, cluster)
        if alive or (running and not take_over):
            faults.append(Fault("", f"cluster.{cluster}", _refusal(held, running)))
            continue
        log.warning("Cluster taken over cluster=%s from=%s servers=%d", cluster, held.where, running)
        await store.homes.claim(cluster, home, replace=True)
    if faults:
        raise ConfigError(faults)


async def show_homes(store: Store, clusters: Iterable[str], home: ClusterHome) -> None:
    """Show repeatedly that this one is active, until cancelled."""
    while True:
        await asyncio.sleep(SHOW_SECONDS)
        with contextlib.suppress(StateUnavailableError):
            for cluster in clusters:
                await store.homes.claim(cluster, home)


async def _running(store: Store, cluster: str) -> int:
    """Count the servers of a cluster that have not ended, by their records."""
    records = await store.servers.many(list(await store.servers.active()))
    return sum(server.active and server.cluster == cluster for server in records.values())


def _refusal(held: ClusterHome, running: int) -> str:
    if not running:
        return (
            f"a controller with another data directory runs the servers of this cluster ({held.where})."
            " A cluster on one machine has one controller: stop the other one, or use its data directory."
        )
    servers = "1 server" if running == 1 else f"{running} servers"
    return (
        f"{servers} of this cluster run from another data directory ({held.where}). Start the controller there."
        " If that machine is gone for good, start this one once with --take-over: those servers count as lost."
    )
