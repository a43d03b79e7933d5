"""The pages as a user sees and uses them, without scripts."""

import asyncio
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from state.config.tables import Config, ProfileConfig
from state.offer.app_ports import SHARED_PORT_NOTE
from state.records.models import Reason, Status
from tests.portal.conftest import CONFIG

BOARD = ProfileConfig(
    name="board", title="Board", cluster="local", app="web", command=("board", "{port}"), shared_node_port=True
)


@pytest.mark.parametrize("profiles", [(BOARD,), (BOARD, *CONFIG.profile)], ids=["alone", "among others"])
def test_the_form_says_that_other_users_of_the_node_can_open_an_app(bench, profiles):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        page = await client.get("/hub/spawn")
        assert page.status_code == 200
        assert page.text.count(SHARED_PORT_NOTE) == 1
        listed = (await client.get("/hub/api/towpath/profiles")).json()
        assert [one["name"] for one in listed if one["shared_node_port"]] == ["board"]
        home = (await client.get("/hub/home")).text
        assert (
            '<a class="button primary" href="/hub/spawn/alice">Start</a>' in home
        )  # the form comes first, even with nothing to choose

    bench(main, config=replace(CONFIG, profile=profiles))


def test_every_page_has_strict_headers_and_nothing_inline(bench):
    async def main(bench):
        alice = await bench.user()
        client = bench.client(bench.session(alice))
        await client.post("/hub/spawn/alice/waits", data={})
        pages = [
            "/hub/home",
            "/hub/spawn",
            "/hub/spawn-pending/alice/waits",
            "/hub/stop/alice/waits",
            "/hub/token",
            "/hub/logout",
            "/hub/error/503",
            "/hub/nothing",
            "/hub/remove/alice/waits",
        ]
        for path in pages:
            answer = await client.get(path)
            assert answer.headers["content-type"].startswith("text/html"), path
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-jupyterhub-version"] == "6.1.1"
            assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", answer.text), path
            for address in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
                assert address.startswith("/") or address == "#main", (path, address)
                assert not address.startswith("//")

    bench(main)


def test_static_files_are_cached_permanently_by_a_hash_of_their_content(bench):
    async def main(bench):
        client = bench.client()
        page = (await client.get("/hub/login")).text
        sheet = re.search(r'href="(/hub/static/[0-9a-f]{12}/towpath\.css)"', page).group(1)
        answer = await client.get(sheet)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/css")
        assert "immutable" in answer.headers["cache-control"]
        assert (await client.get("/hub/static/000000000000/towpath.css")).status_code == 404

    bench(main)


def test_the_link_signs_in_once_and_leaves_no_secret_in_the_url(bench):
    async def main(bench):
        await bench.user()
        client = bench.client()
        secret = await bench.store.links.issue("alice", lifetime=60)
        ahead = await client.get(f"/hub/login?token={secret}", headers={"Sec-Purpose": "prefetch"})
        assert ahead.status_code == 200
        answer = await client.get(f"/hub/login?token={secret}&next=/hub/token")
        assert (answer.status_code, answer.headers["location"]) == (303, "/hub/token")
        assert "ticket-of-alice" in answer.headers["set-cookie"]
        again = await client.get(f"/hub/login?token={secret}")
        assert again.status_code == 403
        assert "not valid" in again.text
        assert secret not in again.text

    bench(main)


def test_the_form_accepts_the_secret_or_the_whole_link(bench):
    async def main(bench):
        await bench.user()
        for shape in ("{}", "  http://127.0.0.1:8000/hub/login?token={}  "):
            secret = await bench.store.links.issue("alice", lifetime=60)
            fields = {"token": shape.format(secret), "next": "//evil.example"}
            answer = await bench.client().post("/hub/login", data=fields)
            assert (answer.status_code, answer.headers["location"]) == (303, "/hub/home")

    bench(main)


