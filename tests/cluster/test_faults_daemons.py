"""Slurm's daemons hung, killed and restarted under a real hub: nothing is lost or duplicated, and users are told."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.cluster.faulty import FaultyHub, clear, hold_of, jobs_of, short
from tests.hub import eventually

pytestmark = pytest.mark.faults


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
        slurm.start_daemons()
        clear(hub, alice)


@pytest.fixture
def hold(slurm):
    """Keep an app from starting: `hold("name")` until `hold.go("name")`."""
    held = []

    class Hold:
        def __call__(self, server):
            hold_of(slurm, server).touch()
            held.append(server)

        def go(self, server):
            hold_of(slurm, server).unlink(missing_ok=True)

    yield Hold()
    for server in held:
        hold_of(slurm, server).unlink(missing_ok=True)


def drain(slurm, *nodes):
    slurm.run("scontrol", "update", f"NodeName={','.join(nodes)}", "State=DRAIN", "Reason=fans")


@pytest.mark.parametrize("how", ["hangs", "is-killed"])
def test_nothing_is_lost_or_cancelled_while_slurmctld_is_stopped_and_users_see_it(slurm, hub, alice, hold, how):
    daemon = slurm.daemon("slurmctld")
    drain(slurm, "gn1")
    hold("starts")
    alice.start("runs")
    alice.start("starts")
    alice.start("waits", partition="gpu")
    alice.until("ready", "runs")
    alice.until("starting", "starts")
    eventually(lambda: alice.model("waits")["waiting"], what="why it waits")
    pid = alice.answers("runs")["pid"]
    before = {name: alice.attempt(name) for name in ("runs", "starts", "waits")}
    slurm.save()
    if how == "hangs":
        daemon.sigstop()
    else:
        daemon.kill()
    alice.start("later")
    later = alice.attempt("later")

    # All users see a message, and what runs keeps running.
    for name in before:
        eventually(lambda name=name: alice.model(name)["stale"], what=f"{name} is stale")
    alice.reads("devcluster does not answer", alice.pending_path("later"))
    for name in ("starts", "waits", "later"):
        assert "The cluster has not answered since" in alice.pending(name)
        assert "Nothing is cancelled" in alice.pending(name)
    assert "Its cluster has not answered for a while" in alice.text("/hub/home")
    assert [alice.model(name)["status"] for name in (*before, "later")] == ["ready", "starting", "queued", "requested"]
    assert alice.app("runs")["pid"] == pid
    # An app that becomes ready does not need the scheduler for that.
    hold.go("starts")
    alice.until("ready", "starts")
    alice.answers("starts")
    # A user stops one meanwhile: it is stopping, and not shown as gone.
    alice.stop("waits")
    time.sleep(2)
    assert alice.model("waits")["pending"] == "stop"

    if how == "hangs":
        daemon.sigcont()
    else:
        daemon.start()
    alice.until("ready", "later")
    alice.until("stopped", "waits")
    eventually(lambda: not any(model["stale"] for model in alice.models().values()), what="no word of it")
    assert alice.app("runs")["pid"] == pid
    alice.answers("later")
    assert "has not answered" not in alice.text("/hub/home")
    for name, attempt in before.items():
        assert alice.attempt(name) == attempt
        assert len(jobs_of(slurm, attempt)) == 1, name
    running = [state for state in jobs_of(slurm, later).values() if not state.startswith("CANCELLED")]
    assert running == ["RUNNING"]
    assert sorted(state for _, _, state in hub.jobs()) == ["RUNNING"] * 3


def test_without_munge_a_start_waits_and_happens_once(slurm, hub, alice):
    alice.start("runs")
    alice.until("ready", "runs")
    slurm.daemon("munged").kill()
    try:
        alice.start("later")
        eventually(lambda: alice.model("later")["stale"], what="that it is stale")
        assert alice.model("later")["status"] == "requested"
        assert "Nothing is cancelled" in alice.pending("later")
        alice.app("runs")
    finally:
        slurm.daemon("munged").start()
    alice.until("ready", "later")
    alice.answers("later")
    assert list(jobs_of(slurm, alice.attempt("later")).values()) == ["RUNNING"]


def test_a_lost_node_leads_to_another_and_reports_of_the_old_run_are_ignored(slurm, hub, alice):
    alice.start("runs")
    alice.until("ready", "runs")
    first = alice.answers("runs")
    assert first["node"] == "cn1"
    slurm.daemon("cn1").kill()
    try:
        # What slurmctld does by itself after SlurmdTimeout.
        slurm.run("scontrol", "update", "NodeName=cn1", "State=DOWN", "Reason=lost")
        back = alice.until("queued", "runs")
        assert (back["node"], back["deadline"]) == ("", None)
        alice.reads("requeued the job. The node cn1 failed", alice.pending_path("runs"))
        # The first run is still alive, reports that it is ready, and is told to stop.
        eventually(lambda: not Path(f"/proc/{first['pid']}").exists(), what="the end of the first run")
        assert alice.model("runs")["status"] == "queued"
        slurm.start_requeued(first["job"])
        alice.until("ready", "runs")
        second = eventually(lambda: (now := alice.answers("runs"))["node"] == "cn2" and now, what="the way to cn2")
        assert (second["job"], second["pid"] != first["pid"]) == (first["job"], True)
    finally:
        slurm.daemon("cn1").start()
    # Its node is back, and takes nothing with it.
    eventually(lambda: slurm.run("sinfo", "-h", "-n", "cn1", "-o", "%t").strip() == "idle", what="the node")
    assert alice.app("runs") == second
    assert alice.model("runs")["status"] == "ready"
    assert [state for _, _, state in hub.jobs()] == ["RUNNING"]


def test_without_slurmdbd_servers_start_and_end_with_what_is_known_and_the_form_says_so(slurm, hub, alice):
    alice.start("runs")
    alice.until("ready", "runs")
    slurm.daemon("slurmdbd").kill()
    try:
        note = "Slurm's accounting does not answer: accounts and limits are the last ones known."
        alice.reads(note, "/hub/spawn/alice/other")
        assert alice.api.get("/towpath/catalog/devcluster").json()["default_account"] == "physics"
        assert note in alice.api.get("/towpath/catalog/devcluster").json()["notes"]
        alice.start("new", account="physics")
        alice.until("ready", "new")
        alice.answers("new")
        alice.browser.get(alice.url("new") + "exit")
        reason = alice.reason("app-died", "new")
        assert "exit code 7" in reason["message"]
        assert "told to exit" in reason["log_tail"]
        assert alice.stop("runs").status_code in (202, 204)
        alice.until("stopped", "runs")
        alice.start("third")
        alice.until("ready", "third")
        slurm.run("scancel", f"--name=towpath-{alice.attempt('third')}")
        assert "cancelled" in alice.reason("cancelled", "third")["message"]
    finally:
        slurm.daemon("slurmdbd").start()
    eventually(lambda: note not in alice.text("/hub/spawn/alice/other"), what="the end of the note")
