"""A job id that Slurm assigns again, because slurmctld was killed before it saved.

The job that has it now is not touched.
"""

from contextlib import closing

import pytest

from batch.contract import Resources
from tests.batch.launchers.slurm.making import job, opener, real_pyslurm, slurm_config, slurm_maker
from tests.cluster.faulty import FaultyHub, clear, jobs_of, short
from tests.conftest import run
from tests.hub import eventually

pytestmark = pytest.mark.faults

CLIENTS = ("cli", "rest", *(["pyslurm"] if real_pyslurm() else []))
TRIES = 10


@pytest.fixture
def drained(slurm):
    """Jobs of the partition gpu wait."""
    slurm.run("scontrol", "update", "NodeName=gn1", "State=DRAIN", "Reason=test")
    yield
    slurm.start_daemons()
    slurm.resume("gn1")


def loses(slurm, job_id: str) -> bool:
    """Kill slurmctld and start it again; return whether it has lost the job, which it may have saved just before."""
    slurm.daemon("slurmctld").kill()
    slurm.daemon("slurmctld").start()
    return slurm.state(job_id) == ""


def give_again(slurm, job_id: str) -> None:
    """Submit jobs of alice's own until one has the id."""
    while (given := slurm.sbatch("--job-name=my-own", script="#!/bin/sh\nsleep 600\n")) != job_id:
        assert int(given) < int(job_id)


def lives(slurm, job_id: str) -> bool:
    """Return whether alice's own job waits or runs."""
    return slurm.field(job_id, "JobName") == "my-own" and slurm.state(job_id) in ("PENDING", "RUNNING")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_cancel_does_not_end_the_job_that_has_the_id_now(slurm, drained, client):
    make = slurm_maker(slurm_config(slurm, client), opener(slurm, client))

    async def body():
        launcher = make()
        for _ in range(TRIES):
            slurm.save()
            spec = job(resources=Resources(partition="gpu"))
            ref = await launcher.submit(spec)
            if loses(slurm, ref.native_id):
                break
        give_again(slurm, ref.native_id)
        for each in (launcher, make()):
            await each.cancel(ref, spec.attempt)
            assert lives(slurm, ref.native_id)
            assert spec.attempt not in await each.poll()
            await each.cancel(ref, spec.attempt)
            assert lives(slurm, ref.native_id)
            await each.close()

    run(body())


def test_a_server_whose_job_is_lost_is_stopped_and_no_other_job_ends(slurm, drained, short_folder):
    hub = FaultyHub(short(short_folder), slurm).start()
    try:
        hub.settled()
        with closing(hub.user("alice")) as alice:
            for number in range(TRIES):
                name = f"lost{number}"
                slurm.save()
                alice.start(name, partition="gpu")
                attempt = eventually(lambda name=name: alice.attempt(name), what="its attempt")
                job_id = eventually(lambda attempt=attempt: next(iter(jobs_of(slurm, attempt)), ""), what="its job")
                if loses(slurm, job_id):
                    break
            give_again(slurm, job_id)
            alice.stop(name)
            alice.until("stopped", name)
            clear(hub, alice)
            assert lives(slurm, job_id)
    finally:
        hub.close()
