"""A hub without rights reaches a real Slurm over real sshds: form, start, stop, faults, and what `check` says."""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests import sshd
from tests.accounts import account
from tests.cluster.login_node_hub import ACCOUNT, LoginNodeHub
from tests.hub import eventually
from tests.sshd import HOMES

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def pool(slurm_session):
    with sshd.running(("login1", "login2"), homes=HOMES) as pool:
        yield pool


@pytest.fixture(scope="module")
def hub(slurm_session, pool):
    hub = LoginNodeHub(slurm_session, pool)
    try:
        hub.start()
        hub.settled()
        yield hub
    finally:
        hub.stop()


@pytest.fixture
def alice(slurm, hub, pool):
    with closing(hub.user("alice")) as alice:
        yield alice
        for host in pool.hosts.values():
            if not host.listens():
                host.start_sshd()
        eventually(lambda: not any(model["stale"] for model in alice.models().values()), what="an answer")
        for name, model in alice.models().items():
            if model["status"] not in ("stopped", "failed"):
                alice.stop(name)
                alice.until("stopped", name)


def test_a_hub_without_rights_starts_and_stops_a_users_server(slurm, hub, alice):
    assert Path(f"/proc/{hub.controller()}").stat().st_uid == account(ACCOUNT).pw_uid
    offer = alice.api.get("/towpath/offer?profile=app").json()
    assert {"cpu", "gpu"} <= {entry["value"] for entry in offer["fields"]["partition"]["entries"]}
    alice.start("one", partition="cpu")
    alice.until("ready", "one")
    job = alice.model("one")["job_id"]
    assert alice.app("one")["job"] == job
    assert slurm.field(job, "UserId").startswith("alice(")
    assert slurm.field(job, "WorkDir") == str(HOMES / "alice")
    alice.stop("one")
    alice.until("stopped", "one")
    slurm.until(job, "CANCELLED", "")


def test_a_refusal_is_shown_beside_the_field(hub, alice):
    answer = alice.api.post("/users/alice/servers/no", json={"profile": "app", "partition": "nowhere"})
    assert answer.status_code == 400
    assert "partition" in answer.text


def test_a_killed_controller_finds_the_job_again(slurm, hub, alice):
    slurm.run("scontrol", "update", "NodeName=gn1", "State=DRAIN", "Reason=fans")
    alice.start("runs")
    alice.start("waits", partition="gpu")
    alice.until("ready", "runs")
    alice.until("queued", "waits")
    before = {name: (alice.model(name)["job_id"], alice.attempt(name)) for name in ("runs", "waits")}
    pid = hub.controller()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: hub.controller() != pid, what="another controller")
    slurm.resume("gn1")
    alice.until("ready", "waits")
    assert {name: (alice.model(name)["job_id"], alice.attempt(name)) for name in before} == before
    assert len(hub.jobs()) == 2


def test_a_login_node_that_dies_is_replaced_by_the_next_one(hub, alice, pool):
    alice.start("before")
    alice.until("ready", "before")
    pool.hosts["login1"].kill_sshd()
    alice.start("after")
    alice.until("ready", "after")
    alice.stop("before")
    alice.until("stopped", "before")
    assert not alice.model("after")["stale"]


def test_while_no_login_node_answers_nothing_is_lost_and_the_page_says_so(slurm, hub, alice, pool):
    slurm.run("scontrol", "update", "NodeName=gn1", "State=DRAIN", "Reason=fans")
    alice.start("runs")
    alice.start("waits", partition="gpu")
    alice.until("ready", "runs")
    alice.until("queued", "waits")
    pid = alice.app("runs")["pid"]
    for host in pool.hosts.values():
        host.kill_sshd()
    alice.start("later")
    eventually(lambda: alice.model("waits")["stale"], what="a stale server")
    assert "The cluster has not answered since" in alice.pending("waits")
    assert "Nothing is cancelled" in alice.pending("waits")
    assert [alice.model(name)["status"] for name in ("runs", "waits", "later")] == ["ready", "queued", "requested"]
    assert alice.app("runs")["pid"] == pid
    pool.hosts["login2"].start_sshd()
    slurm.resume("gn1")
    alice.until("ready", "waits")
    alice.until("ready", "later")
    assert alice.app("runs")["pid"] == pid
    assert len(hub.jobs()) == 3


def test_check_says_of_each_login_node_whether_it_can_be_used(hub, pool):
    done = hub.command("check", check=False)
    assert "login node login1" in done.stdout, done.stdout + done.stderr
    assert "answers, as " in done.stdout
    pool.hosts["login1"].kill_sshd()
    try:
        done = hub.command("check", check=False)
        assert done.returncode != 0
        line = next(line for line in done.stdout.splitlines() if "login node login1" in line)
        assert "Connection refused" in line
    finally:
        pool.hosts["login1"].start_sshd()
