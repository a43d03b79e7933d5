"""Several users on one real hub: users reach only their own servers, and an admin reaches all."""

import asyncio

import httpx
import pytest
from hub import Hub, eventually
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.echo_hub import ECHO, LOCAL

CONFIG = f"""
[auth]
admins = ["carol"]
allowed_users = ["alice", "bob"]

[[auth.provider]]
name = "test"
kind = "test"
{LOCAL}{ECHO}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    hub = Hub(tmp_path_factory.mktemp("several"), config=CONFIG, workers=2).start()
    hub.browsers = {name: hub.browser_of(name) for name in ("alice", "bob", "carol")}
    alice = hub.browsers["alice"]
    assert alice.post("/hub/spawn/alice", data={"profile": "echo"}).status_code == 303
    eventually(lambda: alice.get("/hub/api/users/alice/server").json()["ready"], what="alice's server")
    eventually(lambda: alice.get("/user/alice/").status_code == 200, what="alice's app")
    yield hub
    alice.delete("/hub/api/users/alice/server")
    eventually(lambda: alice.get("/hub/api/users/alice/server").json()["stopped"], what="the end")
    for client in hub.browsers.values():
        client.close()
    hub.close()


def test_the_terminal_warns_about_the_test_sign_in(hub):
    assert any("WARNING: test sign-in is on" in line for line in hub.output)
    assert not hub.link


def test_the_page_shows_the_names_as_buttons_and_redirects_to_the_requested_page(hub):
    page = httpx.get(f"{hub.origin}/hub/login?next=/hub/token").text
    for name in ("alice", "bob", "carol"):
        assert f'<button name="username" value="{name}">' in page
    assert 'value="/hub/token"' in page
    assert "password" in page
    fields = {"provider": "test", "username": "bob", "next": "/hub/token"}
    answer = httpx.post(f"{hub.origin}/hub/login", data=fields, headers={"Origin": hub.origin})
    assert (answer.status_code, answer.headers["location"]) == (303, "/hub/token")
    assert "HttpOnly" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Forwarded-For": "127.0.0.1"}, 403),
        ({"Forwarded": "for=127.0.0.1"}, 403),
        ({"Via": "1.1 edge"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),  # DNS rebinding
    ],
)
def test_a_sign_in_from_another_machine_or_site_is_rejected(hub, headers, status):
    fields = {"provider": "test", "username": "carol"}
    answer = httpx.post(f"{hub.origin}/hub/login", data=fields, headers={"Origin": hub.origin, **headers})
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("in_form", [True, False], ids=["next in the form", "next in the URL"])
def test_a_script_signs_in_as_at_jupyterhub(hub, in_form):
    """The steps of scripts for JupyterHub 6.1: the cookie `_xsrf` of the page, then the form with three fields."""
    with hub.client() as client:
        client.headers.pop("Origin", None)
        assert client.get("/hub/login").status_code == 200
        xsrf = client.cookies["_xsrf"]
        assert f'name="_xsrf" value="{xsrf}"' in client.get("/hub/login").text
        fields = {"username": "bob", "password": "", "_xsrf": xsrf}
        query = {"_xsrf": xsrf} if in_form else {"_xsrf": xsrf, "next": "/hub/token"}
        answer = client.post("/hub/login", params=query, data=fields | ({"next": "/hub/token"} if in_form else {}))
        assert (answer.status_code, answer.headers["location"]) == (303, "/hub/token")
        headers = {"X-XSRFToken": xsrf}
        assert client.get("/hub/api/user", headers=headers).json()["name"] == "bob"
        made = client.post(
            "/hub/api/users/bob/tokens", headers=headers, params={"_xsrf": xsrf}, json={"note": "script"}
        )
        assert made.status_code == 201
        assert client.get("/hub/logout").status_code in {302, 303}
        assert client.get("/hub/home").status_code in {302, 303}


def test_other_names_cannot_sign_in(hub):
    for fields in (
        {"provider": "test", "username": "mallory"},
        {"provider": "none", "username": "alice"},
        {"username": "root"},
    ):
        answer = httpx.post(f"{hub.origin}/hub/login", data=fields, headers={"Origin": hub.origin})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_bob_cannot_reach_alices_servers_and_pages(hub):
    bob = hub.browsers["bob"]
    for path in (
        "/hub/spawn/alice",
        "/hub/spawn-pending/alice",
        "/hub/stop/alice",
        "/hub/remove/alice/x",
        "/hub/api/users/alice",
        "/hub/api/users/alice/server",
        "/hub/api/users/alice/server/progress",
        "/hub/api/users/alice/tokens",
        "/hub/api/users",
        "/user/alice/",
        "/user/alice/api/contents",
        "/user/alice",
    ):
        answer = bob.get(path)
        assert answer.status_code in {403, 404}, (path, answer.status_code)
        assert "Your server" not in answer.text
    for method, path in (
        ("POST", "/hub/spawn/alice"),
        ("POST", "/hub/stop/alice"),
        ("POST", "/hub/api/users/alice/server"),
        ("DELETE", "/hub/api/users/alice/server"),
        ("POST", "/hub/api/users/alice/tokens"),
        ("PATCH", "/hub/api/users/alice"),
        ("POST", "/user/alice/api"),
    ):
        assert bob.request(method, path).status_code in {403, 404}, (method, path)
    assert hub.browsers["alice"].get("/user/alice/").status_code == 200


def test_bob_cannot_open_a_websocket_to_alices_server(hub):
    async def attempt(client):
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        address = f"ws://127.0.0.1:{hub.port}/user/alice/ws"
        async with connect(
            address, additional_headers={"Cookie": cookie, "Origin": hub.origin}, origin=None, proxy=None
        ) as socket:
            await socket.send("hello")
            return await socket.recv()

    with pytest.raises(InvalidStatus) as caught:
        asyncio.run(attempt(hub.browsers["bob"]))
    assert caught.value.response.status_code == 403
    assert "hello" in str(asyncio.run(attempt(hub.browsers["alice"])))


def test_an_admin_reaches_all_servers_and_users(hub):
    carol = hub.browsers["carol"]
    assert carol.get("/hub/api/user").json()["admin"] is True
    assert {user["name"] for user in carol.get("/hub/api/users").json()} >= {"alice", "bob", "carol"}
    assert carol.get("/hub/api/users/alice/server").json()["ready"] is True
    assert carol.get("/hub/spawn-pending/alice").status_code == 302
    assert carol.get("/user/alice/").status_code == 200


def test_signing_out_ends_only_the_session_of_that_browser(hub):
    first, second = hub.browser_of("bob"), hub.browser_of("bob")
    assert first.post("/hub/logout").status_code == 303
    assert first.get("/hub/home").status_code in {302, 303}
    assert second.get("/hub/home").status_code == 200
    for client in (first, second):
        client.close()


def test_tokens_are_issued_only_to_listed_users(hub):
    assert hub.command("token", "alice").stdout.strip()
    assert hub.command("token", "mallory", check=False).returncode == 1
