"""Servers of a real hub on a real cluster, as the API shows them: why they wait, where they move, how they end."""

import contextlib
import json
import re
import time

import pytest

from tests.hub import Hub, eventually

APP = """
import os, socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(16)
print("the app is up", flush=True)
while True:
    connection, _ = server.accept()
    head = connection.recv(65536)
    if b"/fill" in head:
        print("filling", flush=True)
        held = bytearray(400 * 2**20)
    if b"/crash" in head:
        print("crashing", flush=True)
        os._exit(7)
    body = os.environ["SLURMD_NODENAME"].encode()
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    connection.close()
"""

CONFIG = """
[auth]
allowed_users = ["alice", "bob"]
[[auth.provider]]
name = "test"
kind = "test"
[[cluster]]
name = "hpc"
kind = "slurm"
tick = 0.5
[cluster.slurm]
conf = "{conf}"
bin_dir = "{bin_dir}"
catalog_seconds = 5
[[profile]]
name = "app"
cluster = "hpc"
app = "web"
command = {command}
[profile.resources]
memory = "200M"
[profile.option.gpus]
kind = "gpus"
default = 0
minimum = 0
maximum = 4
[profile.option.partition]
kind = "partition"
default = "cpu"
[profile.option.qos]
kind = "qos"
default = "normal"
[profile.option.time]
kind = "walltime"
"""


@pytest.fixture(scope="module")
def hub(slurm_session, tmp_path_factory):
    command = json.dumps(["/usr/bin/python3", "-I", "-S", "-c", APP, "{socket}"])
    layout = slurm_session.layout
    config = CONFIG.format(conf=layout.slurm_conf, bin_dir=layout.bin_dir, command=command)
    hub = Hub(tmp_path_factory.mktemp("hub"), config=config).start()
    try:
        yield hub
    finally:
        hub.close()


class Alice:
    """Alice's server, by API and browser."""

    def __init__(self, hub):
        self.hub = hub
        self.api = hub.api("alice")
        self.browser = hub.browser_of("alice")

    def start(self, **choices):
        answer = self.api.post("/users/alice/server", content=json.dumps({"profile": "app", **choices}))
        assert answer.status_code in (201, 202), answer.text

    def model(self):
        return self.api.get("/users/alice", params={"include_stopped_servers": "1"}).json()["servers"].get("", {})

    def until(self, status, seconds=90):
        def there():
            model = self.model()
            return model if model.get("status") == status else None

        try:
            return eventually(there, seconds=seconds, what=status)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.model()}\n" + "\n".join(self.hub.output[-20:])) from None

    def job(self, slurm):
        lines = slurm.run("squeue", "--noheader", "--user=alice", "--format=%i").split()
        assert len(lines) == 1, lines
        return lines[0]

    def node(self):
        answer = self.browser.get("/user/alice/")
        return answer.text if answer.status_code == 200 else ""


@pytest.fixture
def alice(slurm, hub):
    her = Alice(hub)
    with contextlib.closing(her.api), contextlib.closing(her.browser):
        yield her
        her.api.delete("/users/alice/server")
        eventually(lambda: her.model().get("stopped", True), what="the end of her server")


def test_after_a_requeue_the_same_url_leads_to_the_new_node(slurm, alice):
    alice.start()
    first = alice.until("ready")
    assert (alice.node(), first["node"]) == ("cn1", "cn1")
    ends = eventually(lambda: alice.model()["deadline"], what="the walltime's end")
    job = alice.job(slurm)
    slurm.run("scontrol", "update", "NodeName=cn1", "State=DRAIN", "Reason=fans")
    slurm.run("scontrol", "requeue", job)
    queued = alice.until("queued")
    assert (queued["node"], queued["deadline"]) == ("", None)
    eventually(lambda: alice.model()["waiting"], what="why it waits")
    slurm.start_requeued(job)
    second = alice.until("ready", 90)
    assert (eventually(alice.node, what="the way to the new node"), second["node"]) == ("cn2", "cn2")
    eventually(lambda: alice.model()["deadline"] not in (None, ends), what="the new end")


