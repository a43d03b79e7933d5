"""Two hubs on one host, by port and by base path: they do not sign each other's users out or leak cookies to apps."""

import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing

import httpx
import pytest
from hub import ROOT, Hub, eventually
from playwright.sync_api import sync_playwright

from tests.chromium import launch
from tests.ports import free_port

pytestmark = pytest.mark.timeout(180)
CONFIG = f"""
[gateway]
{{gateway}}

[auth]
admins = ["carol"]
allowed_users = ["alice", "bob"]

[[auth.provider]]
name = "test"
kind = "test"

[[cluster]]
name = "local"
kind = "local"
isolation = "none"

[[profile]]
name = "mirror"
cluster = "local"
app = "web"
command = ["{sys.executable}", "{ROOT / "tests/apps/mirror.py"}", "{{{{socket}}}}"]
default_path = ""
"""
NGINX = """
daemon off;
user root;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_set_header Host $http_host;
    proxy_http_version 1.1;
    server {{
        listen 127.0.0.1:{port};
        location /one/ {{ proxy_pass http://127.0.0.1:{one}; }}
        location /two/ {{ proxy_pass http://127.0.0.1:{two}; }}
    }}
}}
"""


class OneHost:
    """Two hubs behind a real nginx, at /one/ and /two/ of one origin. A browser's cookies go to both."""

    def __init__(self, folder):
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.hubs = []
        for name in ("one", "two"):
            place = folder / name
            place.mkdir()
            gateway = f'public_url = "{self.origin}/{name}"'
            self.hubs.append(Hub(place, config=CONFIG.format(gateway=gateway)).start())
        one, two = (hub.port for hub in self.hubs)
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=self.port, one=one, two=two))
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        argv = [binary, "-e", str(folder / "error.log"), "-c", str(config), "-p", str(folder)]
        self._nginx = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < end, (folder / "error.log").read_text()
                time.sleep(0.02)
            else:
                return

    def client(self):
        return httpx.Client(base_url=self.origin, timeout=30, headers={"Origin": self.origin})

    def stop(self):
        self._nginx.terminate()
        self._nginx.wait(20)
        for hub in self.hubs:
            hub.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    made = OneHost(tmp_path_factory.mktemp("host"))
    yield made
    made.stop()


