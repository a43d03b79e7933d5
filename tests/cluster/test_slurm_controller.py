"""The controller on a real Slurm: killed at every step of a start and a stop, and with its store emptied."""

import signal

import pytest
from msgspec.structs import replace

from state.records.lifecycle import PROGRESS
from state.records.models import Event, Status, Target
from state.store.all import Store
from tests.batch.rig import Rig, ask, fresh
from tests.conftest import run, until

COMMAND = '["/bin/sh", "-c", "exec sleep 300", "{socket}"]'


class SlurmRig(Rig):
    """A controller whose cluster is Slurm."""

    def __init__(self, folder, url, slurm):
        super().__init__(folder, url)
        self.config.write_text(
            f"""
[[cluster]]
name = "hpc"
kind = "slurm"
tick = 0.3
start_window = 600
[cluster.slurm]
conf = "{slurm.slurm_conf}"
bin_dir = "{slurm.layout.bin_dir}"
[[profile]]
name = "stub"
cluster = "hpc"
command = {COMMAND}
[profile.resources]
memory = "100M"
walltime = "00:30:00"
"""
        )

    def jobs(self):
        return []


@pytest.fixture
def rig(slurm, short_folder, tmp_path, store_url):
    made = SlurmRig(tmp_path, store_url, slurm)
    yield made
    made.close()


def server(name="lab"):
    return replace(fresh("alice", name), cluster="hpc")


async def reached(store, name, *states):
    async def there():
        record = await store.servers.get("alice", name)
        return record is not None and record.status in states and record

    return await until(there)


async def stop(store, record):
    now = await store.servers.get(record.user, record.name)
    event = Event(attempt=now.attempt, time=0.0, status=now.status, message="Stop.", progress=PROGRESS[now.status])
    await store.servers.save(replace(now, target=Target.STOPPED), event=event)


def numbers(slurm, record, states="all"):
    return slurm.run("squeue", "-h", "-t", states, "-o", "%i", f"--name=towpath-{record.attempt}").split()


@pytest.mark.faults
@pytest.mark.parametrize("point", ["before-submit", "after-submit", "after-save", "before-cancel", "after-cancel"])
def test_a_controller_killed_at_any_step_leaves_one_job_and_no_orphan(slurm, rig, store_url, point):
    async def body():
        store = await Store.open(store_url)
        try:
            first = rig.start(fault=point)
            record = await ask(store, server())
            if point.endswith("cancel"):
                await reached(store, "lab", Status.STARTING)
                await stop(store, record)
            await until(lambda: first.poll() is not None)
            assert first.returncode == -signal.SIGKILL
            rig.start()
            if not point.endswith("cancel"):
                await reached(store, "lab", Status.STARTING)
                await stop(store, record)
            await reached(store, "lab", Status.STOPPED)
            assert len(numbers(slurm, record)) == 1
            assert numbers(slurm, record, "PENDING,RUNNING,SUSPENDED,COMPLETING") == []
        finally:
            await store.close()

    run(body())


@pytest.mark.faults
def test_a_hub_with_an_empty_store_finds_every_job_again(slurm, rig, valkey, store_url):
    names = [f"s{number}" for number in range(20)]

    async def body():
        store = await Store.open(store_url)
        try:
            rig.start()
            before = {name: await ask(store, server(name)) for name in names}
            for name in names:
                await reached(store, name, Status.STARTING, Status.QUEUED)
            valkey.command("FLUSHALL")
            for name in names:
                found = await reached(store, name, Status.STARTING, Status.QUEUED)
                assert found.attempt == before[name].attempt
                assert found.credential
                assert found.report_hash
            for name in names:
                assert len(numbers(slurm, before[name])) == 1
                await stop(store, before[name])
            for name in names:
                await reached(store, name, Status.STOPPED)
        finally:
            await store.close()

    run(body())
