"""Sharing a server on a real hub: what each share permits, and how fast it ends."""

import asyncio
import contextlib
import re
import time

import httpx
import pytest
from hub import Hub, eventually
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.echo_hub import ECHO, LOCAL

CONFIG = f"""
[gateway]
share_on_one_host = true

[auth]
admins = ["carol"]
allowed_users = ["alice", "bob", "dave"]

[[auth.provider]]
name = "test"
kind = "test"

[[role]]
name = "user"
scopes = ["self", "shares!user", "read:users:name", "read:groups:name"]

[[role]]
name = "teacher"
scopes = ["access:servers!group=class"]
users = ["dave"]
{LOCAL}{ECHO}

[[profile]]
name = "breaks"
cluster = "local"
app = "web"
command = ["/bin/sh", "-c", "echo words of the owner; exit 3", "{{socket}}"]
"""
SHARE = "/hub/api/shares/alice/"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    hub = Hub(tmp_path_factory.mktemp("sharing"), config=CONFIG, workers=2).start()
    hub.browsers = {name: hub.browser_of(name) for name in ("alice", "bob", "carol", "dave")}
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


@pytest.fixture(autouse=True)
def _no_shares(hub):
    hub.browsers["alice"].delete(SHARE)
    hub.browsers["alice"].delete("/hub/api/share-codes/alice/")
    eventually(lambda: hub.browsers["bob"].get("/user/alice/").status_code == 403)


def socket_of(hub, name):
    cookie = "; ".join(f"{key}={value}" for key, value in hub.browsers[name].cookies.items())
    headers = {"Cookie": cookie, "Origin": hub.origin}
    return connect(f"ws://127.0.0.1:{hub.port}/user/alice/ws", additional_headers=headers, origin=None, proxy=None)


def wait_for_status(hub, name, status):
    """Wait until the server responds with this status. Each of the two workers is notified of a change separately."""
    eventually(lambda: hub.browsers[name].get("/user/alice/").status_code == status)


def refuses_a_websocket(hub, name):
    async def attempt():
        try:
            async with socket_of(hub, name):
                return None
        except InvalidStatus as refusal:
            return refusal.response.status_code

    eventually(lambda: asyncio.run(attempt()) == 403)


async def opened(hub, name):
    """Open a WebSocket as soon as its worker knows that it is permitted."""
    end = time.monotonic() + 10
    while True:
        try:
            return await socket_of(hub, name)
        except InvalidStatus:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.02)


async def ends_after(hub, name, take_away):
    """Open and use a WebSocket, then call `take_away`. Returns the close code and the seconds until it was closed."""
    async with await opened(hub, name) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await asyncio.to_thread(take_away)
        begun = time.monotonic()
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.wait_for(socket.recv(), 10)
        return socket.close_code, time.monotonic() - begun


def test_a_full_share_gives_full_access_and_its_end_closes_open_websockets_within_a_second(hub):
    alice, bob = hub.browsers["alice"], hub.browsers["bob"]
    assert alice.post(SHARE, json={"user": "bob"}).status_code == 200
    wait_for_status(hub, "bob", 200)
    assert (
        bob.post("/user/alice/x", json={}).status_code == 502
    )  # the request reached the app, which does not support POST
    job = alice.get("/hub/api/users/alice").json()["servers"][""]["job_id"]
    for browser, advice in ((alice, "stop the server and start it again"), (bob, "ask alice to restart it")):
        page = browser.post("/user/alice/x", json={}, headers={"Sec-Fetch-Mode": "navigate"})
        assert page.status_code == 502
        assert f"Job {job}<" in page.text
        assert advice in page.text
    eventually(
        lambda: any(re.search(r"An app did not answer. server=alice/ attempt=\w+ job=\w", line) for line in hub.output)
    )
    code, seconds = asyncio.run(ends_after(hub, "bob", lambda: alice.patch(SHARE, json={"user": "bob"})))
    assert code == 4403
    assert seconds < 1
    wait_for_status(hub, "bob", 403)
    assert bob.get("/hub/home").status_code == 200  # bob's session stays open


def test_a_read_only_share_allows_reading_and_no_websocket(hub):
    alice, bob = hub.browsers["alice"], hub.browsers["bob"]
    assert alice.post(SHARE, json={"user": "bob", "scopes": ["read:access:servers"]}).status_code == 200
    eventually(lambda: bob.get("/user/alice/files").status_code == 200)
    assert bob.head("/user/alice/files").status_code == 200
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = bob.request(method, "/user/alice/api/contents/x", json={})
        assert answer.status_code == 403, method
        assert "read-only" in answer.text
    refuses_a_websocket(hub, "bob")
    assert bob.post("/hub/api/users/alice/server").status_code == 404