SIGN_OUT_LINKS = {
    "from another site": (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        False,
    ),
    "an image of this site": (
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        None,
    ),
    "a prefetch": (
        {
            "Sec-Fetch-Site": "none",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Sec-Purpose": "prefetch",
        },
        False,
    ),
    "an old browser": ({"Accept": "text/html,*/*"}, False),
    "a page of a server on another host of the hub": (
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        True,
    ),
    "a page of this site": (
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        True,
    ),
    "the address bar": ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, True),
    "a program": ({"Accept": "*/*"}, True),
}


@pytest.mark.parametrize("kind", SIGN_OUT_LINKS)
def test_a_sign_out_link_works_as_at_jupyterhub_unless_another_site_links_to_it(bench, kind):
    """JupyterHub 6.1, handlers/login.py, LogoutHandler.get: signs out at once, for any link."""
    headers, signs_out = SIGN_OUT_LINKS[kind]

    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        answer = await client.get("/hub/logout", headers=headers)
        if signs_out:
            assert (answer.status_code, answer.headers["location"]) == (303, "/hub/login")
            assert "Max-Age=0" in answer.headers["set-cookie"]
            assert bench.auth.closed == ["alice"]
        else:
            assert ("Sign out?" in answer.text) if signs_out is False else answer.status_code == 403
            assert bench.auth.closed == []
            answer = await client.post("/hub/logout")
            assert (answer.status_code, answer.headers["location"]) == (303, "/hub/login")
            assert bench.auth.closed == ["alice"]

    bench(main)


