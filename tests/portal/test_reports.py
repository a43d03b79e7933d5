"""The starter's word: who is believed, and what it changes."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from portal.reports import OUTDATED, Ended, Failed, Ready, ReportedEndpoint, judge, reason_of
from state.records import Server, Status, Target

UNIX = {"kind": "unix", "path": "/tmp/a/app.sock"}


def test_ready_is_heard_twice_and_another_endpoint_is_not(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        stranger = bench.client()
        assert (await bench.report(stranger, server, "ready", endpoint=UNIX)).json() == {}
        told = len(await bench.store.servers.events("alice", ""))
        assert (await bench.report(stranger, server, "ready", endpoint=UNIX)).status_code == 200
        assert len(await bench.store.servers.events("alice", "")) == told
        other = await bench.report(stranger, server, "ready", endpoint={"kind": "unix", "path": "/tmp/b"})
        assert (other.status_code, other.json()["stop"]) == (409, True)

    bench(main)


def test_only_the_attempts_own_token_is_believed(bench):
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


def test_a_start_that_was_cancelled_meanwhile_is_told_to_stop(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        server = await bench.submitted()
        await client.delete("/hub/api/users/alice/server")
        answer = await bench.report(bench.client(), server, "ready", endpoint=UNIX)
        assert (answer.status_code, answer.json()["stop"]) == (409, True)
        assert await bench.store.feed.route("/user/alice/") is None

    bench(main)


def test_an_app_that_dies_leaves_its_reason_and_its_log(bench):
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


def test_what_is_no_report_is_refused(bench):
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
    assert judge(server, word, token) is not None
    assert judge(replace(server, report_hash=""), word, "") is not None
    assert judge(None, word, token) is not None
    assert judge(server, replace(word, attempt="b" * 32), token) is OUTDATED


def test_the_reason_fits_what_was_wished_and_what_happened():
    ended = Ended(user="alice", server="", attempt=ATTEMPT, exit_code=0)
    ready = replace(SERVER, status=Status.READY)
    assert reason_of(replace(SERVER, target=Target.STOPPED), ended)[0] is Status.STOPPED
    assert reason_of(ready, ended)[1].code == "app-ended"
    assert reason_of(SERVER, ended)[1].code == "app-exited"
    assert reason_of(ready, replace(ended, exit_code=-9))[1].code == "app-died"
    failed = Failed(user="alice", server="", attempt=ATTEMPT, code="no-program", message="There is no jupyter.")
    assert reason_of(SERVER, failed)[1].message == "There is no jupyter."
    assert reason_of(SERVER, failed)[1].code == "no-program"
