"""`towpath check`: whether the apps of servers that run are reached, by each cluster's way in.

Owns which servers are tried. A connection to the app is opened and closed; nothing is sent.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.serve.findings import Finding
from gateway.ways_in.contract import WayIn
from gateway.ways_in.direct import DirectWayIn
from gateway.ways_in.errors import WayInError
from gateway.ways_in.identity import GatewayIdentity
from gateway.ways_in.sockets import TcpWayIn, UnixWayIn
from gateway.ways_in.ssh.way_in import SshWayIn
from state.names import server_key
from state.plugins.launchers import way_in_of
from state.records.models import Endpoint, Server
from state.records.readiness import is_ready
from state.settings.loader import Settings
from state.store.all import Store

TRIED: Final = 3
"""Servers of a cluster: an app that does not accept connections does not show that its way in is at fault."""
SECONDS: Final = 10.0
READ_AT_ONCE: Final = 500


async def check(settings: Settings, store: Store) -> list[Finding]:
    """Return a finding for each cluster. Raises StateUnavailableError."""
    folder = settings.data_dir / "tls"
    ways: dict[str, WayIn] = {
        "unix": UnixWayIn(),
        "tcp": TcpWayIn(),
        "tls": DirectWayIn(GatewayIdentity(folder)),
        "ssh-socket": SshWayIn(store.ssh_passes, folder / "gateway.pem"),
    }
    running = await _running(store)
    try:
        return await asyncio.gather(
            *(
                _cluster(cluster.name, way_in_of(cluster), running.get(cluster.name, []), ways)
                for cluster in settings.config.cluster
            )
        )
    finally:
        for way in ways.values():
            await way.close()


async def _running(store: Store) -> dict[str, list[Server]]:
    """Return the ready servers of each cluster, the last ones first."""
    found: dict[str, list[Server]] = {}
    active = [*await store.servers.active()]
    for at in range(0, len(active), READ_AT_ONCE):
        for server in (await store.servers.many(active[at : at + READ_AT_ONCE])).values():
            if is_ready(server) and server.endpoint is not None:
                found.setdefault(server.cluster, []).append(server)
    return {name: sorted(servers, key=lambda one: one.ready or 0.0, reverse=True) for name, servers in found.items()}


async def _cluster(name: str, way_in: str, servers: Sequence[Server], ways: Mapping[str, WayIn]) -> Finding:
    part = f"way in {name}"
    able = [server for server in servers if server.endpoint is not None and server.endpoint.kind in ways][:TRIED]
    if not able:
        return Finding(part, good=True, text=f"{way_in}; not tried, because no server is ready that it leads to")
    faults = []
    for server in able:
        assert server.endpoint is not None
        label = server_key(server.user, server.name).rstrip("/")
        fault = await _fault(ways[server.endpoint.kind], server.endpoint)
        if not fault:
            return Finding(part, good=True, text=f"{way_in}; reaches the server {label}")
        faults.append(f"{label}: {fault}")
    return Finding(part, good=False, text=f"{way_in}; does not reach the server {faults[0]}", passing=True)


async def _fault(way: WayIn, endpoint: Endpoint) -> str:
    """Return what is wrong with the way to an app; `""`: nothing."""
    try:
        async with asyncio.timeout(SECONDS):
            protocol = await way.open(endpoint, _Connected)
    except WayInError as error:
        return " ".join(filter(None, (str(error), f"({error.detail})")))
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} s"
    except OSError as error:  # asyncio's texts have numbers and addresses in them
        return os.strerror(error.errno) if error.errno else str(error)
    except ValueError as error:
        return str(error)
    protocol.transport.abort()
    return ""


class _Connected(asyncio.Protocol):
    """Only connects."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
