"""A configured Slurm cluster: what this machine lacks is reported before the hub starts."""

import os

import pytest

from batch.contract import LauncherContext
from batch.launchers.opening import open_launcher
from batch.launchers.slurm.clients.cli import CliClient
from batch.launchers.slurm.kind import SlurmConfig, check_profile
from state.config.tables import ClusterConfig, ProfileConfig, ResourcesConfig
from state.errors import ConfigError
from tests.conftest import run


def cluster(**slurm):
    return ClusterConfig(name="hpc", kind="slurm", options=SlurmConfig(**slurm))


@pytest.fixture
def context(tmp_path):
    return LauncherContext(data_dir=tmp_path, seal_key=lambda: bytes(32))


def test_it_is_a_kind_of_cluster(context):
    launcher = open_launcher(cluster(submit_as="sudo"), context)
    assert isinstance(launcher._client, CliClient)
    run(launcher.close())


def test_setuid_without_root_is_reported(context, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match=r"cluster\.hpc\.slurm\.submit_as.*root"):
        open_launcher(cluster(), context)


@pytest.mark.parametrize(
    ("slurm", "words"),
    [
        ({"bin_dir": "/nowhere", "submit_as": "sudo"}, "sbatch was not found in /nowhere"),
        ({"client": "rest", "rest_url": "unix:///x", "rest_key_file": "/nowhere/key"}, "/nowhere/key cannot be read"),
    ],
)
def test_a_missing_program_or_file_is_a_fault_of_the_configuration(context, slurm, words):
    with pytest.raises(ConfigError, match=words):
        open_launcher(cluster(**slurm), context)


def test_options_of_sbatch_that_a_profile_may_not_set_are_faults():
    def faults(**extra):
        resources = ResourcesConfig(extra={name.replace("_", "-"): value for name, value in extra.items()})
        found = []
        profile = ProfileConfig(name="lab", cluster="hpc", resources=resources)
        check_profile(profile, "profile[1]", lambda key, _: found.append(key))
        return found

    assert faults(exclusive="", licenses="matlab:1", hint="nomultithread", ntasks="4") == []
    assert faults(uid="root", wrap="id", tmp="lots", exclusive="yes please") == [
        "profile[1].resources.extra.uid",
        "profile[1].resources.extra.wrap",
        "profile[1].resources.extra.tmp",
        "profile[1].resources.extra.exclusive",
    ]