def test_the_hubs_root_redirects_to_the_next_page_or_home(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        for query, location in (("", "/hub/home"), ("?next=/hub/token", "/hub/token"), ("?next=//x.org", "/hub/home")):
            assert (await client.get(f"/hub/{query}")).headers["location"] == location
        answer = await bench.client().get("/hub/?next=/hub/token")
        assert answer.headers["location"] == "/hub/login?next=/hub/token"

    bench(main)


def test_signing_in_returns_to_the_requested_page(bench):
    async def main(bench):
        answer = await bench.client().get("/hub/spawn/alice/deep?opt-gpus=2")
        location = urlsplit(answer.headers["location"])
        assert location.path == "/hub/login"
        assert parse_qs(location.query)["next"] == ["/hub/spawn/alice/deep?opt-gpus=2"]
        assert (await bench.client().get("/")).headers["location"] == "/hub/"
        assert (await bench.client().get("/hub/")).headers["location"] == "/hub/login"

    bench(main)


def test_an_invalid_start_shows_the_error_at_its_field_and_keeps_the_input(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        fields = {
            "profile": "gpu",
            "opt.gpu.gpus": "9",
            "opt.gpu.note": '"><b>x',
            "opt.gpu.big": "true",
            "next": "/user/alice/lab/tree",
        }
        answer = await client.post("/hub/spawn/alice", data=fields)
        assert answer.status_code == 400
        assert "At most 4." in answer.text
        assert 'value="9"' in answer.text
        assert "&#34;&gt;&lt;b&gt;x" in answer.text
        assert 'value="/user/alice/lab/tree"' in answer.text
        assert await bench.store.servers.get("alice", "") is None
        answer = await client.post("/hub/spawn/alice", data={**fields, "opt.gpu.gpus": "2", "opt.gpu.note": "ok"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/hub/spawn-pending/alice?next=/user/alice/lab/tree"
        server = await bench.store.servers.get("alice", "")
        assert server.choices == {"gpus": 2, "kind": "a100", "big": True, "note": "ok"}

    bench(main)


def test_a_get_only_fills_in_the_form(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        page = (await client.get("/hub/spawn/alice?profile=gpu&opt-gpus=3&opt-kind=v100")).text
        assert 'value="3"' in page
        assert '<option value="v100" selected>v100' in page
        assert await bench.store.servers.get("alice", "") is None
        assert (await client.get("/hub/spawn/alice?profile=odd")).status_code == 400

    bench(main)


def test_the_form_remembers_the_last_start(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/spawn/alice", data={"profile": "gpu", "opt.gpu.gpus": "4"})
        await client.post("/hub/stop/alice")
        await bench.end()
        assert 'value="4"' in (await client.get("/hub/spawn/alice")).text
        assert (await client.post("/hub/spawn/alice", data={"again": "1"})).status_code == 303
        assert (await bench.store.servers.get("alice", "")).choices["gpus"] == 4

    bench(main)


def test_one_profile_without_options_starts_with_one_click_from_home(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        page = (await client.get("/hub/home")).text
        assert '<form method="post" action="/hub/spawn/alice">' in page
        assert (await client.post("/hub/spawn/alice")).headers["location"] == "/hub/spawn-pending/alice"
        page = await client.get("/hub/spawn-pending/alice")
        assert 'http-equiv="refresh"' in page.text
        assert 'data-progress-url="/hub/api/users/alice/server/progress"' in page.text
        assert 'action="/hub/stop/alice"' in page.text
        await bench.make_ready(bench.client())
        onward = await client.get("/hub/spawn-pending/alice?next=/user/alice/tree/a%20b")
        assert (onward.status_code, onward.headers["location"]) == (302, "/user/alice/tree/a%20b")
        for wrong in ("/user/bob/lab", "//evil.example", "/hub/home"):
            onward = await client.get(f"/hub/spawn-pending/alice?next={wrong}")
            assert onward.headers["location"] == "/user/alice/lab"

    bench(main, config=Config())


def test_a_running_server_is_stopped_after_a_confirmation(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/spawn/alice", data={"profile": "lab"})
        await bench.make_ready(bench.client())
        home = (await client.get("/hub/home")).text
        assert "Running" in home
        assert '<a class="button" href="/hub/stop/alice">Stop</a>' in home
        assert "unsaved work" in (await client.get("/hub/stop/alice")).text
        assert (await bench.store.servers.get("alice", "")).target == "ready"

        async def controller():
            while (await bench.store.servers.get("alice", "")).target != "stopped":
                await asyncio.sleep(0.01)
            await bench.end()

        answer, _ = await asyncio.gather(client.post("/hub/stop/alice"), controller())
        assert answer.headers["location"] == "/hub/home"
        assert "Stopped" in (await client.get("/hub/home")).text

    bench(main)


def test_a_named_server_is_added_started_and_removed(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        wrong = await client.post("/hub/home", data={"name": "Not A Name"})
        assert wrong.status_code == 400
        assert 'value="Not A Name"' in wrong.text
        right = await client.post("/hub/home", data={"name": "deep"})
        assert right.headers["location"] == "/hub/spawn/alice/deep"
        await client.post("/hub/spawn/alice/deep", data={"profile": "lab"})
        assert (await client.post("/hub/home", data={"name": "deep"})).status_code == 400
        assert (await client.post("/hub/remove/alice/deep")).status_code == 409
        await bench.end(name="deep")
        assert "deep" in (await client.get("/hub/home")).text
        assert (await client.post("/hub/remove/alice/deep")).status_code == 303
        assert await bench.store.servers.get("alice", "deep") is None

    bench(main)


def test_a_failure_shows_its_reason_and_log_and_a_start_button(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/spawn/alice", data={"profile": "lab"})
        server = await bench.submitted()
        await bench.report(
            bench.client(),
            server,
            "failed",
            exit_code=127,
            code="no-app",
            message="There is no <jupyter> here.",
            log_tail="sh: 1: <jupyter>: not found",
        )
        page = (await client.get("/hub/spawn-pending/alice")).text
        assert "There is no &lt;jupyter&gt; here." in page
        assert "&lt;jupyter&gt;: not found" in page
        assert "Start again" in page
        assert "There is no &lt;jupyter&gt; here." in (await client.get("/hub/home")).text

    bench(main)


def test_a_token_is_shown_once_on_its_page(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        made = await client.post("/hub/token", data={"note": "<nightly>", "expires_in": "3600", "scopes": ""})
        secret = re.search(r"data-secret>([^<]+)<", made.text).group(1)
        later = (await client.get("/hub/token")).text
        assert secret not in later
        assert "&lt;nightly&gt;" in later
        wrong = await client.post("/hub/token", data={"note": "kept", "expires_in": "3600", "scopes": "no:such"})
        assert wrong.status_code == 400
        assert 'value="kept"' in wrong.text
        (token,) = await bench.store.tokens.of_user("alice")
        assert (await client.post("/hub/token/revoke", data={"id": token.id})).status_code == 303
        assert await bench.store.tokens.of_user("alice") == []

    bench(main)


def test_user_redirect_goes_to_the_users_own_server(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        answer = await client.get("/hub/user-redirect/lab/tree/x%20y.ipynb?a=1")
        location = urlsplit(answer.headers["location"])
        assert location.path == "/hub/spawn/alice"
        assert parse_qs(location.query)["next"] == ["/user/alice/lab/tree/x%20y.ipynb?a=1"]
        await client.post("/hub/spawn/alice", data={"profile": "lab"})
        await bench.make_ready(bench.client())
        answer = await client.get("/hub/user-redirect/lab/tree/x%20y.ipynb?a=1")
        assert answer.headers["location"] == "/user/alice/lab/tree/x%20y.ipynb?a=1"
        answer = await client.get("/hub/user/alice/lab")
        assert answer.headers["location"] == "/user/alice/lab"
        assert (await client.get("/hub/user-redirect/?a=1")).headers["location"] == "/user/alice/?a=1"
        # a server of that name is what the address means
        await client.put("/hub/api/users/alice/servers/lab2", json={})
        answer = await client.get("/hub/user-redirect/lab2/tree?a=1")
        assert answer.headers["location"] == "/hub/spawn/alice/lab2?next=/user/alice/lab2/tree%3Fa%3D1"
        await client.post("/hub/spawn/alice/lab2", data={"profile": "lab"})
        await bench.make_ready(bench.client(), name="lab2")
        answer = await client.get("/hub/user-redirect/lab2/tree?a=1")
        assert answer.headers["location"] == "/user/alice/lab2/tree?a=1"

    bench(main)


def test_the_data_plane_answers_browsers_and_programs(bench):
    from portal.refusals.pages import ErrorPages

    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        pages = ErrorPages(bench.config, "0.1.0", bench.clock)
        path = "/user/alice/lab/tree?x=1"
        asked = {"user": "alice", "name": "", "path": path}
        json = pages.stopped_page(html=False, server=None, **asked)
        assert (json.status, json.body) == (424, b'{"status":424,"message":"The server alice is not running."}')
        page = pages.stopped_page(html=True, server=None, **asked)
        assert page.status == 424
        assert b"/hub/spawn/alice?next=/user/alice/lab/tree%3Fx%3D1" in page.body
        await client.post("/hub/spawn/alice", data={"profile": "lab"})
        server = await bench.store.servers.get("alice", "")
        way = pages.stopped_page(html=True, server=server, **asked)
        assert way.status == 302
        assert dict(way.headers)[b"location"].startswith(b"/hub/spawn-pending/alice?next=")
        failed = replace(server, status=Status.FAILED, reason=Reason(code="x", message="It <broke>."))
        assert b"It &lt;broke&gt;." in pages.stopped_page(html=True, server=failed, **asked).body
        silent = pages.unreachable(502, "It <broke>.", server=None, itself=True, **asked)
        assert silent.status == 502
        assert b"It &lt;broke&gt;." in silent.body
        assert pages.sign_in_first(html=True, path="//evil.example").headers[-1] == (b"location", b"/hub/login")
        for status in (400, 403, 404, 418, 499, 503, 777):
            assert pages.error(status, html=True).status == status
            assert pages.error(status, html=False).status == status

    bench(main)
