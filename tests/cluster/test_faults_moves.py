"""Jobs that Slurm stops and runs again: the same URL leads to the new node, nothing hangs, nothing is duplicated."""

import asyncio
from contextlib import closing

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.cluster.faulty import FaultyHub, clear, jobs_of, short
from tests.hub import eventually

pytestmark = pytest.mark.faults
SLEEP = "#!/bin/sh\nexec sleep 300\n"


@pytest.fixture(scope="module")
def hub(slurm_session, short_folder):
    hub = FaultyHub(short(short_folder), slurm_session).start()
    hub.settled()
    yield hub
    hub.close()


@pytest.fixture
def alice(slurm, hub):
    with closing(hub.user("alice")) as alice:
        yield alice
        clear(hub, alice)


def requeue(slurm, job, node):
    """An operator requeues the job, and uses the node for something else."""
    slurm.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=fans")
    slurm.run("scontrol", "requeue", job)
    return "The scheduler has requeued the job. It was put back into the queue on request."


def preempt(slurm, job, node):
    """A job with a higher priority needs the node."""
    slurm.sbatch("--qos=normal", "--cpus-per-task=8", f"--nodelist={node}", script=SLEEP, user="bob")
    return "The scheduler has requeued the job. The job was preempted by a job with a higher priority."


@pytest.mark.parametrize("take_away", [requeue, preempt])
def test_a_requeued_job_is_found_at_its_url_and_open_connections_are_closed(slurm, hub, alice, take_away):
    alice.start(qos="scavenger", cores=8)
    alice.until("ready")
    first = alice.answers()
    attempt = alice.attempt()
    cookie = "; ".join(f"{name}={value}" for name, value in alice.browser.cookies.items())

    async def main():
        where = f"ws://127.0.0.1:{hub.port}{alice.url()}ws"
        async with connect(
            where, proxy=None, origin=hub.origin, additional_headers={"Cookie": cookie}, ping_interval=None
        ) as open_one:
            await open_one.send("hello")
            assert await open_one.recv() == "hello"
            said = await asyncio.to_thread(take_away, slurm, first["job"], first["node"])
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(open_one.recv(), 60)
            return said

    said = asyncio.run(main())
    alice.until("queued")
    alice.reads(said, alice.pending_path())
    alice.reads("is waiting in the queue", alice.pending_path())
    # No request is sent to the old node.
    assert alice.browser.get(alice.url() + "hello").status_code == 424
    slurm.start_requeued(first["job"])
    alice.until("ready")
    second = alice.answers()
    assert second["job"] == first["job"]
    assert second["node"] != first["node"]
    # It reports that it is ready and where it runs in two reports, which can arrive in either order.
    eventually(lambda: alice.model()["node"] == second["node"], what="the new node's name")
    assert alice.attempt() == attempt
    assert list(jobs_of(slurm, attempt)) == [first["job"]]
    assert [state for _, _, state in hub.jobs()] == ["RUNNING"]
