"""Reports of starters: which are accepted, and what they change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from portal.servers.report_messages import (
    Ended,
    Failed,
    Ready,
    ReportedEndpoint,
    Running,
    endpoint_of,
    fault,
    reason_of,
    refusal,
)
from portal.servers.reports import OUTDATED, WRONG_TOKEN, check
from state.config.tables import ClusterConfig, Config, ProfileConfig
from state.names import node_name
from state.records.models import Endpoint, Server, Status, Target
from tests.portal.conftest import socket_of

UNIX = {"kind": "unix", "path": "/tmp/a/app.sock"}
CONFIG = Config(
    cluster=(ClusterConfig(name="local", kind="local"),),
    profile=(ProfileConfig(name="lab", title="JupyterLab", cluster="local"),),
)
SHARED = replace(
    CONFIG,
    profile=(
        ProfileConfig(
            name="board", cluster="local", app="web", command=("board", "--port={port}"), shared_node_port=True
        ),
    ),
)
SLURM = Config(
    cluster=(ClusterConfig(name="slurm", kind="slurm"),),
    profile=(ProfileConfig(name="lab", title="JupyterLab", cluster="slurm"),),
)


def tls(host="10.0.0.11", port=40001, **more):
    return {"kind": "tls", "host": host, "port": port, **more}


def test_a_ready_report_is_accepted_twice_but_not_with_another_endpoint(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        client = bench.client()
        mine = {"kind": "unix", "path": f"/srv/towpath/jobs/{server.attempt}/app.sock"}
        assert (await bench.report(client, server, "ready", endpoint=mine)).json() == {}
        told = len(await bench.store.servers.events("alice", ""))
        assert (await bench.report(client, server, "ready", endpoint=mine)).status_code == 200
        assert len(await bench.store.servers.events("alice", "")) == told
        other = await bench.report(client, server, "ready", endpoint={"kind": "unix", "path": "/tmp/b"})
        assert (other.status_code, other.json()["stop"]) == (409, True)

    bench(main)


def test_only_the_attempts_own_token_is_accepted(bench):
    async def main(bench):
        alice = await bench.user()
        client = bench.client(bench.session(alice))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        for asked in (bench.client(), client):
            answer = await bench.report(asked, server, "ready", token="wrong", endpoint=UNIX)
            assert answer.status_code == 403
            assert answer.json()["stop"] is False
        bare = await bench.client().post("/hub/api/towpath/report", json={})
        assert bare.status_code == 401
        old = replace(server, attempt="0" * 32)
        answer = await bench.report(bench.client(), old, "ready", endpoint=UNIX)
        assert (answer.status_code, answer.json()["stop"]) == (409, True)
        gone = replace(server, name="other")
        answer = await bench.report(bench.client(), gone, "ready", endpoint=UNIX)
        assert (answer.status_code, answer.json()["stop"]) == (404, False)
        assert (await bench.store.servers.get("alice", "")).status is Status.REQUESTED

    bench(main)


def test_the_starter_of_a_cancelled_start_gets_the_request_to_stop(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        await client.delete("/hub/api/users/alice/server")
        answer = await bench.report(bench.client(), server, "ready", endpoint=UNIX)
        assert (answer.status_code, answer.json()["stop"]) == (409, True)
        assert await bench.store.feed.route("/user/alice/") is None

    bench(main)


def test_the_reason_and_log_of_a_dead_app_are_kept(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.make_ready(bench.client())
        answer = await bench.report(bench.client(), server, "ended", exit_code=3, log_tail="no licence\n", time=1.5)
        assert answer.status_code == 200
        model = (await client.get("/hub/api/users/alice/server")).json()
        assert (model["status"], model["stopped"]) == ("failed", True)
        assert model["reason"]["log_tail"] == "no licence\n"
        assert "exit code 3" in model["reason"]["message"]
        assert await bench.store.feed.route("/user/alice/") is None
        again = await bench.report(bench.client(), server, "ended", exit_code=3)
        assert (again.status_code, again.json()) == (200, {})
        stream = (await client.get("/hub/api/users/alice/server/progress")).text
        assert '"failed":true' in stream
        assert "no licence" in stream

    bench(main)


def test_invalid_reports_are_rejected(bench):
    async def main(bench):
        client = bench.client()
        url, headers = "/hub/api/towpath/report", {"Authorization": "token x"}
        good = {"user": "alice", "server": "", "attempt": "a" * 32}
        for bad in (
            {**good, "kind": "promote"},
            good,
            {**good, "kind": "ready"},
            {**good, "kind": "ready", "endpoint": {"kind": "file", "path": "/etc"}},
            {**good, "kind": "ready", "endpoint": {"kind": "unix", "path": "relative"}},
            {**good, "kind": "ready", "endpoint": {"kind": "tcp", "host": "a b", "port": 1}},
            {**good, "kind": "ready", "endpoint": {"kind": "tcp", "host": "h", "port": 0}},
            {**good, "kind": "ready", "endpoint": {"kind": "tls", "host": "", "port": 1}},
            {**good, "kind": "ready", "endpoint": {"kind": "tls", "host": "h", "port": 70000}},
            {**good, "kind": "ready", "endpoint": {"kind": "unix", "path": "/srv/towpath/jobs/a/../b/app.sock"}},
            {**good, "kind": "running", "node": "cn1; rm -rf /"},
            {**good, "kind": "running", "restart": -1},
            {**good, "kind": "warning"},
            {**good, "kind": "ended", "attempt": "../../x"},
            {**good, "kind": "ended", "exit_code": "zero"},
        ):
            answer = await client.post(url, json=bad, headers=headers)
            assert answer.status_code == 400, bad
            assert answer.json()["status"] == 400
        large = {**good, "kind": "ended", "log_tail": "x" * 200_000}
        assert (await client.post(url, json=large, headers=headers)).status_code == 413
        for raw in (b"", b"{", b"\xff\xfe", b"[" * 5000, b'"\\ud800"'):
            assert (await client.post(url, content=raw, headers=headers)).status_code == 400

    bench(main)


def test_a_running_job_is_shown_immediately_with_its_node(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        said = {"node": "cn1", "native_id": "4711"}
        assert (await bench.report(bench.client(), server, "running", **said)).status_code == 200
        now = await bench.store.servers.get("alice", "")
        assert (now.status, now.node) == (Status.STARTING, "cn1")
        assert now.job is None  # only the scheduler reports job ids, because the hub cancels by them
        assert "on cn1" in (await bench.store.servers.events("alice", ""))[-1].message
        assert (await bench.report(bench.client(), server, "running", **said)).status_code == 200
        assert (await bench.store.servers.get("alice", "")).revision == now.revision

    bench(main, config=SLURM)


def test_each_run_of_a_job_reports_its_time_limit(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()

        async def deadline_after(kind, **fields):
            assert (await bench.report(bench.client(), server, kind, **fields)).status_code == 200
            return (await bench.store.servers.get("alice", "")).deadline

        assert await deadline_after("running", node="cn1") is None
        assert await deadline_after("ready", endpoint=tls(), ends=2_000_000_000) == 2_000_000_000
        assert await deadline_after("running", node="cn2", restart=1) is None
        assert await deadline_after("ready", endpoint=tls(), ends=2_000_003_600, restart=1) == 2_000_003_600
        wrong = await bench.report(bench.client(), server, "ready", endpoint=tls(), ends=-1)
        assert wrong.status_code == 400

    bench(main, config=SLURM)


def test_a_late_running_report_sets_only_the_node(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        await bench.report(bench.client(), server, "ready", endpoint=tls())
        await bench.report(bench.client(), server, "running", node="cn1")
        now = await bench.store.servers.get("alice", "")
        assert (now.status, now.node) == (Status.READY, "cn1")
        assert await bench.store.feed.route("/user/alice/") is not None

    bench(main, config=SLURM)


def test_the_hub_decides_which_name_a_node_must_prove(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        said = tls(name="b" * 32 + ".towpath.internal", path="/etc")
        assert (await bench.report(bench.client(), server, "ready", endpoint=said)).status_code == 200
        expected = Endpoint(kind="tls", host="10.0.0.11", port=40001, name=f"{server.attempt}.towpath.internal")
        assert (await bench.store.servers.get("alice", "")).endpoint == expected
        assert (await bench.store.feed.route("/user/alice/")).endpoint == expected

    bench(main, config=SLURM)


LOOPBACK = {"kind": "tcp", "host": "127.0.0.1", "port": 8888}
ELSEWHERE = {"kind": "tcp", "host": "10.0.0.1", "port": 8888}
ANOTHERS = {"kind": "unix", "path": f"/srv/towpath/jobs/{'b' * 32}/app.sock"}


@pytest.mark.parametrize(
    ("config", "good", "bad"),
    [
        (CONFIG, None, (UNIX, ANOTHERS, ELSEWHERE, LOOPBACK, tls())),
        (SHARED, LOOPBACK, (UNIX, ANOTHERS, ELSEWHERE, tls())),
        (SLURM, tls(), (UNIX, ANOTHERS, LOOPBACK)),
    ],
    ids=["local", "local with shared_node_port", "slurm"],
)
def test_each_kind_of_cluster_has_its_kinds_of_endpoints(bench, config, good, bad):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        for said in bad:
            answer = await bench.report(bench.client(), server, "ready", endpoint=said)
            assert (answer.status_code, answer.json()["stop"]) == (400, False), said
        assert (await bench.store.servers.get("alice", "")).status is Status.REQUESTED
        said = good or socket_of(server)
        assert (await bench.report(bench.client(), server, "ready", endpoint=said)).status_code == 200

    bench(main, config=config)


def test_a_job_that_is_run_again_on_another_node_keeps_its_url(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        job = bench.client()

        async def says(kind, **more):
            return (await bench.report(job, server, kind, **more)).status_code

        await says("running", node="cn1")
        await says("ready", endpoint=tls("10.0.0.11"))
        # the scheduler preempts the job: the last report of the old run does not end the server
        await says("ended", told=True, exit_code=143, log_tail="saving")
        now = await bench.store.servers.get("alice", "")
        assert (now.status, now.reason.code, now.reason.log_tail) == (Status.READY, "told", "saving")
        assert await bench.store.feed.route("/user/alice/") is None
        await says("running", node="cn2", restart=1)
        now = await bench.store.servers.get("alice", "")
        assert (now.status, now.node, now.restart, now.endpoint) == (Status.STARTING, "cn2", 1, None)
        # a late report of the first run
        assert await says("ready", endpoint=tls("10.0.0.11")) == 409
        assert await says("ended", exit_code=1) == 200
        assert (await bench.store.servers.get("alice", "")).status is Status.STARTING
        await says("ready", endpoint=tls("10.0.0.12"), restart=1)
        assert (await bench.store.feed.route("/user/alice/")).endpoint.host == "10.0.0.12"
        # and again, without a poll in between
        await says("ready", endpoint=tls("10.0.0.13"), restart=2)
        assert (await bench.store.feed.route("/user/alice/")).endpoint.host == "10.0.0.13"
        now = await bench.store.servers.get("alice", "")
        assert (now.status, now.restart, now.reason) == (Status.READY, 2, None)
        # the same run cannot change its endpoint
        assert await says("ready", endpoint=tls("10.0.0.99"), restart=2) == 409
        assert await says("ended", exit_code=1, restart=2) == 200
        assert (await bench.store.servers.get("alice", "")).status is Status.FAILED

    bench(main, config=SLURM)


def test_on_a_local_cluster_a_requested_end_is_final(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.make_ready(bench.client())
        await bench.report(bench.client(), server, "ended", told=True, exit_code=143)
        assert (await bench.store.servers.get("alice", "")).status is Status.FAILED

    bench(main)


def test_the_time_limit_warning_is_an_event_and_changes_nothing(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        await bench.report(bench.client(), server, "ready", endpoint=tls())
        before = await bench.store.servers.get("alice", "")
        for seconds, words in ((60, "in a minute"), (300, "in 5 minutes"), (20, "in 20 seconds")):
            assert (await bench.report(bench.client(), server, "warning", seconds=seconds)).status_code == 200
            assert words in (await bench.store.servers.events("alice", ""))[-1].message
        assert await bench.store.servers.get("alice", "") == before
        assert (await bench.report(bench.client(), server, "warning", token="x", seconds=1)).status_code == 403

    bench(main, config=SLURM)


def test_a_notice_is_recorded_once_and_shown_on_the_home_page(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.make_ready(bench.client())
        for _ in range(2):
            word = {"code": "cannot-write", "detail": "/home/alice/.towpath:\n  No space left on device"}
            assert (await bench.report(bench.client(), server, "notice", **word)).status_code == 200
        told = [one.message for one in await bench.store.servers.events("alice", "") if "quota" in one.message]
        assert told == [(await bench.store.servers.get("alice", "")).notice.message]
        assert "(/home/alice/.towpath: No space left on device)" in told[0]
        assert "No space left on device" in (await client.get("/hub/home")).text
        assert (await bench.report(bench.client(), server, "notice", code="from-the-future")).status_code == 200
        assert (await bench.report(bench.client(), server, "notice", token="x", code="taken-over")).status_code == 403

    bench(main)


def test_activity_on_the_node_is_the_servers_activity(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.make_ready(bench.client())
        now = bench.clock()
        for at, expected in ((now - 60, now - 60), (now - 90, now - 60), (now + 3600, now)):
            answer = await bench.report(bench.client(), server, "activity", last_activity=at)
            assert answer.json() == {}
            assert await bench.store.servers.activity("alice") == {"": pytest.approx(expected)}
        assert (await bench.report(bench.client(), server, "activity", token="x", last_activity=1)).status_code == 403
        old = replace(server, attempt="0" * 32)
        answer = await bench.report(bench.client(), old, "activity", last_activity=now + 9)
        assert (answer.status_code, answer.json()["stop"]) == (409, True)
        assert await bench.store.servers.activity("alice") == {"": pytest.approx(now)}

    bench(main)


def test_a_starter_that_takes_over_may_have_another_endpoint(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        await bench.report(bench.client(), server, "ready", endpoint=tls())
        moved = await bench.report(bench.client(), server, "ready", endpoint=tls(port=40002))
        assert (moved.status_code, moved.json()["stop"]) == (409, True)
        moved = await bench.report(bench.client(), server, "ready", endpoint=tls(port=40002), takeover=1)
        assert moved.json() == {}
        server = await bench.store.servers.get("alice", "")
        assert (server.status, server.endpoint.port) == (Status.READY, 40002)
        assert (await bench.store.servers.events("alice", ""))[-1].message == "The server is ready again."

    bench(main, config=SLURM)


ATTEMPT = "a" * 32
SERVER = Server(
    user="alice",
    target=Target.READY,
    status=Status.STARTING,
    attempt=ATTEMPT,
    profile="lab",
    cluster="local",
    requested=1.0,
    report_hash="0" * 64,
)


@given(st.sampled_from(list(Status)), st.sampled_from(list(Target)), st.text(max_size=80))
def test_no_other_token_ever_changes_a_record(status, target, token):
    server = replace(SERVER, status=status, target=target)
    word = Ready(user="alice", server="", attempt=ATTEMPT, endpoint=ReportedEndpoint(kind="unix", path="/x"))
    assert check(server, word, token) is not None
    assert check(replace(server, report_hash=""), word, "") is not None
    assert check(None, word, token) is not None
    assert check(server, replace(word, attempt="b" * 32), token) is OUTDATED
    running = Running(user="alice", server="", attempt=ATTEMPT, node="cn1", restart=9)
    assert check(server, running, token) in (WRONG_TOKEN, OUTDATED)


def test_the_reason_depends_on_the_target_and_the_report():
    ended = Ended(user="alice", server="", attempt=ATTEMPT, exit_code=0)
    ready = replace(SERVER, status=Status.READY)
    assert reason_of(replace(SERVER, target=Target.STOPPED), ended)[0] is Status.STOPPED
    assert reason_of(ready, ended)[1].code == "app-ended"
    assert reason_of(SERVER, ended)[1].code == "app-exited"
    assert reason_of(ready, replace(ended, exit_code=-9))[1].code == "app-died"
    failed = Failed(user="alice", server="", attempt=ATTEMPT, code="no-program", message="There is no jupyter.")
    assert reason_of(SERVER, failed)[1].message == "There is no jupyter."
    assert reason_of(SERVER, failed)[1].code == "no-program"


@given(
    st.sampled_from(["unix", "tcp", "tls"]),
    st.text(max_size=30),
    st.sampled_from(["local", "slurm", "", "other"]),
    st.booleans(),
)
def test_a_socket_outside_the_jobs_folder_is_never_accepted(kind, text, cluster, shared):
    folder = f"/srv/jobs/{ATTEMPT}"
    endpoint = Endpoint(kind=kind, host=text, port=1, path=f"{folder}/{text}" if text.startswith(".") else text)
    taken = not refusal(endpoint, cluster, (folder,), shared_port=shared)
    assert taken <= (kind == "tls" if cluster != "local" else kind == "unix" or (kind == "tcp" and shared))
    if taken and kind == "unix":
        assert "/" not in endpoint.path.removeprefix(f"{folder}/")


FOLDER = f"/srv/jobs/{ATTEMPT}"


@pytest.mark.parametrize(
    ("path", "account", "problem"),
    [
        (f"{FOLDER}/ssh.sock", "alice", ""),
        ("", "", ""),
        ("ssh.sock", "alice", "SSH is served at an absolute path, and as an account."),
        (f"{FOLDER}/../ssh.sock", "alice", "SSH is served at an absolute path, and as an account."),
        (f"{FOLDER}/ssh.sock", "", "SSH is served at an absolute path, and as an account."),
    ],
)
def test_where_a_job_serves_ssh_is_checked(path, account, problem):
    endpoint = ReportedEndpoint(kind="tls", host="h", port=1, ssh_path=path, account=account)
    report = Ready(user="alice", server="", attempt=ATTEMPT, endpoint=endpoint)
    assert fault(report) == problem
    if not problem:
        assert (endpoint_of(report).ssh_path, endpoint_of(report).account) == (path, account)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_on_the_hubs_machine_ssh_is_served_in_the_jobs_own_folder(kind):
    for path, taken in ((f"{FOLDER}/ssh.sock", True), ("/srv/jobs/other/ssh.sock", False), ("/run/x", False)):
        endpoint = Endpoint(
            kind=kind, host="127.0.0.1", port=1, path=f"{FOLDER}/app.sock", ssh_path=path, account="alice"
        )
        assert (refusal(endpoint, {kind}, (FOLDER,), shared_port=True) == "") is taken


def test_an_endpoints_name_follows_from_the_attempt():
    said = Ready(user="alice", server="", attempt=ATTEMPT, endpoint=ReportedEndpoint(kind="tls", host="h", port=1))
    assert endpoint_of(said).name == node_name(ATTEMPT) == f"{ATTEMPT}.towpath.internal"