def test_making_a_share_read_only_closes_open_websockets(hub):
    alice = hub.browsers["alice"]
    alice.post(SHARE, json={"user": "bob", "scopes": ["access:servers", "read:access:servers"]})
    wait_for_status(hub, "bob", 200)
    lessen = {"user": "bob", "scopes": ["access:servers"]}
    code, seconds = asyncio.run(ends_after(hub, "bob", lambda: alice.patch(SHARE, json=lessen)))
    assert (code, seconds < 1) == (4403, True)
    wait_for_status(hub, "bob", 200)
    refuses_a_websocket(hub, "bob")


def test_a_groups_share_ends_for_users_who_leave_the_group(hub):
    alice, carol = hub.browsers["alice"], hub.browsers["carol"]
    carol.post("/hub/api/groups/bio", json={})
    assert carol.post("/hub/api/groups/bio/users", json={"users": ["bob"]}).status_code == 200
    assert alice.post(SHARE, json={"group": "bio"}).status_code == 200
    wait_for_status(hub, "bob", 200)

    def leave():
        assert carol.request("DELETE", "/hub/api/groups/bio/users", json={"users": ["bob"]}).status_code == 200

    assert asyncio.run(ends_after(hub, "bob", leave))[0] == 4403
    wait_for_status(hub, "bob", 403)


def test_access_by_a_role_over_a_group_ends_when_the_owner_leaves_the_group(hub):
    carol = hub.browsers["carol"]
    wait_for_status(hub, "dave", 403)
    carol.post("/hub/api/groups/class", json={})
    assert carol.post("/hub/api/groups/class/users", json={"users": ["alice"]}).status_code == 200
    wait_for_status(hub, "dave", 200)

    def leave():
        assert carol.request("DELETE", "/hub/api/groups/class/users", json={"users": ["alice"]}).status_code == 200

    assert asyncio.run(ends_after(hub, "dave", leave))[0] == 4403
    wait_for_status(hub, "dave", 403)


def test_an_invitation_is_accepted_after_signing_in_and_redirects_to_the_server(hub):
    alice = hub.browsers["alice"]
    made = alice.post("/hub/api/share-codes/alice/", json={}).json()
    bob = hub.browsers["bob"]
    page = bob.get(made["accept_url"])
    assert "alice invites you" in page.text
    crossed = bob.post("/hub/accept-share", data={"code": made["code"]}, headers={"Origin": "https://evil.example"})
    assert crossed.status_code == 403
    wait_for_status(hub, "bob", 403)
    done = bob.post("/hub/accept-share", data={"code": made["code"]})
    assert done.headers["location"] == "/user/alice/"
    wait_for_status(hub, "bob", 200)


def test_a_guest_of_a_stopped_server_sees_only_that_it_is_stopped(hub):
    alice, bob = hub.browsers["alice"], hub.browsers["bob"]
    assert alice.post("/hub/spawn/alice/lab2", data={"profile": "breaks"}).status_code == 303
    eventually(lambda: alice.get("/hub/api/users/alice/servers/lab2").json()["status"] == "failed", what="the failure")
    try:
        assert bob.get("/user/alice/lab2/").status_code == 403
        assert alice.post("/hub/api/shares/alice/lab2", json={"user": "bob"}).status_code == 200
        told = eventually(lambda: (got := bob.get("/user/alice/lab2/")).status_code == 424 and got)
        assert told.json() == {"status": 424, "message": "The server alice/lab2 is not running."}
        page = bob.get("/user/alice/lab2/", headers={"Accept": "text/html"})
        assert page.status_code == 424
        assert "Only alice can start alice/lab2" in page.text
        for word in ("words of the owner", "Start server", "failed"):
            assert word not in page.text
        assert bob.post("/user/alice/lab2/x").status_code == 424
        # The default server is running, and stays inaccessible.
        for path in ("/user/alice/", "/user/alice/other/"):
            assert bob.get(path, headers={"Accept": "text/html"}).status_code == 403
        owner = alice.get("/user/alice/lab2/x", headers={"Accept": "text/html"})
        assert owner.status_code != 403
    finally:
        alice.request("DELETE", "/hub/api/users/alice/servers/lab2", json={"remove": True})


PAGE = "/hub/share/alice"


