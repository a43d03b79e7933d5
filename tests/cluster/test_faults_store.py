"""The hub's memory lost, and the hub itself, while jobs run and wait: all is found again, and nothing is started twice."""

import os
import signal
import time

import pytest

from tests.cluster.faulty import FaultyHub, clear, jobs_of, short
from tests.hub import eventually

pytestmark = pytest.mark.faults
SMALL = {"memory": "200M", "walltime": "00:30:00"}
KEPT = ("profile", "user_options", "cluster", "node", "url", "status", "ready", "pending")
"""What of a server's model is as it was."""


def flush(hub):
    """Somebody empties it."""
    assert hub.ask_store("FLUSHALL").startswith(b"+OK")


def delete(hub):
    """The disk is new."""
    hub.lose_store()


def pids(person, names):
    return {name: person.answers(name)["pid"] for name in names}


def test_with_the_store_emptied_twenty_running_servers_are_found_again(slurm, short_folder):
    hub = FaultyHub(short(short_folder), slurm).start()
    hub.settled()
    names = [f"s{number}" for number in range(10)]
    people = {}

    def sign_in():
        for name in ("alice", "bob"):
            if name in people:
                people[name].close()
            people[name] = hub.person(name)

    try:
        sign_in()
        for who, person in people.items():
            for name in names:
                # there is room for sixteen on the CPU nodes
                where = {"partition": "gpu"} if who == "alice" and name < "s6" else {}
                person.start(name, **SMALL, **where)
        for person in people.values():
            for name in names:
                person.until("ready", name, seconds=180)
        running = {who: pids(person, names) for who, person in people.items()}
        before = {who: person.models() for who, person in people.items()}
        attempts = hub.attempts()
        ids = sorted(number for number, _, _ in hub.jobs())
        assert len(ids) == 20

        for lose in (flush, delete):
            lose(hub)
            sign_in()  # sessions and tokens went with it
            for who, person in people.items():
                for name in names:
                    person.until("ready", name, seconds=180)
                assert pids(person, names) == running[who]
                for name, model in person.models().items():
                    assert {key: model[key] for key in KEPT} == {key: before[who][name][key] for key in KEPT}
            assert hub.attempts() == attempts
            assert sorted(number for number, _, _ in hub.jobs()) == ids
        for attempt in attempts.values():
            assert len(jobs_of(slurm, attempt)) == 1
        clear(hub, *people.values())
    finally:
        for person in people.values():
            person.close()
        hub.stop()


def test_a_start_that_waits_in_the_queue_outlives_every_process_and_begins_when_it_may(slurm, short_folder):
    hub = FaultyHub(short(short_folder), slurm, window=10).start()
    hub.settled()
    alice = hub.person("alice")
    try:
        slurm.run("scontrol", "update", "NodeName=gn1", "State=DRAIN", "Reason=fans")
        alice.start(partition="gpu", gpu="a100", gpus=1)
        said = eventually(lambda: alice.model()["waiting"], what="why it waits")
        assert "Nodes that it could run on" in said["message"] or "The nodes that it could run on" in said["message"]
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
        hub.stop()
