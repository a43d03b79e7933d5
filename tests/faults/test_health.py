"""A hub that cannot work says so: before it is ready, and afterwards in health, on pages and in the log."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from hub import ROOT, Hub, children, eventually, stub_config

from gateway.serve.child import STEADY

AUTH = """
[auth]
admins = ["carol"]
allowed_users = ["alice"]

[[auth.provider]]
name = "test"
kind = "test"
"""
FAR = """
[gateway]
report_port = 1
[[cluster]]
name = "hpc"
kind = "slurm"
[cluster.slurm]
submit_as = "sudo"
{more}
[[profile]]
name = "lab"
cluster = "hpc"
{profile}
"""


def serve(folder, config, *words, **environment):
    """A hub that is expected to end by itself: its exit code, and what it said."""
    (folder / "towpath.toml").write_text(config)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TOWPATH_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--port", "0", "--workers", "1", *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), "TOWPATH_DATA_DIR": str(folder / "data"), **environment},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("more", "profile", "words"),
    [
        ("", "resources.extra = { uid = 'root' }", "profile[1].resources.extra.uid"),
        ("bin_dir = '/nowhere'", "", "sbatch was not found in /nowhere"),
    ],
)
def test_permanent_problems_are_reported_before_the_hub_is_ready(tmp_path, more, profile, words):
    done = serve(tmp_path, FAR.format(more=more, profile=profile))
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Towpath is ready" not in done.stdout


def test_a_scheduler_that_does_not_answer_is_reported_and_the_hub_starts(tmp_path):
    """An outage of the cluster must not keep a hub with open notebooks from being restarted."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "squeue", "scontrol", "sinfo", "sacctmgr", "sacct", "scancel"):
        (folder / name).write_text(
            "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n"
        )
        (folder / name).chmod(0o755)
    (tmp_path / "sudo").symlink_to("/usr/bin/sudo")
    hub = Hub(
        tmp_path,
        config=AUTH
        + FAR.format(more=f"bin_dir = '{folder}'", profile="").replace(
            "report_port = 1", "report_port = 0\ninternal_url = 'http://127.0.0.1:1'"
        ),
    )
    hub.start()
    try:
        assert any("cluster hpc" in line for line in hub.output), "\n".join(hub.output)
    finally:
        hub.close()


@pytest.fixture
def hub(tmp_path):
    hub = Hub(tmp_path, config=AUTH + stub_config(tmp_path), workers=2)
    hub.start()
    yield hub
    hub.close()


def problems(hub, client):
    return {one["part"]: one for one in client.get("/towpath/health").json()}


def test_a_controller_that_keeps_ending_is_in_health_on_pages_and_in_the_log(hub):
    carol, alice = hub.browser_of("carol"), hub.browser_of("alice")
    admin = hub.api("carol")
    assert carol.get("/hub/health").json() == {}
    assert problems(hub, admin) == {}
    good = hub.config.read_text()
    hub.config.write_text(good.replace("start_window = 15", "start_window = 0"))  # edited under a running hub
    os.kill(hub.child("batch controller"), signal.SIGKILL)
    found = eventually(lambda: problems(hub, admin).get("controller"), what="the problem")
    assert "start_window" in found["message"]
    assert found["code"] == "restarting"
    health = eventually(lambda: (answer := carol.get("/hub/health")).json() and answer, what="health")
    assert (health.status_code, health.json()) == (200, {"problems": ["restarting"]})
    page = eventually(lambda: text if "The hub has a problem" in (text := carol.get("/hub/home").text) else "")
    assert "start_window" in page

    # a user who waits is told that they do, and nobody else is told why
    answer = alice.post("/hub/spawn/alice", data={"profile": "stub"}, follow_redirects=True)
    assert "/hub/spawn-pending/alice" in str(answer.url), answer.text
    eventually(  # a killed leader's lease lasts for some seconds
        lambda: re.search(r"<p[^>]*data-starts-wait role=.status.>", alice.get("/hub/spawn-pending/alice").text),
        what="the notice",
    )
    assert "The hub cannot start or stop servers right now" in alice.get("/hub/home").text
    assert "start_window" not in alice.get("/hub/home").text + alice.get("/hub/spawn-pending/alice").text
    assert alice.get("/hub/api/towpath/health").status_code == 403
    eventually(
        lambda: any("Hub problem code=restarting part=controller" in line for line in hub.output), what="the log"
    )

    # repaired: the problems disappear, and the pending request is processed
    hub.config.write_text(good)
    eventually(lambda: admin.get("/users/alice").json()["servers"][""]["ready"], what="alice's server")
    eventually(lambda: problems(hub, admin) == {}, what="no problem")
    eventually(lambda: any("Hub problem solved" in line for line in hub.output), what="the log")
    eventually(lambda: "The hub has a problem" not in carol.get("/hub/home").text, what="a page without it")
    admin.delete("/users/alice/server")  # a server outlives its hub
    eventually(lambda: not admin.get("/users/alice").json()["servers"].get(""), what="the end of the server")
    for client in (carol, alice, admin):
        client.close()


def test_a_worker_that_keeps_ending_is_a_problem_while_the_others_serve(hub):
    admin = hub.api("carol")
    ending = threading.Event()

    def kill():
        """Each new first worker, as soon as it is there."""
        while not ending.is_set():
            mine = sorted(pid for pid, line in children(hub.process.pid) if "gateway.worker" in line)
            if len(mine) == 2:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(mine[1], signal.SIGKILL)  # the younger one
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = eventually(lambda: next((one for part, one in problems(hub, admin).items() if "worker" in part), None))
        assert "does not keep running" in found["message"]
    finally:
        ending.set()
        killer.join()
    assert STEADY < 60
    eventually(lambda: problems(hub, admin) == {}, what="no problem")
    admin.close()


def test_two_controllers_of_a_local_cluster_with_two_data_directories_are_refused(tmp_path, make_store_server):
    server = make_store_server("valkey")
    config = f"[state]\nredis_url = '{server.url}'\n" + stub_config(tmp_path)
    hub = Hub(tmp_path, config=config, redis_url=server.url).start()
    try:
        for command in (["serve", "--port", "0", "--workers", "1"], ["controller"]):
            done = subprocess.run(
                [sys.executable, "-m", "gateway", *command, "--config", hub.config, "--data-dir", tmp_path / "second"],
                capture_output=True,
                text=True,
                timeout=120,
                cwd=tmp_path,
                env=hub.environment(),
            )
            assert done.returncode in (1, 2)
            assert "another data directory" in done.stderr, done.stderr
            assert str(hub.data_dir) in done.stderr
            assert "Towpath is ready" not in done.stdout
        with hub.api() as api:  # the first one is not disturbed
            hub.start_server(api)
            hub.wait_ready(api)
            hub.stop_server(api)
    finally:
        hub.close()
        server.kill()