def test_the_page_shares_for_permitted_users_and_rejects_other_sites(hub):
    alice, bob = hub.browsers["alice"], hub.browsers["bob"]
    give = {"act": "give", "kind": "user", "name": "bob", "level": "full"}
    for forged in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"{hub.origin}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for fields in (give, {"act": "link"}, {"act": "stop"}):
            assert alice.post(PAGE, data=fields, headers=forged).status_code == 403, forged
    assert alice.post(PAGE, json=give).status_code == 415
    assert bob.get(PAGE).status_code == 404
    assert bob.post(PAGE, data=give).status_code == 404
    assert alice.get(SHARE).json()["items"] == []
    assert alice.get("/hub/api/share-codes/alice/").json()["items"] == []

    assert alice.post(PAGE, data=give).status_code == 303
    wait_for_status(hub, "bob", 200)
    assert bob.get(PAGE).status_code == 404  # permission to use a server is not permission to share it
    assert bob.post(PAGE, data={"act": "take", "user": "bob"}).status_code == 404


def test_revoking_or_reducing_access_closes_open_websockets_within_a_second(hub):
    alice = hub.browsers["alice"]
    full = {"act": "give", "name": "bob", "level": "full"}
    for less, then in (
        ({"act": "take", "user": "bob"}, 403),
        ({"act": "give", "name": "bob", "level": "read"}, 200),
        ({"act": "stop"}, 403),
    ):
        assert alice.post(PAGE, data=full).status_code == 303
        wait_for_status(hub, "bob", 200)
        code, seconds = asyncio.run(ends_after(hub, "bob", lambda less=less: alice.post(PAGE, data=less)))
        assert (code, seconds < 1) == (4403, True), less
        wait_for_status(hub, "bob", then)
        refuses_a_websocket(hub, "bob")


def test_a_share_link_points_to_the_hub_and_its_code_is_not_logged(hub):
    alice, bob = hub.browsers["alice"], hub.browsers["bob"]
    page = alice.post(PAGE, data={"act": "link", "level": "read", "expires_in": "3600"})
    link = re.search(r"data-secret>([^<]+)<", page.text)[1]
    assert link.startswith(f"{hub.origin}/hub/accept-share?code=")
    code = link.partition("code=")[2]
    with httpx.Client(base_url=hub.origin, headers={"Origin": hub.origin}) as browser:
        signing_in = browser.get(link).headers["location"]
        assert httpx.URL(signing_in).params["next"] == f"/hub/accept-share?code={code}"
        assert browser.get(signing_in).status_code == 200
    assert bob.get(link).headers["referrer-policy"] == "strict-origin"
    assert bob.post("/hub/accept-share", data={"code": code}).headers["location"] == "/user/alice/"
    wait_for_status(hub, "bob", 200)
    assert bob.get(f"{link}x").status_code == 404
    alice.post(PAGE, data={"act": "stop"})
    assert bob.get(link).status_code == 404
    assert not any(code in line for line in hub.output)
    assert code not in hub.browsers["carol"].get("/hub/api/towpath/audit?limit=200").text


def test_a_share_link_survives_signing_in_and_a_start(hub):
    link = "/hub/user-redirect/tree/week%201.ipynb?cell=2"
    with httpx.Client(base_url=hub.origin, headers={"Origin": hub.origin}) as browser:
        page = browser.get(link)
        assert page.status_code in {302, 303}
        signing_in = httpx.URL(page.headers["location"])
        assert signing_in.path == "/hub/login"
        fields = {"provider": "test", "username": "bob", "next": signing_in.params["next"]}
        back = browser.post("/hub/login", data=fields)
        assert back.headers["location"] == link
        form = httpx.URL(browser.get(link).headers["location"])
        assert (form.path, form.params["next"]) == ("/hub/spawn/bob", "/user/bob/tree/week%201.ipynb?cell=2")
        begun = browser.post("/hub/spawn/bob", data={"profile": "echo", "next": form.params["next"]})
        assert begun.status_code == 303
        waiting = begun.headers["location"]
        eventually(lambda: browser.get("/hub/api/users/bob/server").json()["ready"], what="bob's server")
        onward = browser.get(waiting).headers["location"]
        assert onward == "/user/bob/tree/week%201.ipynb?cell=2"
        eventually(lambda: browser.get(onward).status_code == 200, what="bob's app")
        assert browser.get(onward).json()["path"] == onward
        browser.delete("/hub/api/users/bob/server")
        eventually(lambda: browser.get("/hub/api/users/bob/server").json()["stopped"], what="the end")
