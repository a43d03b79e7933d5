"""Launchers for a real Slurm in tests, and the values that scripts are made of."""

import importlib.util
import os
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from batch.bundle import starter_source
from batch.contract import JobSpec, Offer
from batch.launchers.slurm.catalog.gather import Gatherer
from batch.launchers.slurm.client import Client
from batch.launchers.slurm.clients.cli import CliClient
from batch.launchers.slurm.clients.login_node_groups import LoginNodeGroups
from batch.launchers.slurm.clients.login_nodes import LoginNodes
from batch.launchers.slurm.clients.pyslurm import PyslurmClient
from batch.launchers.slurm.clients.ssh import open_over_ssh
from batch.launchers.slurm.factory import open_client
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.kind import LoginNodesConfig, SlurmConfig
from batch.launchers.slurm.launcher import SlurmLauncher
from batch.ssh.credentials import HubCertificates
from batch.ssh.keys import Authority
from batch.ssh.settings import SshAddressConfig
from deploy.devcluster import another
from state.records.models import Server, Status, Target
from tests import sshd
from tests.batch.launchers.ssh.making import AUTHORITY
from tests.sshd import HOMES, MONITOR, Pool

ALICE = Identity(name="alice", uid=1001, gid=1001, groups=(1001,), home="/home/alice", shell="/bin/bash")


def slurm_config(slurm: Any, client: str, **more: Any) -> SlurmConfig:
    """Return the configuration of a client for a cluster of the tests."""
    ways = {
        "cli": {"conf": str(slurm.slurm_conf), "bin_dir": slurm.layout.bin_dir},
        "pyslurm": {"conf": str(slurm.slurm_conf), "bin_dir": slurm.layout.bin_dir},
        "ssh": {"conf": str(slurm.slurm_conf), "bin_dir": slurm.layout.bin_dir},
        "rest": {"rest_url": slurm.restd_url, "rest_key_file": str(slurm.layout.jwt_key)},
    }
    return SlurmConfig(**{"client": client, **ways[client], **more})


def real_pyslurm() -> bool:
    """Return whether pyslurm can be imported: here, or by the Python of the Debian whose Slurm is tested."""
    debian = os.environ.get("TOWPATH_TEST_DEBIAN")
    return bool(another.pyslurm(Path(debian)) if debian else importlib.util.find_spec("pyslurm"))


def opener(slurm: Any, client: str) -> Callable[[SlurmConfig], Client] | None:
    """Return the function that opens a client for a cluster of the tests; None: the usual one."""
    debian = slurm.layout.debian
    if client != "pyslurm" or debian is None:
        return None
    environment = {
        "PYTHONHOME": str(debian / "usr"),
        "PYTHONPATH": f"{Path(__file__).parents[4]}:{another.pyslurm(debian)}",
    }
    helper = (*another.argv(debian, "python3"), "-P", "-m", "batch.launchers.slurm.clients.pyslurm_helper")
    return partial(PyslurmClient, helper=helper, environment=environment)


def fake_pyslurm(folder: Path, trick: str = "") -> Callable[[SlurmConfig], PyslurmClient]:
    """Creates clients whose helpers import the fake pyslurm, for one cluster that is a file."""
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[3] / "contracts/fake_pyslurm"),
        "FAKE_PYSLURM": str(folder / "cluster.json"),
        "FAKE_PYSLURM_TRICK": trick,
    }
    return partial(PyslurmClient, environment=environment)


def slurm_maker(
    config: SlurmConfig, speaks: Callable[[SlurmConfig], Client] | None = None
) -> Callable[[], SlurmLauncher]:
    """Creates launchers of one hub: they share a key, and nothing else."""
    key = os.urandom(32)

    def make() -> SlurmLauncher:
        client = (speaks or open_client)(config)
        offer = Gatherer("slurm", client.source()).gather
        return SlurmLauncher("slurm", config, client, key=key, starter=starter_source(), offer=offer)

    return make


def login_nodes(config: SlurmConfig) -> LoginNodes:
    """The login nodes of this configuration, with certificates of AUTHORITY."""
    return over_ssh(config)[1]


def over_ssh(config: SlurmConfig) -> tuple[CliClient, LoginNodes, LoginNodeGroups]:
    """The same with their client and groups."""
    return open_over_ssh(config, Path("/nonexistent"), HubCertificates(Authority(AUTHORITY), hub="tests", seconds=120))


def login_config(slurm: Any, pool: Pool, **more: Any) -> SlurmConfig:
    """How to speak to a cluster of the tests over the hosts of a pool."""
    nodes = tuple(
        SshAddressConfig(name=host.name, address=host.address, port=host.port) for host in pool.hosts.values()
    )
    ssh = LoginNodesConfig(login_node=nodes, known_hosts=(str(pool.known_hosts),), monitor_user=MONITOR)
    return slurm_config(slurm, "ssh", **{"ssh": ssh, **more})


def ssh_slurm_maker(slurm: Any, pool: Pool, **more: Any) -> Callable[[], SlurmLauncher]:
    """Makes launchers of one hub that reach Slurm over the hosts of a pool."""
    key = os.urandom(32)
    config = login_config(slurm, pool, **more)

    def make() -> SlurmLauncher:
        client, nodes, groups = over_ssh(config)
        offer = Gatherer("slurm", client.source(), groups).gather
        return SlurmLauncher("slurm", config, client, key=key, starter=starter_source(), offer=offer, nodes=nodes)

    return make


def login_pool(names: tuple[str, ...] = ("login1", "login2")) -> Iterator[Pool]:
    """Login nodes of the cluster: hosts with the users' own homes, which trust AUTHORITY."""
    with sshd.running(names, homes=HOMES) as pool:
        pool.trust(Authority(AUTHORITY).public_line)
        yield pool


async def gathered(config: SlurmConfig) -> Offer:
    """Return the catalog from a client that is closed afterwards."""
    client = open_client(config)
    try:
        return await Gatherer("slurm", client.source()).gather()
    finally:
        await client.close()


def record(user: str = "alice", name: str = "lab", **more: Any) -> Server:
    """Return a record as it is saved before a submit."""
    values = {
        "user": user,
        "name": name,
        "target": Target.READY,
        "status": Status.REQUESTED,
        "attempt": secrets.token_hex(16),
        "profile": "jupyterlab",
        "cluster": "slurm",
        "requested": time.time(),
        "credential": f"token {secrets.token_urlsafe(32)}",
        "report_hash": secrets.token_hex(32),
    }
    return Server(**{**values, **more})


def job(**more: Any) -> JobSpec:
    """Return a job that waits until it is asked to end."""
    server = more.pop("record", None) or record(more.pop("user", "alice"))
    values = {
        "attempt": server.attempt,
        "user": server.user,
        "server": server.name,
        "command": ("/bin/sh", "-c", "exec sleep 300", "{socket}"),
        "environment": {},
        "directory": "~/",
        "base_path": f"/user/{server.user}/{server.name}/",
        "hub_urls": ("http://127.0.0.1:9/hub/api/towpath/report",),
        "report_token": secrets.token_hex(8),
        "secrets": (),
        "start_window": 600.0,
        "record": server,
        "grace": 2.0,
        "again": False,
    }
    return JobSpec(**{**values, **more})
