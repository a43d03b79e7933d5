"""The controller killed at every step, and starts cancelled in every state: never two jobs, never an orphan."""

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.cluster.faulty import FaultyHub, PartedHub, clear, hold_of, jobs_of, short
from tests.hub import eventually

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def parted(slurm_session, short_folder, make_store_server):
    hub = PartedHub(short(short_folder), slurm_session, make_store_server("valkey")).begin()
    yield hub
    hub.end()


@pytest.fixture
def alice(slurm, parted):
    with closing(parted.user("alice")) as alice:
        yield alice
        slurm.start_daemons()
        if not parted.leads:
            parted.lead()
        clear(parted, alice)
        parted.kill_leader()


def crashed(leader):
    leader.wait(60)
    assert leader.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", ["before-submit", "after-submit", "after-save"])
def test_a_controller_that_dies_while_it_starts_a_server_leaves_one_job_and_it_comes_up(slurm, parted, alice, point):
    leader = parted.lead(point)
    alice.start()
    crashed(leader)
    parted.lead()
    alice.until("ready")
    alice.answers()
    assert list(jobs_of(slurm, alice.attempt()).values()) == ["RUNNING"]


@pytest.mark.parametrize("point", ["before-cancel", "after-cancel", "after-save"])
def test_a_controller_that_dies_while_it_stops_a_server_leaves_no_job_and_no_process(slurm, parted, alice, point):
    parted.lead()
    alice.start()
    alice.until("ready")
    pid = alice.answers()["pid"]
    parted.kill_leader()
    leader = parted.lead(point)
    alice.stop()
    crashed(leader)
    parted.lead()
    alice.until("stopped")
    eventually(lambda: not parted.jobs(), what="the job's end")
    assert len(jobs_of(slurm, alice.attempt())) == 1
    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="the app's end")


def test_a_controller_that_dies_between_sbatch_and_its_answer_leaves_one_job(slurm, parted, alice):
    leader = parted.lead()
    parted.settled()
    slurm.daemon("slurmctld").sigstop()
    alice.start()
    eventually(lambda: slurm.runs("sbatch"), what="a running sbatch")
    leader.kill()
    crashed(leader)
    slurm.daemon("slurmctld").sigcont()  # the orphaned sbatch gets its answer now, and nobody reads it
    parted.lead()
    alice.until("ready")
    alice.answers()
    began = [state for state in jobs_of(slurm, alice.attempt()).values() if not state.startswith("CANCELLED")]
    assert began == ["RUNNING"]
    assert len(parted.jobs()) == 1


def test_a_controller_that_is_killed_repeatedly_brings_each_server_up_once(slurm, parted, alice):
    names = [f"s{number}" for number in range(5)]
    leader = parted.lead()
    for name in names:
        alice.start(name)
    for moment in range(6):
        time.sleep(moment * 0.12)
        leader.kill()
        crashed(leader)
        leader = parted.lead()
        parted.wait_leading()
    for name in names:
        alice.until("ready", name)
        alice.answers(name)
    for name in names:
        assert list(jobs_of(slurm, alice.attempt(name)).values()) == ["RUNNING"], name
    assert len(parted.jobs()) == len(names)


# --- cancelled in every state


@pytest.fixture(scope="module")
def single_hub(slurm_session, short_folder):
    hub = FaultyHub(short(short_folder), slurm_session).start()
    hub.settled()
    yield hub
    hub.close()


def cancelled(hub, user):
    """Stop it three times; it ends once, and Slurm has nothing of it."""
    for _ in range(3):
        assert user.stop().status_code in (202, 204)
    model = user.until("stopped")
    assert (model["ready"], model["pending"]) == (False, None)
    assert user.stop().status_code == 204
    assert "job" not in user.browser.get(user.url() + "hello").text
    eventually(lambda: not hub.jobs(), what="the job's end")


@pytest.mark.parametrize("state", ["requested", "queued", "starting", "ready", "stopping"])
def test_a_server_can_be_stopped_in_every_state_any_number_of_times(slurm, single_hub, state):
    held = hold_of(slurm, "")
    with closing(single_hub.user("alice")) as alice:
        controller = single_hub.controller()
        try:
            if state == "requested":
                os.kill(controller, signal.SIGSTOP)
            if state == "queued":
                slurm.run("scontrol", "update", "NodeName=gn1", "State=DRAIN", "Reason=fans")
            if state == "starting":
                held.touch()
            alice.start(**({"partition": "gpu"} if state == "queued" else {}))
            if state == "requested":
                time.sleep(1)
                assert alice.model()["status"] == "requested"
                assert alice.stop().status_code == 202
                os.kill(controller, signal.SIGCONT)
            elif state == "stopping":
                alice.until("ready")
                assert alice.stop().status_code == 202
                eventually(lambda: alice.model()["status"] in ("stopping", "stopped"), what="that it is stopping")
            else:
                alice.until(state)
            attempt = alice.attempt()
            cancelled(single_hub, alice)
        finally:
            os.kill(controller, signal.SIGCONT)
            held.unlink(missing_ok=True)
        assert len(jobs_of(slurm, attempt)) == (0 if state == "requested" else 1)
        alice.start()
        alice.until("ready")
        alice.answers()
        clear(single_hub, alice)
