"""The helper that uses pyslurm: its end, its hanging, its absence, and pyslurm's names for a job's fields."""

import asyncio
import os
import signal
import sys

import pytest

from batch.contract import LauncherError, Resources
from batch.launchers.slurm.clients.pyslurm import PyslurmClient, described, past_of
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.script import batch
from tests.batch.launchers.slurm.making import ALICE, fake_pyslurm, job
from tests.conftest import run

CONFIG = SlurmConfig(client="pyslurm", timeout=10.0)
NOBODY = Identity(name="nobody", uid=65534, gid=65534, groups=(65534,), home="/nonexistent", shell="/bin/sh")
"""An account that every Debian has: pyslurm looks the job's user up."""


def client_with(**more):
    return batch(job(**more), ALICE, comment="towpath:1:alice/lab:abc", starter="pass")


async def tried(verb, *, transient=True):
    with pytest.raises(LauncherError) as caught:
        await verb
    assert caught.value.transient is transient
    return str(caught.value)


def test_a_helper_that_is_killed_is_started_again(tmp_path):
    async def body():
        client = fake_pyslurm(tmp_path)(CONFIG)
        number = await client.submit(client_with(), NOBODY)
        os.kill(client._process.pid, signal.SIGKILL)
        assert "ended" in await tried(client.jobs())
        assert [one.id for one in await client.jobs()] == [number]
        await client.close()

    run(body())


def test_a_helper_that_hangs_is_ended_and_nothing_of_it_is_left(tmp_path):
    async def body():
        client = fake_pyslurm(tmp_path, "hang")(SlurmConfig(client="pyslurm", timeout=1.5))
        await client.jobs()
        process = client._process
        await tried(client.submit(client_with(), ALICE))
        assert process.returncode == -signal.SIGKILL
        assert await client.jobs() == []
        await client.close()

    run(body())


def test_a_pyslurm_that_ends_its_process_at_import_is_transient(tmp_path):
    async def body():
        await tried(fake_pyslurm(tmp_path, "die")(CONFIG).jobs())

    run(body())


def test_a_missing_pyslurm_is_reported_with_how_to_install_it(tmp_path):
    async def body():
        client = PyslurmClient(CONFIG)
        output = await tried(client.jobs(), transient=False)
        assert "not installed" in output

    try:
        import pyslurm  # noqa: F401
    except ImportError:
        run(body())


def test_output_of_pyslurm_itself_is_no_answer(tmp_path):
    async def body():
        client = fake_pyslurm(tmp_path, "noise")(CONFIG)
        assert await client.jobs() == []
        await client.close()

    run(body())


def test_a_cancelled_call_does_not_give_its_answer_to_the_next(tmp_path):
    async def body():
        client = fake_pyslurm(tmp_path)(CONFIG)
        await client.jobs()
        for _ in range(5):
            task = asyncio.ensure_future(client.submit(client_with(), ALICE))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert isinstance(await client.jobs(), list)
        await client.close()

    run(body())


def test_requests_at_the_same_time_are_answered_one_after_the_other(tmp_path):
    async def body():
        client = fake_pyslurm(tmp_path)(CONFIG)
        numbers = await asyncio.gather(*(client.submit(client_with(), ALICE) for _ in range(20)))
        assert sorted(numbers) == list(range(1, 21))
        await client.close()

    run(body())


def test_slurms_refusals_are_reported_as_by_the_other_clients(tmp_path):
    async def body():
        client = fake_pyslurm(tmp_path)(CONFIG)
        for resources, field in ((Resources(partition="nope"), "partition"), (Resources(account="nope"), "account")):
            with pytest.raises(LauncherError) as caught:
                await client.submit(client_with(resources=resources), ALICE)
            assert (caught.value.field, caught.value.transient) == (field, False)
        await client.cancel(77, "towpath-77", ALICE)  # not there: no error
        await client.close()

    run(body())


def test_a_job_is_described_by_pyslurms_names():
    asked = Resources(
        partition="gpu", gpu_type="a100", gpus=1, cores=2, memory=2**30, walltime=3600, nodes=2, signal=60
    )
    told = described(client_with(resources=asked), ALICE)
    assert told["script"].startswith("#!/bin/bash\n#SBATCH ")
    assert {name: told[name] for name in told if name not in ("script", "name", "environment")} == {
        "user_id": 1001,
        "group_id": 1001,
        "working_directory": "/home/alice",
        "comment": "towpath:1:alice/lab:abc",
        "partitions": ["gpu"],
        "gres_per_node": "gpu:a100:1",
        "cpus_per_task": 2,
        "memory_per_node": "1024M",
        "time_limit": "0-01:00:00",
        "nodes": "2",
        "kill_on_node_fail": False,
        "signal": "B:SIGUSR1@60",
        "dependencies": "singleton",
        "standard_output": "/dev/null",
        "is_requeueable": True,
    }
    assert told["environment"]["HOME"] == "/home/alice"


def test_an_option_that_pyslurm_has_no_name_for_is_refused():
    with pytest.raises(LauncherError, match="hint"):
        described(client_with(resources=Resources(more=(("hint", "nomultithread"),))), ALICE)


def test_an_end_in_the_accounting_has_its_causes():
    row = {
        "id": 1,
        "user_name": "alice",
        "name": "n",
        "comment": "c",
        "state": "CANCELLED",
        "state_reason": "None",
        "cancelled_by": "carol",
        "exit_code": 0,
        "exit_code_signal": 15,
        "submit_time": 5,
        "start_time": 6,
        "end_time": 9,
        "elapsed_time": 3,
        "time_limit": 30,
        "memory": 500,
        "num_nodes": 1,
        "nodelist": "cn1",
        "used": 0,
    }
    past = past_of(row)
    assert (past.facts.cancelled_by, past.facts.signal, past.facts.limit, past.facts.requested) == (
        "carol",
        15,
        1800.0,
        500 << 20,
    )
    assert past_of({**row, "state": "RUNNING"}).facts is None


def test_the_controllers_side_never_imports_pyslurm():
    assert "pyslurm" not in sys.modules
