"""The contracts that need a real Slurm share it with the tests of tests/cluster."""

from tests.cluster.conftest import slurm, slurm_session

__all__ = ["slurm", "slurm_session"]