@pytest.mark.parametrize(
    ("by", "words"),
    [("", "An admin cancelled the job."), ("alice", "alice cancelled the job outside the hub.")],
)
def test_a_scancel_is_reported_with_who_did_it(slurm, alice, by, words):
    alice.start()
    alice.until("ready")
    slurm.run("scancel", alice.job(slurm), user=by)
    eventually(lambda: alice.model()["reason"], what="a reason")
    eventually(lambda: (alice.model()["reason"] or {}).get("message") == words, what=words)
    model = alice.model()
    assert model["status"] == "failed"
    assert "the app is up" in model["reason"]["log_tail"]


def test_running_out_of_memory_is_reported_with_the_log(slurm, alice):
    alice.start()
    alice.until("ready")
    eventually(alice.node, what="the app's answer")  # the gateway's copy of the routes may be a moment behind
    alice.browser.get("/user/alice/fill")
    try:
        eventually(lambda: (alice.model()["reason"] or {}).get("code") == "out-of-memory", what="the cause")
    except AssertionError as error:
        raise AssertionError(alice.model()) from error
    # The starter knows it from the job's control group, and Slurm from the request; accounting can be much later.
    message = alice.model()["reason"]["message"]
    assert "of memory" in message
    assert re.search(r"\b200 Mi?B\b", message)


def test_a_crash_of_an_app_is_reported_with_its_exit_code_and_log(slurm, alice):
    alice.start()
    alice.until("ready")
    eventually(alice.node, what="the app's answer")  # the gateway's copy of the routes may be a moment behind
    alice.browser.get("/user/alice/crash")
    reason = alice.until("failed")["reason"]
    assert (reason["code"], reason["exit_code"]) == ("app-died", 7)
    assert "crashing" in reason["log_tail"]
    time.sleep(8)  # nothing that comes later replaces it
    assert alice.model()["reason"] == reason


def test_a_gpu_over_the_limit_waits_with_slurms_reason_in_a_message(slurm, alice):
    slurm.sbatch("--partition=gpu", "--qos=gpuq", "--gres=gpu:2", script="#!/bin/sh\nsleep 300\n")
    alice.start(partition="gpu", qos="gpuq", gpus=1)
    waiting = eventually(
        lambda: (
            (model := alice.model()).get("waiting")
            and model["waiting"]["code"] == "QOSMaxGRESPerUser"
            and model["waiting"]
        ),
        what="the reason",
    )
    assert waiting["message"] == "With this job, you would use more GPUs than QOS gpuq allows each user."


def test_the_form_tells_of_maintenance_and_a_server_with_the_limit_that_it_names_starts(slurm, hub, alice):
    def form(limit):
        return alice.browser.get("/hub/spawn", params={"opt-time": limit, "opt-partition": "cpu"}).text

    assert "maintenance" not in form("08:00:00")
    slurm.run(
        *("scontrol", "create", "reservation", "ReservationName=repair", "Users=root", "Nodes=cn[1-2]"),
        *("StartTime=now+58minutes", "Duration=60", "Flags=MAINT"),
    )
    told = "before the server would reach its time limit. To start now, set a time limit of at most 55 minutes."
    page = eventually(lambda: (page := form("08:00:00")) and told in page and page, what="the form's warning")
    assert "Planned maintenance begins in 5" in page
    assert told not in form("00:55:00")
    assert told not in alice.browser.get("/hub/spawn?opt-time=08:00:00&opt-partition=gpu").text
    offered = alice.browser.get("/hub/api/towpath/offer", params={"profile": "app", "opt.app.time": "2h"}).json()
    assert told in offered["fields"]["time"]["says"]
    alice.start(time="00:55:00")
    alice.until("ready")
