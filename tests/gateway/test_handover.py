"""Attacks on the connection between gateway and portal, from clients and from local processes."""

import asyncio
import re
import socket
import stat

import httpx
import pytest
from hub import Hub, eventually, listeners, stub_config
from hypothesis import given
from hypothesis import strategies as st

from gateway.door import portal_handover
from gateway.serve import valkey
from gateway.tunnel import UpstreamError
from gateway.tunnel.headers import HOP_BY_HOP
from state.store.all import Store
from state.store.credentials import digest

NAMES = st.from_regex(rb"[a-z][a-z0-9-]{0,15}", fullmatch=True)
FIELDS = st.lists(st.tuples(NAMES, st.from_regex(rb"[ -~]{0,20}", fullmatch=True).map(bytes.strip)), max_size=8)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    hub = Hub(folder, config=stub_config(folder), workers=2).start()
    eventually(lambda: listeners(hub.port) == 2, what="both workers")  # the second worker may start later
    yield hub
    hub.close()
    assert list((hub.data_dir / "run").iterdir()) == [], "nothing is left behind"


def sockets(hub):
    return list((hub.data_dir / "run").glob("*.sock"))


def beside(path, head):
    """Return the response to a local process of the same account that connects to the portal's socket directly."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(head)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def test_the_portals_sockets_are_private(hub):
    assert len(sockets(hub)) == 2
    assert stat.S_IMODE((hub.data_dir / "run").stat().st_mode) == 0o700
    for path in sockets(hub):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_portal_rejects_requests_without_a_ticket(hub):
    browser = hub.browser()
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with hub.api() as api:
        token = api.headers["Authorization"]
    for path in sockets(hub):
        for fields in (
            "",
            f"Cookie: {cookie}\r\n",
            f"Authorization: {token}\r\n",
            "X-Towpath-Ticket: \r\n",
            "X-Towpath-Ticket: " + "0" * 32 + "\r\n",
            ("X-Towpath-Ticket: " + "0" * 32 + "\r\n") * 2,
        ):
            for target in ("/hub/home", "/hub/api/user", "/hub/health"):
                head = f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n"
                assert beside(path, head.encode()).startswith(b"HTTP/1.1 403"), (target, fields)
    browser.close()


@pytest.mark.parametrize("name", ["X-Towpath-Ticket", "x-towpath-ticket", "X_Towpath_Ticket", "X-TOWPATH-TICKET"])
def test_a_ticket_from_a_client_is_ignored(hub, name):
    headers = {name: "0" * 32}
    assert httpx.get(hub.origin + "/hub/api/user", headers=headers).status_code == 403
    with hub.api() as api:
        assert api.get("/user", headers=headers).status_code == 200
        assert api.get("/user", headers={**headers, "Connection": name}).status_code == 200


def test_responses_of_the_hubs_pages_are_not_rewritten(hub):
    """The rewriting for apps does not apply to the hub: its cookie keeps its name and path."""
    hub.fresh_link()
    with httpx.Client(headers={"Origin": hub.origin, "Sec-Fetch-Site": "same-origin"}) as client:
        answer = client.post(hub.origin + "/hub/login", data={"token": hub.secret()})
        assert answer.status_code in (302, 303)
        found = answer.headers["set-cookie"]
        assert re.match(rf"towpath-session\.{hub.port}=[^;]+; Path=/; HttpOnly; SameSite=Lax; Max-Age=", found), found
        page = client.get(hub.origin + "/hub/home")
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers.get_list("date")
        assert "x-towpath-ticket" not in page.headers
    with hub.api() as api:
        model = api.get(f"/users/{hub.user()}").json()
        assert model["name"] == hub.user()
        head = api.head("/info")
        assert (head.content, head.status_code) == (b"", 200)


def test_the_portal_receives_the_clients_address(hub):
    browser = hub.browser()

    async def session():
        store = await Store.open(valkey.url(hub.data_dir))
        try:
            return await store.sessions.get(digest(browser.cookies[hub.cookie_name()]))
        finally:
            await store.close()

    assert asyncio.run(session()).address == "127.0.0.1"
    browser.close()


@given(FIELDS)
def test_a_request_for_the_portal_has_only_the_gateways_ticket(fields):
    more = [(b"x-towpath-ticket", b"1"), (b"x_towpath_ticket", b"1"), (b"connection", b"x-one"), (b"x-one", b"1")]
    block = portal_handover.request_block([*fields, *more])
    names = [line.partition(b":")[0] for line in block.split(b"\r\n")[:-1]]
    assert b"ticket" not in block
    assert not set(names) & HOP_BY_HOP
    assert b"x-one" not in names


@given(FIELDS)
def test_a_response_of_the_portal_keeps_its_fields(fields):
    fields = [pair for pair in fields if pair[0] not in HOP_BY_HOP and pair[0] != b"content-length"]
    assert portal_handover.response_fields([*fields, (b"content-length", b"3")]) == (
        [*fields, (b"content-length", b"3")],
        3,
    )
    with pytest.raises(UpstreamError):
        portal_handover.response_fields([*fields, (b"content-length", b"3"), (b"transfer-encoding", b"chunked")])