def sign_in(client, base, name):
    answer = client.post(f"{base}hub/login", data={"provider": "test", "username": name}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    assert str(answer.url).endswith(f"{base}hub/home")


def whoami(client, base, **headers):
    answer = client.get(f"{base}hub/api/user", headers=headers)
    return answer.json()["name"] if answer.status_code == 200 else answer.status_code


def whose(host, base, cookie):
    """Return the user that the hub identifies by only this Cookie header."""
    with host.client() as client:
        return whoami(client, base, Cookie=cookie)


def test_the_path_of_the_public_url_is_the_base_path(host):
    with host.client() as client:
        assert client.get("/one/hub/login").status_code == 200
        assert client.get("/one/", follow_redirects=False).headers["location"] == "/one/hub/"
        sign_in(client, "/one/", "alice")
        model = client.get("/one/hub/api/users/alice?include_stopped_servers=1").json()["servers"][""]
        assert model["full_url"] == f"{host.origin}/one/user/alice/"


def test_two_hubs_at_two_paths_have_separate_sessions(host):
    with host.client() as client:
        sign_in(client, "/one/", "alice")
        sign_in(client, "/two/", "bob")
        names = {cookie.name for cookie in client.cookies.jar}
        assert {f"towpath-session-one.{host.port}", f"towpath-session-two.{host.port}"} <= names
        both = {"Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)}
        # with https both have Path=/ (the prefix __Host- requires it), so each hub receives both
        assert whoami(client, "/one/", **both) == "alice"
        assert whoami(client, "/two/", **both) == "bob"
        client.post("/one/hub/logout")
        assert whoami(client, "/one/") == 403
        assert whoami(client, "/two/") == "bob"


def test_an_app_of_one_hub_sees_no_cookie_of_the_other_and_sets_none(host):
    with host.client() as client:
        sign_in(client, "/one/", "alice")
        sign_in(client, "/two/", "bob")
        both = {"Cookie": "mine=1; " + "; ".join(f"{one.name}={one.value}" for one in client.cookies.jar)}
        client.post("/two/hub/api/users/bob/server", headers={"Content-Type": "application/json"})
        eventually(lambda: client.get("/two/hub/api/users/bob").json()["servers"].get("", {}).get("ready"))
        told = client.get("/two/user/bob/x", headers=both).json()["head"]
        assert "mine=1" in told
        assert "towpath" not in told.lower().replace("x-towpath", "")
        planted = [f"{one.name}=evil; Path=/" for one in client.cookies.jar if "session" in one.name]
        fields = "".join(f"Set-Cookie: {one}\r\n" for one in [*planted, "a=b"])
        raw = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{fields}\r\n".encode()
        answer = client.get(f"/two/user/bob/x?answer={raw.hex()}", headers=both)
        assert [one.partition("=")[0] for one in answer.headers.get_list("set-cookie")] == ["a"]
        client.delete("/two/hub/api/users/bob/server")
        eventually(lambda: not client.get("/two/hub/api/users/bob").json()["servers"])


def test_planted_cookies_do_not_lock_users_out(host):
    """Over plain http, a page on the same host can set cookies of the hub's name for longer paths."""
    name = f"towpath-session-one.{host.port}"
    with host.client() as alice, host.client() as mallory:
        sign_in(alice, "/one/", "alice")
        sign_in(mallory, "/one/", "bob")
        mine, theirs = alice.cookies[name], mallory.cookies[name]
        # invalid values are ignored at any position
        for pair in (f"{name}=made-up; {name}={mine}", f"{name}={mine}; {name}=made-up"):
            assert whose(host, "/one/", pair) == "alice"
        # of two valid ones neither is accepted, and the response deletes all except the hub's own
        with host.client() as victim:
            victim.cookies.set(name, mine, domain="127.0.0.1", path="/one/")
            victim.cookies.set(name, theirs, domain="127.0.0.1", path="/one/user/alice")
            victim.cookies.set(name, theirs, domain="127.0.0.1", path="/one/hub")
            page = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
            refused = victim.get("/one/user/alice/", headers=page)
            assert refused.status_code == 302
            assert "/one/hub/login" in refused.headers["location"]
            left = [(cookie.path, cookie.value) for cookie in victim.cookies.jar if cookie.name == name]
            assert sorted(left) == [("/one/", mine), ("/one/hub", theirs)]
            assert (
                victim.get(refused.headers["location"]).status_code == 200
            )  # not signed in yet, but the cookies are deleted now
            assert [cookie.path for cookie in victim.cookies.jar if cookie.name == name] == ["/one/"]
            assert whoami(victim, "/one/") == "alice"


def test_two_sessions_of_one_user_are_accepted(host):
    name = f"towpath-session-one.{host.port}"
    with host.client() as first, host.client() as second:
        sign_in(first, "/one/", "alice")
        sign_in(second, "/one/", "alice")
        pair = f"{name}={first.cookies[name]}; {name}={second.cookies[name]}"
        assert whose(host, "/one/", pair) == "alice"


def test_in_a_browser_two_hubs_at_two_ports_both_stay_signed_in(tmp_path):
    hubs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        hubs.append(Hub(tmp_path / name, config=CONFIG.format(gateway="")).start())
    try:
        with sync_playwright() as playwright, closing(launch(playwright)) as browser:
            page = browser.new_page()
            for hub, name in zip(hubs, ("alice", "bob"), strict=True):
                page.goto(f"{hub.origin}/hub/login")
                page.get_by_role("button", name=name).click()
                page.wait_for_url("**/hub/home")
            for hub, name in zip(hubs, ("alice", "bob"), strict=True):
                page.goto(f"{hub.origin}/hub/home")
                assert page.url.endswith("/hub/home")
                assert page.evaluate("async () => (await (await fetch('/hub/api/user')).json()).name") == name
    finally:
        for hub in hubs:
            hub.close()
