"""The hub and its store lost, while jobs run and wait: everything is found again, and nothing is started twice."""

import os
import signal
import time

import pytest

from tests.cluster.faulty import FaultyHub, clear, jobs_of, short
from tests.hub import eventually

pytestmark = pytest.mark.faults
SMALL = {"memory": "200M", "walltime": "00:30:00"}
KEPT = ("profile", "user_options", "cluster", "node", "url", "status", "ready", "pending")
"""The fields of a server's model that stay the same."""


def flush(hub):
    """Empty the store."""
    assert hub.ask_store("FLUSHALL").startswith(b"+OK")


def delete(hub):
    """Replace the store's disk."""
    hub.lose_store()


def pids(user, names):
    return {name: user.answers(name)["pid"] for name in names}


def test_twenty_running_servers_are_found_again_after_a_loss_of_the_store(slurm, short_folder):
    hub = FaultyHub(short(short_folder), slurm).start()
    hub.settled()
    names = [f"s{number}" for number in range(10)]
    users = {}

    def sign_in():
        for name in ("alice", "bob"):
            if name in users:
                users[name].close()
            users[name] = hub.user(name)

    try:
        sign_in()
        for name_of, user in users.items():
            for name in names:
                # the CPU nodes have room for sixteen
                where = {"partition": "gpu"} if name_of == "alice" and name < "s6" else {}
                user.start(name, **SMALL, **where)
        for user in users.values():
            for name in names:
                user.until("ready", name, seconds=180)
        running = {name_of: pids(user, names) for name_of, user in users.items()}
        before = {name_of: user.models() for name_of, user in users.items()}
        attempts = hub.attempts()
        ids = sorted(number for number, _, _ in hub.jobs())
        assert len(ids) == 20

        for lose in (flush, delete):
            lose(hub)
            sign_in()  # sessions and tokens were lost too
            for name_of, user in users.items():
                for name in names:
                    user.until("ready", name, seconds=180)
                assert pids(user, names) == running[name_of]
                for name, model in user.models().items():
                    assert {key: model[key] for key in KEPT} == {key: before[name_of][name][key] for key in KEPT}
            assert hub.attempts() == attempts
            assert sorted(number for number, _, _ in hub.jobs()) == ids
        for attempt in attempts.values():
            assert len(jobs_of(slurm, attempt)) == 1
        clear(hub, *users.values())
    finally:
        for user in users.values():
            user.close()
        hub.close()


def test_a_queued_start_survives_every_process_and_begins_when_possible(slurm, short_folder):
    hub = FaultyHub(short(short_folder), slurm, window=10).start()
    hub.settled()
    alice = hub.user("alice")
    try:
        slurm.run("scontrol", "update", "NodeName=gn1", "State=DRAIN", "Reason=fans")
        alice.start(partition="gpu", gpu="a100", gpus=1)
        said = eventually(lambda: alice.model()["waiting"], what="why it waits")
        assert (
            "Nodes that the job could run on" in said["message"]
            or "The nodes that the job could run on" in said["message"]
        )
        assert said["hint"]
        attempt = alice.attempt()

        def waits():
            model = alice.model()
            assert (model["status"], model["reason"]) == ("queued", None)
            assert model["waiting"]["message"] in alice.pending()
            return len(jobs_of(slurm, attempt)) == 1

        began = time.monotonic()
        assert waits()
        for part in ("batch controller", "gateway.worker", "valkey-server"):
            pid = hub.pid_of(part)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda part=part, pid=pid: hub.pid_of(part) not in (0, pid), what=f"another {part}")
            eventually(waits, what="that it waits")
        hub.kill_all()
        hub.start()
        eventually(waits, what="that it waits")
        slurm.save()
        slurm.daemon("slurmctld").kill()
        slurm.daemon("slurmctld").start()
        eventually(waits, what="that it waits")
        while time.monotonic() < began + 25:  # more than two start windows
            time.sleep(1)
        assert waits()

        slurm.resume("gn1")
        alice.until("ready")
        assert alice.answers()["node"] == "gn1"
        assert list(jobs_of(slurm, attempt).values()) == ["RUNNING"]
        clear(hub, alice)
    finally:
        alice.close()
        hub.close()
