"""What the tests on a real Slurm share: one cluster for a run, at rest before each test."""

from collections.abc import Iterator

import pytest

from tests import slurm as rig


@pytest.fixture(scope="session")
def slurm_session() -> Iterator[rig.Slurm]:
    """The run's cluster, in whatever state the last test left it."""
    with rig.running() as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_session: rig.Slurm) -> Iterator[rig.Slurm]:
    """The run's cluster: all daemons up, no job, every node idle; mended after the test."""
    yield slurm_session
    slurm_session.reset()
