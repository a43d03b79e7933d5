"""What the tests on a real Slurm share: one cluster per run, idle before each test."""

from collections.abc import Iterator

import pytest

from tests import slurm as rig


@pytest.fixture(scope="session")
def slurm_session() -> Iterator[rig.Slurm]:
    """The run's cluster, in the state that the last test left it in."""
    with rig.running() as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_session: rig.Slurm) -> Iterator[rig.Slurm]:
    """The run's cluster: all daemons up, no jobs, every node idle; restored after the test."""
    yield slurm_session
    slurm_session.reset()
