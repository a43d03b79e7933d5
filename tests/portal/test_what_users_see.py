"""What pages say of a server: its time limit, its job, who cancelled it; and links that ask for what is not there."""

import re

import pytest
from msgspec.structs import replace

from portal.refusals.pages import ErrorPages
from state.records.endings import as_told_to
from state.records.lifecycle import advance
from state.records.models import JobRef, Reason, Share, Status
from tests.portal.test_api_shares import SHARING

WARNING = re.compile(r'data-ends="[^"]*" data-warn-seconds="900"( hidden)?><strong>([^<]*)</strong>')
CANCELLED = Reason(
    code="cancelled",
    message="alice cancelled the job outside the hub.",
    hint="Start the server again.",
)


async def running(bench, client, name="", **changes):
    """Start a server as its user, and change its record."""
    where = f"/hub/api/users/alice/servers/{name}" if name else "/hub/api/users/alice/server"
    assert (await client.post(where, json={"profile": "lab"})).status_code == 202
    server = await bench.make_ready(client, name=name)
    job = JobRef(cluster="local", native_id="4711")
    return await bench.store.servers.save(replace(server, job=job, running=bench.clock(), **changes))


PAGES = [
    "/hub/home",
    "/hub/token",
    "/hub/audit",
    "/hub/spawn/alice/third",
    "/hub/spawn-pending/alice/another",
    "/hub/stop/alice",
    "/hub/logout",
]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_warns_of_a_time_limit(bench, path):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()), Accept="text/html")
        await running(bench, client, deadline=bench.clock() + 600)
        await running(bench, client, "later", deadline=bench.clock() + 7200)
        await running(bench, client, "endless")
        assert (await client.post("/hub/api/users/alice/servers/another", json={"profile": "lab"})).status_code == 202
        answer = await client.get(path)
        assert answer.status_code == 200
        assert WARNING.findall(answer.text) == [("", "Your server"), (" hidden", "later")]
        assert re.search(r"time limit in <span data-left>(9|10) min</span> and will be stopped", answer.text)
        other = bench.client(bench.session(await bench.user("bob")))
        assert not WARNING.search((await other.get("/hub/home")).text)

    bench(main)


