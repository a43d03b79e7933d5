"""Attacks on the gateway from outside: a real hub, raw requests, other origins, ended sessions."""

import asyncio
import os
import signal
import socket
from contextlib import closing
from http.client import HTTPConnection

import httpx
import pytest
from hub import Hub, children, eventually
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.echo_hub import ALONE, ECHO


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    config = f"""
{ALONE}{ECHO}
"""
    hub = Hub(folder, config=config, workers=2).start()
    with hub.api() as api:
        hub.start_server(api)
        hub.wait_ready(api)
        with closing(hub.browser()) as browser:
            hub.first_browser = browser
            hub.base = f"/user/{hub.user()}/"
            eventually(lambda: browser.get(hub.base).status_code == 200, what="the app")
            yield hub
        hub.stop_server(api)
    hub.close()


@pytest.fixture
def browser(hub):
    """Return another signed-in browser, by a link that is written directly to the store."""
    client = hub.browser()
    yield client
    client.close()


def cookie(client):
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def websocket(hub, client, path="", **headers):
    given = {"Cookie": cookie(client), "Origin": hub.origin, **headers}
    return connect(
        f"ws://127.0.0.1:{hub.port}{hub.base}{path}",
        additional_headers=given,
        origin=None,
        max_size=None,
        proxy=None,
        ping_interval=None,
    )


async def refused(hub, client, path="", **headers):
    with pytest.raises(InvalidStatus) as caught:
        async with websocket(hub, client, path, **headers):
            pass
    return caught.value.response.status_code


# --- access ---------------------------------------------------------------------------------------------


def test_an_unauthenticated_browser_is_redirected_to_sign_in_and_a_program_gets_an_error(hub):
    page = httpx.get(hub.origin + hub.base, headers={"Accept": "text/html"})
    assert page.status_code == 302
    assert page.headers["location"].startswith("/hub/login?next=")
    assert httpx.get(hub.origin + hub.base + "api").status_code == 403
    assert httpx.get(hub.origin + hub.base, headers={"Authorization": "token nonsense"}).status_code == 403


def test_an_unauthenticated_websocket_is_rejected_before_the_app_is_contacted(hub):
    with httpx.Client() as nobody:
        assert asyncio.run(refused(hub, nobody)) == 403


def test_another_users_server_and_an_unknown_one_get_the_same_answer(hub, browser):
    with hub.api() as api:
        token = api.post(f"/users/{hub.user()}/tokens", json={"scopes": ["read:users!user"]}).json()["token"]
    for path in ("/user/erin/", "/user/no-such-user/", hub.base):
        answer = httpx.get(hub.origin + path, headers={"Authorization": f"token {token}"})
        assert answer.status_code == 403, path


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "none"},
        {},
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_an_unsafe_request_from_another_site_is_rejected(hub, browser, method, headers, content_type):
    for path in (hub.base + "api/x", "/hub/logout", f"/hub/api/users/{hub.user()}/server"):
        answer = httpx.request(
            method,
            hub.origin + path,
            content=b"{}",
            headers={"Cookie": cookie(browser), "Content-Type": content_type, **headers},
        )
        assert answer.status_code == 403, path
    assert browser.get("/hub/api/user").status_code == 200, "still signed in"


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}])
def test_a_websocket_from_another_site_is_rejected(hub, browser, headers):
    assert asyncio.run(refused(hub, browser, **headers)) == 403


def test_an_unknown_host_name_is_rejected(hub, browser):
    """DNS rebinding: a foreign name that resolves to loopback."""
    answer = httpx.get(
        hub.origin + "/hub/home", headers={"Host": f"evil.example:{hub.port}", "Cookie": cookie(browser)}
    )
    assert answer.status_code == 421


def test_an_invalid_second_session_cookie_is_ignored(hub, browser):
    good, name = cookie(browser), hub.cookie_name()
    for pair in (f"{good}; {name}=tossed", f"{name}=tossed; {good}", f"{name}=tossed; {name}=again"):
        answer = httpx.get(hub.origin + hub.base, headers={"Cookie": pair})
        assert answer.status_code == (200 if good in pair else 403)


