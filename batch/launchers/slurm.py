"""The `slurm` cluster, put together: a client for the way that Slurm is spoken to, the seal's key, the starter's text.

Owns: which client a configuration means. Refuses to know what they do.
"""

from importlib import import_module
from pathlib import Path
from typing import Final, cast

from batch.authority import seal_key
from batch.launchers.local import STARTER
from batch.slurm.client import Client
from batch.slurm.gather import Gatherer
from batch.slurm.launcher import SlurmLauncher
from state.config import ClusterConfig, SlurmConfig

CLIENTS: Final = {"cli": "batch.slurm.cli", "rest": "batch.slurm.rest", "pyslurm": "batch.slurm.pyslurm"}


def open_slurm(cluster: ClusterConfig, data_dir: Path) -> SlurmLauncher:
    """The launcher of a Slurm cluster. Raises AuthorityError where the seal's key is missing."""
    client = open_client(cluster.slurm)
    return SlurmLauncher(
        cluster.name,
        cluster.slurm,
        client,
        key=seal_key(data_dir),
        starter=STARTER.read_text(),
        offer=Gatherer(cluster.name, client.source()).gather,
    )


def open_client(config: SlurmConfig) -> Client:
    """The client that the configuration names."""
    return cast("Client", import_module(CLIENTS[config.client]).open_client(config))
