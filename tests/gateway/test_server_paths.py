"""Which server a path under `/user/NAME/` means, and in which form the hub writes it."""

from contextlib import closing

import pytest
from hub import Hub, eventually
from websockets.sync.client import connect

from tests.echo_hub import ECHO, LOCAL

NAME = "a+b@c.org"
HOME = "/user/a%2Bb@c.org/"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    config = f"""
[auth]
allowed_users = ["{NAME}"]

[[auth.provider]]
name = "test"
kind = "test"
{LOCAL}{ECHO}
"""
    hub = Hub(tmp_path_factory.mktemp("hub"), config=config, workers=2).start()
    with closing(hub.browser_of(NAME)) as browser:
        hub.signed_in = browser
        for path in ("server", "servers/gpu"):
            assert browser.post(f"/hub/api/users/{NAME}/{path}").status_code in (201, 202)
        for path in (HOME, HOME + "gpu/"):
            eventually(lambda path=path: browser.get(path).status_code == 200, what=path)
        yield hub
        for path in ("server", "servers/gpu"):
            browser.delete(f"/hub/api/users/{NAME}/{path}")
        eventually(lambda: not any(one["ready"] for one in servers(browser)), what="their end")
    hub.close()


@pytest.fixture
def browser(hub):
    return hub.signed_in


def servers(browser):
    return browser.get(f"/hub/api/users/{NAME}").json()["servers"].values()


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/user/a%2Bb@c.org", HOME),
        ("/user/a%2Bb@c.org?x=1", HOME + "?x=1"),
        ("/user/a%2Bb@c.org/gpu", HOME + "gpu/"),
        ("/user/a%2Bb@c.org/gpu?x=1", HOME + "gpu/?x=1"),
        ("/user/a+b@c.org/", HOME),
        ("/user/a+b@c.org/x/%2f?y=%40", HOME + "x/%2f?y=%40"),
        ("/user/a%2bb%40c.org/gpu/x", HOME + "gpu/x"),
        ("/user/%61%2Bb@c.org", HOME),
        (HOME + "%67pu/x", HOME + "gpu/x"),
        (HOME + "g%70u", HOME + "gpu/"),
    ],
)
def test_another_spelling_of_a_server_leads_to_the_hubs_own(browser, path, leads_to):
    for method in ("GET", "HEAD"):
        answer = browser.request(method, path)
        assert (answer.status_code, answer.headers.get("location")) == (302, leads_to)
    assert browser.get(leads_to).json()["path"] == leads_to


@pytest.mark.parametrize("path", [HOME + "x%2Fy", HOME + "gpu/%67", HOME + "/gpu", HOME + "%67pux/", HOME + "x"])
def test_all_that_follows_the_servers_name_is_the_apps(browser, path):
    assert browser.get(path).json()["path"] == path


def test_a_websocket_at_another_spelling_reaches_the_server(hub, browser):
    given = {"Cookie": "; ".join(f"{one.name}={one.value}" for one in browser.cookies.jar), "Origin": hub.origin}
    url = f"ws://127.0.0.1:{hub.port}/user/a+b%40c.org/gpu/x"
    with connect(url, additional_headers=given, proxy=None) as socket:
        socket.send("x")
        assert socket.recv() == "x"


def test_a_stopped_server_is_never_the_default_one(hub, browser):
    """On every worker: from its creation on, while it is stopped, and until it is removed."""
    base = f"/hub/api/users/{NAME}/servers/quiet"
    path = HOME + "quiet/lab"
    for _ in range(8):
        with closing(hub.browser_of(NAME)) as client:  # a connection of its own, to either worker
            assert client.get(path).json()["path"] == path, "the default server's app"
    assert browser.put(base, json={}).status_code == 201
    eventually(lambda: all_are(hub, path, 424), what="both workers to know of it")
    page = browser.get(path, headers={"Accept": "text/html"})
    assert page.status_code == 424
    assert "quiet" in page.text
    assert browser.post(path).status_code == 424
    assert browser.get(HOME + "quiet", headers={"Accept": "text/html"}).headers["location"] == HOME + "quiet/"
    assert browser.get(HOME + "quieter/lab").status_code == 200
    browser.request("DELETE", base, json={"remove": True})
    eventually(lambda: all_are(hub, path, 200), what="both workers to forget it")


def all_are(hub, path, status):
    found = set()
    for _ in range(8):
        with closing(hub.client()) as client:
            client.cookies = hub.signed_in.cookies
            found.add(client.get(path).status_code)
    return found == {status}


@pytest.mark.parametrize("name", ["lab", "api", "files", "tree", "static", "hub", "terminals"])
def test_a_path_of_the_app_is_no_name_for_a_server(browser, name):
    for method in ("PUT", "POST"):
        answer = browser.request(method, f"/hub/api/users/{NAME}/servers/{name}", json={})
        assert answer.status_code == 400
        assert answer.json()["message"].startswith(f"{name} is an address of the default server's own pages.")
    page = browser.post("/hub/home", data={"name": name})
    assert "Use another name." in page.text
    assert browser.get(HOME + name).json()["path"] == HOME + name
