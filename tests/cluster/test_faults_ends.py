"""Every way in which a server can end on a real cluster: it is detected, reported with a message, and complete."""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.cluster.faulty import FaultyHub, clear, jobs_of, short
from tests.hub import eventually

pytestmark = pytest.mark.faults
SMALL = {"memory": "200M"}


@pytest.fixture
def hub(slurm, short_folder):
    hub = FaultyHub(short(short_folder), slurm, window=20).start()
    hub.settled()
    yield hub
    hub.close()


def test_each_end_is_reported_with_its_cause_and_the_next_start_works(slurm, hub):
    with closing(hub.user("alice")) as alice:
        alice.start("walltime", **SMALL, walltime="00:01:00")
        alice.start("exits", **SMALL, profile="exits")
        alice.start("silent", **SMALL, profile="silent")
        for name in ("memory", "root", "mine", "crash"):
            alice.start(name, **SMALL)
        for name in ("walltime", "memory", "root", "mine", "crash"):
            alice.until("ready", name)
            alice.answers(name)
        deadline = alice.model("walltime")["deadline"]
        assert deadline
        slurm.run("scancel", f"--name=towpath-{alice.attempt('root')}")
        slurm.run("scancel", f"--name=towpath-{alice.attempt('mine')}", user="alice")
        alice.browser.get(alice.url("memory") + "fill")
        alice.browser.get(alice.url("crash") + "exit")

        reasons = {
            "root": alice.reason("cancelled", "root", says="admin"),
            "mine": alice.reason("cancelled", "mine", says="alice"),
            "memory": alice.reason("out-of-memory", "memory", says="200 MB"),
            "crash": alice.reason("app-died", "crash"),
            "exits": alice.reason("exited", "exits"),
            "silent": alice.reason("no-answer", "silent"),
            "walltime": alice.reason("walltime", "walltime", status="stopped", seconds=240),
        }
        # By now, details from accounting have been added.
        reasons = {name: alice.model(name)["reason"] for name in reasons}
        said = {name: reason["message"] for name, reason in reasons.items()}
        assert said["root"] == "An admin cancelled the job."
        assert said["mine"] == "alice cancelled the job outside the hub."
        assert "exit code 7" in said["crash"]
        assert "exit code 3" in said["exits"]
        assert "20 seconds" in said["silent"]
        assert said["walltime"] == "The job reached its time limit of 1 minute."
        assert "the licence server is down" in reasons["exits"]["log_tail"]
        assert "thinking" in reasons["silent"]["log_tail"]
        assert "filling memory" in reasons["memory"]["log_tail"]
        assert "told to exit" in reasons["crash"]["log_tail"]
        home = alice.text("/hub/home")
        for name, reason in reasons.items():
            assert reason["hint"], name
            page = alice.pending(name)
            # The owner's pages say "you" of the owner.
            message = reason["message"].replace("alice cancelled", "You cancelled")
            assert message in page, name
            assert reason["hint"] in page, name
            assert message in home or reason["message"] in home, name
            left = alice.browser.get(alice.url(name) + "hello", headers={"Accept": "text/html"})
            assert left.status_code == 424, name
            assert reason["message"] in alice.text(alice.url(name) + "hello"), name
            assert alice.browser.get(alice.url(name) + "hello").status_code == 424
        assert any("Its time is over in" in event for event in history(hub, alice, "walltime"))
        assert not hub.jobs()
        before = {name: alice.attempt(name) for name in reasons}
        for attempt in before.values():
            assert len(jobs_of(slurm, attempt)) == 1

        for name in ("root", "memory", "walltime"):  # "Start again" on the page
            answer = alice.browser.post(f"/hub/spawn/alice/{name}", data={"again": "1"})
            assert answer.status_code in (302, 303), answer.text
        for name in ("root", "memory", "walltime"):
            alice.until("ready", name)
            alice.answers(name)
            assert alice.attempt(name) != before[name]
        clear(hub, alice)


def test_an_app_survives_its_starter(hub):
    with closing(hub.user("alice")) as alice:
        alice.start("survivor", **SMALL)
        alice.until("ready", "survivor")
        before = alice.answers("survivor")
        starter = next(int(line.split()[1]) for line in status_of(before["pid"]) if line.startswith("PPid:"))
        os.kill(starter, signal.SIGKILL)
        eventually(lambda: "The server is ready again." in history(hub, alice, "survivor"), what="the takeover")
        eventually(lambda: alice.browser.get(alice.url("survivor") + "hello").status_code == 200, what="an answer")
        assert alice.answers("survivor") == before
        assert "has been replaced" in alice.text("/hub/home")
        clear(hub, alice)


def status_of(pid):
    """Return the lines of proc(5)'s status."""
    return Path(f"/proc/{pid}/status").read_text().splitlines()


def history(hub, user, server):
    """Return all events of a server in the store, also those after it was ready."""
    import asyncio

    from gateway.serve import valkey
    from state.store.all import Store

    async def main():
        store = await Store.open(valkey.url(hub.data_dir))
        try:
            return [event.message for event in await store.servers.events(user.name, server)]
        finally:
            await store.close()

    return asyncio.run(main())
