"""A separate origin for each user's servers: what each host serves, how a browser signs in there, and the isolation."""

import asyncio
import re
import sys
from contextlib import closing, contextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hub import ROOT, Hub, eventually
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright
from ports import free_port
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from state.config.origins import LABEL, Origins, label
from state.config.tables import GatewayConfig
from tests.chromium import launch
from tests.echo_hub import ECHO, LOCAL

pytestmark = pytest.mark.timeout(240)

CONFIG = """
[gateway]
public_url = "http://localhost:{port}"
user_domain = "localhost"

[auth]
admins = ["carol"]
allowed_users = ["alice", "bob", "odd_name"]

[[auth.provider]]
name = "test"
kind = "test"
{local}

[[profile]]
name = "mirror"
cluster = "local"
app = "web"
command = ["{python}", "{root}/tests/apps/mirror.py", "{{socket}}"]
default_path = ""
{echo}
"""


class Browser:
    """A browser of one user, with a cookie jar per host. Follows redirects itself, always to loopback."""

    def __init__(self, hub):
        self.hub = hub
        self.jars = {}

    def ask(self, url, method="GET", *, page=True, **headers):
        parts = urlsplit(url)
        jar = self.jars.setdefault(parts.netloc, {})
        given = {
            "Host": parts.netloc,
            **({"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} if page else {}),
            **headers,
        }
        if jar:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        answer = httpx.request(method, f"http://127.0.0.1:{self.hub.port}{target}", headers=given, timeout=30)
        for cookie in answer.headers.get_list("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            assert "domain" not in cookie.lower(), "every cookie is its host's alone"
            jar[name] = value
        return answer

    def go(self, url):
        """Follow redirects. Returns the last response and all URLs."""
        way = [url]
        while (answer := self.ask(way[-1])).is_redirect:
            where = answer.headers["location"]
            parts = urlsplit(way[-1])
            way.append(where if "://" in where else f"{parts.scheme}://{parts.netloc}{where}")
            assert len(way) < 12, way
        return answer, way

    def sign_in(self, name):
        origin = self.hub.at("")
        answer = httpx.post(
            f"http://127.0.0.1:{self.hub.port}/hub/login",
            data={"provider": "test", "username": name},
            headers={"Host": urlsplit(origin).netloc, "Origin": origin},
        )
        assert answer.status_code == 303, answer.text
        self.jars[urlsplit(origin).netloc] = {
            self.hub.cookie_name(): re.match(
                rf"towpath-session\.{self.hub.port}=([^;]+)", answer.headers["set-cookie"]
            )[1]
        }
        return self


class DomainHub(Hub):
    def at(self, who, path=""):
        return f"http://{f'{who}.' if who else ''}localhost:{self.port}{path}"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    port = free_port()
    hub = DomainHub(
        tmp_path_factory.mktemp("domain"),
        config=CONFIG.format(port=port, python=sys.executable, root=ROOT, local=LOCAL, echo=ECHO),
    )
    hub.port = port
    hub.start()
    alice = hub.api("alice")
    for name, profile in (("", "mirror"), ("echo", "echo")):
        where = f"/users/alice/servers/{name}" if name else "/users/alice/server"
        assert alice.post(where, json={"profile": profile}).status_code == 202
        eventually(lambda where=where: alice.get(where).json()["ready"], what=where)
    yield hub
    for where in ("/users/alice/server", "/users/alice/servers/echo"):
        alice.delete(where)
        eventually(lambda where=where: alice.get(where).json()["stopped"], what="the end")
    alice.close()
    hub.close()


def test_the_hub_redirects_a_browser_to_a_servers_host_with_a_cookie_only_for_it(hub):
    browser = Browser(hub).sign_in("alice")
    answer, way = browser.go(hub.at("", "/user/alice/lab?x=1"))
    assert answer.status_code == 200
    assert '"head": "GET /user/alice/lab?x=1 HTTP/1.1' in answer.text
    assert [urlsplit(url).netloc.partition(":")[0] for url in way] == [
        "localhost",
        "alice.localhost",
        "localhost",
        "alice.localhost",
        "alice.localhost",
    ]
    assert "towpath" not in answer.json()["head"].lower().replace("x-towpath", "")
    assert set(browser.jars[f"localhost:{hub.port}"]) == {hub.cookie_name()}
    assert set(browser.jars[f"alice.localhost:{hub.port}"]) == {
        hub.cookie_name("towpath-origin"),
        hub.cookie_name("towpath-entrance"),
    }
    again, way = browser.go(hub.at("alice", "/user/alice/"))
    assert (again.status_code, len(way)) == (200, 1)


def test_the_hubs_own_host_never_carries_an_apps_bytes(hub):
    browser = Browser(hub).sign_in("alice")
    with closing(hub.api("alice")) as client:
        token = client.headers["Authorization"]
    for path in ("/user/alice/", "/user/alice/api", "/user/%61lice/", "/user/alice/echo/", "/user/alice"):
        answer = browser.ask(hub.at("", path), page=False)
        assert answer.status_code == 302
        assert answer.headers["location"] == hub.at("alice", path)
        assert (
            httpx.get(
                f"http://127.0.0.1:{hub.port}{path}", headers={"Host": f"localhost:{hub.port}", "Authorization": token}
            ).status_code
            == 302
        )
    for method in ("POST", "PUT", "DELETE"):
        assert browser.ask(hub.at("", "/user/alice/api"), method, Origin=hub.at("")).status_code == 421


def test_a_users_host_serves_only_that_users_servers(hub):
    browser = Browser(hub).sign_in("carol")
    assert browser.go(hub.at("alice", "/user/alice/"))[0].status_code == 200
    assert browser.ask(hub.at("alice", "/user/bob/")).headers["location"] == hub.at("bob", "/user/bob/")
    for path in ("/hub/home", "/hub/api/user", "/", "/hub/token", "/hub/admin", "/services/x/"):
        answer = browser.ask(hub.at("alice", path))
        assert (answer.status_code, answer.headers["location"]) == (302, hub.at("", path)), path
    for path in ("/hub/logout", "/hub/api/users/alice/server", "/user/bob/x"):
        assert browser.ask(hub.at("alice", path), "POST", Origin=hub.at("alice")).status_code == 421
    assert browser.ask(hub.at("alice", "/hub/static/x/y.css")).status_code == 404


def test_a_cookie_is_valid_only_at_its_own_host(hub):
    """The hub's cookie is not valid at a user's host, and a user host's cookie not at the hub or at another user's host."""
    browser = Browser(hub).sign_in("carol")
    browser.go(hub.at("alice", "/user/alice/"))
    hubs = browser.jars[f"localhost:{hub.port}"][hub.cookie_name()]
    origin = browser.jars[f"alice.localhost:{hub.port}"][hub.cookie_name("towpath-origin")]
    for host, cookie, path in (
        ("alice.localhost", f"{hub.cookie_name()}={hubs}", "/user/alice/"),
        ("alice.localhost", f"{hub.cookie_name('towpath-origin')}={hubs}", "/user/alice/"),
        ("bob.localhost", f"{hub.cookie_name('towpath-origin')}={origin}", "/user/bob/"),
        ("localhost", f"{hub.cookie_name()}={origin}", "/hub/api/user"),
        ("localhost", f"{hub.cookie_name('towpath-origin')}={origin}", "/hub/api/user"),
    ):
        answer = httpx.get(
            f"http://127.0.0.1:{hub.port}{path}", headers={"Host": f"{host}:{hub.port}", "Cookie": cookie}
        )
        assert answer.status_code == 403, (host, cookie)
    # in a header it is a token that is valid only for these servers
    answer = httpx.get(
        f"http://127.0.0.1:{hub.port}/hub/api/users",
        headers={"Host": f"localhost:{hub.port}", "Authorization": f"token {origin}"},
    )
    assert answer.status_code == 403


def test_access_to_a_server_is_checked_at_its_own_host_too(hub):
    browser = Browser(hub).sign_in("bob")
    answer, _ = browser.go(hub.at("alice", "/user/alice/"))
    assert answer.status_code == 403
    page, way = Browser(hub).go(hub.at("alice", "/user/alice/"))
    assert "Sign in" in page.text
    assert urlsplit(way[-1]).path == "/hub/login"
    program = Browser(hub).ask(hub.at("alice", "/user/alice/"), page=False)
    assert program.status_code == 403


def test_a_code_works_once_for_its_browser_and_host(hub):
    carol = Browser(hub).sign_in("carol")
    first = carol.ask(hub.at("alice", "/user/alice/"))
    entrance = first.headers["location"]
    assert urlsplit(entrance).path == "/hub/entrance"
    lead = carol.ask(entrance).headers["location"]
    assert lead.startswith(hub.at("alice", "/hub/enter?code="))
    # the browser of another user who was sent the code: a link must not sign anyone in as another user
    victim = Browser(hub)
    victim.ask(hub.at("alice", "/user/alice/"))
    refused = victim.ask(lead)
    assert refused.status_code == 400
    assert "towpath-origin" not in refused.headers.get("set-cookie", "")
    # the code is consumed by that, also for its own browser
    assert carol.ask(lead).status_code == 400
    # and a code is valid only at its own host
    lead = carol.ask(entrance).headers["location"]
    other = lead.replace("alice.localhost", "bob.localhost")
    carol.jars[f"bob.localhost:{hub.port}"] = dict(carol.jars[f"alice.localhost:{hub.port}"])
    assert carol.ask(other).status_code == 400
    state = parse_qs(urlsplit(entrance).query)["state"][0]
    for query in (
        f"state={state}&next=//evil.example/user/alice/",
        f"state={state}&next=/hub/home",
        "state=x&next=/user/alice/",
        "next=/user/alice/",
        f"state={state}&next=http://alice.evil/user/alice/",
        f"state={state}&next=/user/alice/%0d%0aSet-Cookie:%20x=1",
        f"state={state}&next=/user/alice/../../hub/home",
        f"state={state}&next=/user/alice/%5cevil",
    ):
        assert carol.ask(hub.at("", f"/hub/entrance?{query}")).status_code == 400, query


def test_a_code_is_rejected_after_its_user_signed_out(hub):
    carol = Browser(hub).sign_in("carol")
    lead = carol.ask(carol.ask(hub.at("alice", "/user/alice/")).headers["location"]).headers["location"]
    assert carol.ask(hub.at("", "/hub/logout"), "POST", Origin=hub.at("")).status_code == 303
    refused = carol.ask(lead)
    assert refused.status_code == 400
    assert "towpath-origin" not in refused.headers.get("set-cookie", "")


def test_other_tokens_are_not_accepted_as_a_hosts_cookie(hub):
    """An attacker could plant a token of their own as a cookie."""
    with closing(hub.api("alice")) as client:
        token = client.headers["Authorization"].removeprefix("token ")
    where, host = f"http://127.0.0.1:{hub.port}/user/alice/", f"alice.localhost:{hub.port}"
    assert httpx.get(where, headers={"Host": host, "Authorization": f"token {token}"}).status_code == 200
    assert (
        httpx.get(where, headers={"Host": host, "Cookie": f"{hub.cookie_name('towpath-origin')}={token}"}).status_code
        == 403
    )


def test_signing_out_closes_open_connections_on_every_host_within_a_second(hub):
    browser = Browser(hub).sign_in("alice")
    browser.go(hub.at("alice", "/user/alice/"))
    jar = browser.jars[f"alice.localhost:{hub.port}"]

    async def main():
        headers = {
            "Cookie": f"{hub.cookie_name('towpath-origin')}={jar[hub.cookie_name('towpath-origin')]}",
            "Origin": hub.at("alice"),
        }
        where = {"additional_headers": headers, "origin": None, "proxy": None, "host": "127.0.0.1"}
        url = f"ws://alice.localhost:{hub.port}/user/alice/echo/ws"
        for hostile in (hub.at(""), hub.at("bob"), "http://evil.example"):
            with pytest.raises(InvalidStatus):
                async with connect(url, **{**where, "additional_headers": {**headers, "Origin": hostile}}):
                    pass
        async with connect(url, **where) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
            answer = await asyncio.to_thread(browser.ask, hub.at("", "/hub/logout"), "POST", Origin=hub.at(""))
            assert answer.status_code == 303
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 20)
            assert socket.close_code == 4401

    asyncio.run(main())
    answer = browser.ask(hub.at("alice", "/user/alice/"), page=False)
    assert answer.status_code == 403


def test_a_host_without_a_user_is_not_served(hub):
    for host in (
        "evil.example",
        "alice.localhost.evil.example",
        "a.b.localhost",
        "-x.localhost",
        ".localhost",
        "alice_.localhost",
    ):
        answer = httpx.get(f"http://127.0.0.1:{hub.port}/user/alice/", headers={"Host": f"{host}:{hub.port}"})
        assert answer.status_code in {400, 421}, host


@contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = launch(playwright, "--host-resolver-rules=MAP *.localhost 127.0.0.1")
        with closing(browser):
            yield browser.new_page()


def test_in_a_browser_a_link_to_a_server_survives_the_sign_in(hub):
    with chromium() as page:
        page.goto(hub.at("alice", "/user/alice/deep?x=1"))
        page.get_by_role("button", name="alice").click()
        page.wait_for_url(f"{hub.at('alice')}/user/alice/deep?x=1")
        assert '"head"' in page.content()


def test_in_a_browser_a_server_opens_at_its_own_host_and_cannot_read_the_hub(hub):
    with chromium() as page:
        page.goto(hub.at("", "/hub/login"))
        page.get_by_role("button", name="alice").click()
        page.wait_for_url("**/hub/home")
        page.get_by_role("link", name="Open").first.click()
        page.wait_for_url(f"{hub.at('alice')}/user/alice/**")
        assert '"head"' in page.content()
        cookies = {(cookie["domain"], cookie["name"]): cookie for cookie in page.context.cookies()}
        assert ("localhost", hub.cookie_name()) in cookies
        assert ("alice.localhost", hub.cookie_name("towpath-origin")) in cookies
        assert all(cookie["httpOnly"] for cookie in cookies.values())
        seen = page.evaluate(
            """async (hub) => {
              try { return (await (await fetch(hub + '/hub/api/user', {credentials: 'include'})).text()) }
              catch (error) { return 'refused' }
            }""",
            hub.at(""),
        )
        assert seen == "refused"
        assert page.evaluate("document.cookie") == ""


@given(
    st.from_regex(r"[a-z0-9_][a-z0-9_.@+-]{0,63}", fullmatch=True),
    st.from_regex(r"[a-z0-9_][a-z0-9_.@+-]{0,63}", fullmatch=True),
)
def test_every_name_has_a_host_of_its_own(one, other):
    assert LABEL.fullmatch(label(one))
    assert (label(one) == label(other)) == (one == other)


def test_labels_are_the_names_if_possible():
    assert [label(name) for name in ("alice", "a-1")] == ["alice", "a-1"]
    assert all(label(name).startswith("u--") for name in ("odd_name", "a@b", "u--x", "xn--x", "a-", "a" * 64))
    origins = Origins(GatewayConfig(public_url="https://hub.example.org:8443/base/", user_domain="users.example.org"))
    assert origins.of("alice") == "https://alice.users.example.org:8443"
    assert origins.hub == "https://hub.example.org:8443"
    assert [
        origins.label_in(host)
        for host in (b"alice.users.example.org", b"users.example.org", b"hub.example.org", b"a.alice.users.example.org")
    ] == ["alice", "", "", ""]


def test_with_https_other_subdomains_cannot_set_the_cookies_of_a_users_host():
    from gateway.door.hosts import Hosts

    hosts = Hosts(
        Origins(GatewayConfig(public_url="https://hub.example.org", user_domain="hub.example.org")), base_path="/hub1/"
    )
    where, cookie = hosts.lead_in(b"/hub1/user/alice/lab?x=1&y=2", [])
    assert where.startswith(b"https://hub.example.org/hub1/hub/entrance?state=")
    assert where.endswith(b"&next=%2Fhub1%2Fuser%2Falice%2Flab%3Fx%3D1%26y%3D2")
    assert cookie.startswith(b"__Host-towpath-entrance=")
    assert b"Path=/;" in cookie
    assert b"Secure" in cookie
    assert hosts.jar.name == "__Host-towpath-origin"
    again, same = hosts.lead_in(b"/hub1/user/alice/lab", [cookie.partition(b";")[0]])
    assert same == cookie, "tabs share it"
    assert hosts.jar.ticket([b"__Host-towpath-origin=a; __Host-towpath-origin=b"]) == ""