def test_a_stopping_server_has_no_warning(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await running(bench, client, deadline=bench.clock() + 600)
        assert (await client.delete("/hub/api/users/alice/server")).status_code == 202
        assert not WARNING.search((await client.get("/hub/home")).text)
        bench.clock.ahead = 900
        assert not WARNING.search((await client.get("/hub/home")).text)

    bench(main)


ABOUT_A_SERVER = [
    ("alice", "/hub/home"),
    ("alice", "/hub/stop/alice"),
    ("alice", "/hub/share/alice"),
    ("root", "/hub/stop/alice"),
    ("root", "/hub/share/alice"),
    ("root", "/hub/admin"),
    ("root", "/hub/admin/users/alice"),
    ("bob", "/hub/home"),
    ("bob", "/hub/leave/alice"),
]


@pytest.mark.parametrize(("viewer", "path"), ABOUT_A_SERVER)
def test_a_page_about_a_server_shows_its_job(bench, viewer, path):
    async def main(bench):
        users = {name: await bench.user(name, admin=name == "root") for name in ("root", "alice", "bob")}
        alice = bench.client(bench.session(users["alice"]))
        await running(bench, alice)
        share = Share(owner="alice", user="bob", scopes=("access:servers!server=alice/",), created=bench.clock())
        await bench.store.shares.grant(share)
        page = (await bench.client(bench.session(users[viewer])).get(path)).text
        assert page.count("Job 4711") == 1
        assert (await alice.get("/hub/api/users/alice/server")).json()["job_id"] == "4711"

    bench(main, config=SHARING)


def test_the_form_that_edits_a_request_shows_its_job(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        assert (await client.post("/hub/api/users/alice/server", json={"profile": "gpu"})).status_code == 202
        server = await bench.store.servers.get("alice", "")
        job = JobRef(cluster="local", native_id="4711")
        await bench.store.servers.save(replace(server, status=Status.QUEUED, job=job))
        for path in ("/hub/edit/alice", "/hub/spawn-pending/alice"):
            assert "4711" in (await client.get(path)).text, path

    bench(main)


@pytest.mark.parametrize("itself", [True, False], ids=["owner", "guest"])
@pytest.mark.parametrize("status", [Status.STOPPED, Status.FAILED, Status.STOPPING])
def test_the_page_in_place_of_an_app_shows_the_servers_job(bench, status, itself):
    async def main(bench):
        pages = ErrorPages(bench.config, "0.1.0", bench.clock)
        client = bench.client(bench.session(await bench.user()))
        server = replace(await running(bench, client), status=status, target="stopped")
        asked = {"user": "alice", "name": "", "server": server, "path": "/user/alice/lab"}
        told = pages.stopped_page(html=True, may_start=itself, may_look=itself, **asked)
        assert told.status == 424
        assert told.body.count(b"Job 4711") == 1
        silent = pages.unreachable(502, "No answer.", itself=itself, **asked)
        assert silent.body.count(b"Job 4711") == 1
        assert (b"ask alice to restart it" in silent.body) is not itself

    bench(main)


def test_no_link_and_no_form_makes_an_empty_query_string(bench):
    """A form with the method `get` and no fields ends in `?` in the browser's address bar."""

    async def main(bench):
        users = {name: await bench.user(name, admin=name == "root") for name in ("root", "alice", "bob")}
        await running(bench, bench.client(bench.session(users["alice"])))
        await running(bench, bench.client(bench.session(users["alice"])), "gpu")
        share = Share(owner="alice", user="bob", scopes=("access:servers!server=alice/",), created=bench.clock())
        await bench.store.shares.grant(share)
        for viewer, path in ABOUT_A_SERVER:
            page = (await bench.client(bench.session(users[viewer])).get(path)).text
            assert not re.search(r'(?:href|action)="[^"]*[?]"', page), path
            for form in re.findall(r'<form[^>]*method="get".*?</form>', page, re.DOTALL):
                assert ' name="' in form, (path, form)

    bench(main, config=SHARING)


def test_a_suspended_server_is_shown_as_such(bench):
    async def main(bench):
        alice = bench.client(bench.session(await bench.user()))
        await running(bench, alice, suspended=True)
        assert '<span class="pill wait">Suspended</span>' in (await alice.get("/hub/home")).text
        assert (await alice.get("/hub/api/users/alice/server")).json()["suspended"] is True

    bench(main)


def test_only_the_user_who_cancelled_reads_you_cancelled(bench):
    async def main(bench):
        admin = bench.client(bench.session(await bench.user("root", admin=True)))
        alice = bench.client(bench.session(await bench.user()))
        server = await running(bench, alice)
        ended = advance(server, Status.FAILED, now=bench.clock(), reason=CANCELLED)
        await bench.store.servers.save(ended)
        assert "You cancelled the job outside the hub." in (await alice.get("/hub/spawn-pending/alice")).text
        for path in ("/hub/spawn-pending/alice", "/hub/admin/users/alice", "/hub/api/users/alice/server"):
            text = (await admin.get(path)).text
            assert "alice cancelled the job outside the hub." in text, path
            assert "You cancelled" not in text, path

    bench(main)


def test_other_reasons_are_the_same_for_all_users():
    for message in ("Ada cancelled the job.", "The app exited."):
        reason = Reason(code="x", message=message)
        assert as_told_to(reason, owner="alice", viewer="bob") is reason
    assert as_told_to(None, owner="alice", viewer="bob") is None


LINKS = [
    ("profile=none", 400, "There is no profile named &#39;none&#39;. Choose another one."),
    ("profile=gpu&opt-none=1", 400, "none: The profile gpu has no such option."),
    ("profile=gpu&opt-gpus=99", 400, "The link asks for something that is not available. See below."),
    ("profile=gpu&opt-kind=h100", 400, "Pick one of: a100, v100."),
    ("profile=gpu&gpus=99", 400, "The link asks for something that is not available. See below."),
    ("profile=gpu&gpus=3", 200, 'value="3"'),
    ("profile=gpu&opt-gpus=3", 200, 'value="3"'),
    ("opt-gpus=3", 400, "gpus: The profile lab has no such option."),
    ("utm_source=mail", 200, "Start your server"),
]


@pytest.mark.parametrize(("query", "status", "words"), LINKS)
def test_a_link_with_an_unknown_profile_or_option_is_an_error(bench, query, status, words):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        answer = await client.get(f"/hub/spawn?{query}")
        assert answer.status_code == status
        assert words in answer.text

    bench(main)


BODIES = [
    {"profile": "none"},
    {"profile": "gpu", "user_options": {"none": 1}},
    {"profile": "gpu", "user_options": {}, "gpus": 2},
    {"display_name": "x", "gpus": 2},
    {"profile": "gpu", "none": 1},
    {"profile": "gpu", "gpus": 99},
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_with_an_unknown_profile_or_option_is_an_error(bench, method, body):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        answer = await client.request(method, "/hub/api/users/alice/servers/one", json=body)
        assert answer.status_code == 400
        assert await bench.store.servers.get("alice", "one") is None

    bench(main)