# --- requests to the app and its responses --------------------------------------------------------------------


def test_the_hubs_credentials_never_reach_the_app(hub, browser):
    with hub.api() as api:
        secret = api.headers["Authorization"]
        by_token = api.get(hub.origin + hub.base)
    by_cookie = httpx.get(hub.origin + hub.base, headers={"Cookie": f"mine=1; {cookie(browser)}; yours=2"})
    for answer in (by_token, by_cookie):
        seen = answer.text
        assert secret.split()[1] not in seen
        assert cookie(browser).split("=", 1)[1] not in seen
    assert ["Cookie", "mine=1; yours=2"] in [[name.title(), value] for name, value in by_cookie.json()["headers"]]


def test_an_apps_cookie_stays_under_its_own_path_and_cannot_be_the_hubs(hub, browser):
    cookies = browser.get(hub.base).headers.get_list("set-cookie")
    assert len(cookies) == 1
    assert cookies[0].startswith("app=1")
    assert f"Path={hub.base}" in cookies[0]
    assert "domain" not in cookies[0].lower()


@pytest.mark.parametrize("path", ["a%2Fb", "a%20b/%C3%A9", "x;y=z", "a//b", "tree/%7Euser", "q?a=1&b=%2F&&c", "x%5Cy"])
def test_every_byte_of_the_path_arrives_as_it_was(hub, browser, path):
    with socket.create_connection(("127.0.0.1", hub.port), 10) as connection:
        connection.sendall(
            f"GET {hub.base}{path} HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\nCookie: {cookie(browser)}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert f'"path": "{hub.base}{path}"'.replace("\\", "\\\\").encode() in answer, answer[-600:]


@pytest.mark.parametrize("path", ["../x", "%2e%2e/bob/", "..;/bob/", "x%2f..%2f..%2fbob", "x\\..\\bob"])
def test_an_ambiguous_path_is_400(hub, browser, path):
    with socket.create_connection(("127.0.0.1", hub.port), 10) as connection:
        connection.sendall(
            f"GET {hub.base}{path} HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\nCookie: {cookie(browser)}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_missing_slash_is_added(hub, browser):
    answer = browser.get(hub.base.rstrip("/") + "?a=1")
    assert (answer.status_code, answer.headers["location"]) == (302, hub.base + "?a=1")


# --- sessions ---------------------------------------------------------------------------------------------------


def test_a_link_works_once(hub):
    with closing(hub.browser()):
        answer = httpx.get(hub.link, follow_redirects=True)
        assert "/hub/home" not in str(answer.url)
        posted = httpx.post(hub.origin + "/hub/login", data={"token": hub.secret()}, headers={"Origin": hub.origin})
        assert "towpath-session" not in posted.headers.get("set-cookie", "")


def test_signing_in_again_changes_the_session_and_ends_the_old_one(hub, browser):
    """Session fixation: the old ticket is not valid."""
    old = cookie(browser)
    hub.fresh_link()
    answer = browser.post("/hub/login", data={"token": hub.secret()})
    assert answer.status_code in (302, 303), answer.text
    assert cookie(browser) != old
    assert browser.get(hub.base).status_code == 200
    assert httpx.get(hub.origin + hub.base, headers={"Cookie": old}).status_code == 403


def test_signing_out_ends_open_websockets_on_every_worker(hub):
    async def main():
        client = await asyncio.to_thread(hub.browser)
        opened = [await websocket(hub, client).__aenter__() for _ in range(8)]  # spread over both workers
        for connection in opened:
            await connection.send("hello")
            assert await connection.recv() == "hello"
        answer = await asyncio.to_thread(client.post, "/hub/logout")
        assert answer.status_code in (200, 302, 303)
        for connection in opened:
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(connection.recv(), 60)
            assert caught.value.rcvd.code == 4401
        assert await refused(hub, client) == 403
        client.close()

    asyncio.run(main())


def ask_again(connection, path, headers):
    """Send the same bytes again on the same connection."""
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_repeated_heads_are_authorised_again_each_time(hub):
    """The cache of request heads stores their credentials, never the decision."""
    client = hub.browser()
    with hub.api() as api:
        made = api.post(f"/users/{hub.user()}/tokens", json={"note": "for a moment"}).json()
        kept = [HTTPConnection("127.0.0.1", hub.port) for _ in range(6)]  # spread over both workers
        proofs = [{"Cookie": cookie(client)}, {"Authorization": f"token {made['token']}"}] * 3
        for connection, proof in zip(kept, proofs, strict=True):
            assert [ask_again(connection, hub.base, proof) for _ in range(3)] == [200] * 3
        client.post("/hub/logout")
        api.delete(f"/users/{hub.user()}/tokens/{made['id']}")
        for connection, proof in zip(kept, proofs, strict=True):
            eventually(lambda c=connection, p=proof: ask_again(c, hub.base, p) == 403, what="the refusal")
            assert [ask_again(connection, hub.base, proof) for _ in range(3)] == [403] * 3
            connection.close()
    client.close()


def test_two_users_on_one_connection_are_distinguished(hub, browser):
    """An edge proxy sends requests of all users over the same connections."""
    with closing(HTTPConnection("127.0.0.1", hub.port)) as connection:
        for _ in range(5):
            assert ask_again(connection, hub.base, {"Cookie": cookie(browser)}) == 200
            assert ask_again(connection, hub.base, {"Cookie": f"{hub.cookie_name()}=invalid"}) == 403
            assert ask_again(connection, hub.base, {}) == 403


def test_a_revoked_token_ends_its_websockets(hub):
    async def main():
        with hub.api() as api:
            made = api.post(f"/users/{hub.user()}/tokens", json={"note": "for a moment"}).json()
            async with connect(
                f"ws://127.0.0.1:{hub.port}{hub.base}",
                proxy=None,
                additional_headers={"Authorization": f"token {made['token']}"},
            ) as connection:
                await connection.send("hello")
                assert await connection.recv() == "hello"
                gone = await asyncio.to_thread(api.delete, f"/users/{hub.user()}/tokens/{made['id']}")
                assert gone.status_code == 204
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(connection.recv(), 60)

    asyncio.run(main())


def test_an_expired_token_opens_no_websocket_and_its_open_ones_are_closed(hub):
    async def main():
        with hub.api() as api:
            made = api.post(f"/users/{hub.user()}/tokens", json={"note": "for a moment", "expires_in": 8}).json()
            where = {
                "uri": f"ws://127.0.0.1:{hub.port}{hub.base}",
                "proxy": None,
                "additional_headers": {"Authorization": f"token {made['token']}"},
            }
            async with connect(**where) as connection:
                await connection.send("hello")
                assert await connection.recv() == "hello"
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(connection.recv(), 60)
                assert closed.value.rcvd.code == 4401
            with pytest.raises(InvalidStatus) as refused:
                async with connect(**where):
                    pass
            assert refused.value.response.status_code == 403

    asyncio.run(main())


def test_a_worker_that_ends_closes_its_websockets_with_1012(hub, browser):
    async def main():
        opened = [await websocket(hub, browser).__aenter__() for _ in range(6)]
        for pid in [pid for pid, line in children(hub.process.pid) if "gateway.worker" in line]:
            os.kill(pid, signal.SIGTERM)
        for connection in opened:
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(connection.recv(), 60)
            assert caught.value.rcvd.code == 1012

    asyncio.run(main())
    eventually(lambda: browser.get(hub.base).status_code == 200, what="a new worker")


def test_sixty_four_megabytes_in_fragments_come_back_whole(hub, browser):
    async def main():
        message = os.urandom(1 << 20)
        async with websocket(hub, browser) as connection:

            async def fragments():
                for _ in range(64):
                    yield message

            sending = asyncio.create_task(connection.send(fragments()))
            echoed = await asyncio.wait_for(connection.recv(), 120)
            await sending
            assert echoed == message * 64

    asyncio.run(main())
