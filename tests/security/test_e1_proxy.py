"""Known flaws of other notebook proxies, each test named after the flaw (table: docs/security.md)."""

import asyncio
import json
import re

import pytest
from security.security_hub import status
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.timeout(240)

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY)


def seen(answer):
    """Return what the app received."""
    assert status(answer) == 200, answer[:300]
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def fields(told):
    return [line.partition(": ")[::2] for line in told["head"].split("\r\n")[1:] if line]


def values(told, name):
    return [value for key, value in fields(told) if key.lower() == name]


@pytest.mark.parametrize("path", ["", "ws", "api/kernels/1/channels", "proxy/8080/", "terminals/websocket/1"])
@pytest.mark.parametrize("who", [None, "bob", "alice"])
def test_cve_2024_28179_ghsa_w3vc_fx9p_wp4v_a_websocket_is_refused_before_the_app_is_contacted(hub, path, who):
    """Without a session, as another user, and from a foreign page as the owner: 403, and no connection to the app."""
    before = seen(hub.ask("/user/alice/"))["connections"]
    for name in ("", "notes/"):
        request = (
            f"GET /user/alice/{name}{path} HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\nConnection: Upgrade\r\n"
            + "\r\n".join(UPGRADE)
            + (f"\r\nCookie: {hub.cookie(who)}" if who else "")
            + ("\r\nOrigin: http://evil.example" if who == "alice" else f"\r\nOrigin: {hub.origin}")
            + "\r\n\r\n"
        )
        answer = hub.send(request.encode())
        assert status(answer) == 403
    assert seen(hub.ask("/user/alice/"))["connections"] <= before + 1


@pytest.mark.parametrize(
    "tail",
    [
        "/evil.example/",
        "//evil.example:80/",
        "@evil.example/",
        "http://evil.example/",
        "http:/evil.example/",
        "proxy/evil.example:80/",
        "proxy/absolute/169.254.169.254/",
        "%2f%2fevil.example/",
        "?url=http://evil.example/",
    ],
)
def test_ghsa_gcv9_6737_pjqw_ssrf_the_url_never_chooses_the_upstream(hub, tail):
    """Whatever the path says, the owner's app receives it unchanged."""
    told = seen(hub.ask(f"/user/alice/{tail}"))
    assert told["head"].startswith(f"GET /user/alice/{tail} HTTP/1.1\r\n")
    assert values(told, "host") == [f"127.0.0.1:{hub.port}"]


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/user/alice/",
        "http://evil.example/hub/home",
        "//evil.example/user/alice/",
        "evil.example:80",
        "*",
    ],
)
def test_ssrf_a_request_target_with_another_host_is_not_proxied(hub, target):
    answer = hub.ask(target)
    assert status(answer) in {302, 400, 404, 421}
    assert b"evil.example" not in answer.partition(b"\r\n\r\n")[2]
    for location in re.findall(rb"(?im)^location: (\S+)", answer):
        assert not location.startswith((b"//", b"http"))


HOST = b"Host: 127.0.0.1\r\n"
HIDDEN = b"GET /user/alice/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = {
    "CL.TE": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(HIDDEN)),
    "TE.CL": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN),
    "a list of lengths": b"Content-Length: 0, 40\r\n\r\n",
    "a signed length": b"Content-Length: +4\r\n\r\nabcd",
    "a hexadecimal length": b"Content-Length: 0x4\r\n\r\nabcd",
    "an endless length": b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a coding in disguise": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a tab before the colon": b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 4\r\n\r\nabcd",
    "obs-fold": b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare carriage return": b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a NUL": b"X: a\0\r\nContent-Length: 4\r\n\r\nabcd",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a size that is too long": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx\r\n0\r\n\r\n",
    "a size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "a chunk that ends wrongly": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
@pytest.mark.parametrize("path", ["/user/alice/", "/hub/api/users/alice/server/nothing"])
def test_request_smuggling_ambiguous_framing_is_rejected(hub, name, path):
    raw = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\nOrigin: {hub.origin}\r\nCookie: {hub.cookie('alice')}\r\n".encode()
        + SMUGGLED[name]
        + HIDDEN
    )
    answer = hub.send(raw)
    assert answer.count(b"HTTP/1.1 ") <= 1, answer
    assert b"hidden" not in answer
    assert status(answer) in {0, 400, 404, 405, 413, 501}, answer[:200]
    assert status(hub.ask("/user/alice/next")) == 200
    assert "hidden" not in seen(hub.ask("/user/alice/next"))["head"]


@pytest.mark.parametrize(
    "raw",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /user/alice/ HTTP/0.9\r\n\r\n",
        b"GET /user/alice/ HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET  /user/alice/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_h2_downgrade_only_http_1_is_accepted(hub, raw):
    assert status(hub.send(raw)) in {0, 400, 403, 421, 505}


def test_h2_downgrade_an_upgrade_to_http_2_is_not_forwarded(hub):
    told = seen(
        hub.ask(
            "/user/alice/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"
        )
    )
    names = {name.lower() for name, _ in fields(told)}
    assert not names & {"upgrade", "http2-settings"}


def test_hop_by_hop_fields_and_those_named_in_connection_are_not_forwarded(hub):
    told = seen(
        hub.ask(
            "/user/alice/",
            "Connection: x-secret, x-forwarded-for, cookie, host",
            "X-Secret: 1",
            "Keep-Alive: 5",
            "Proxy-Authorization: Basic eA==",
            "Proxy-Connection: close",
            "TE: trailers",
            "Trailer: X",
            "Authorization: token of-the-browser",
        )
    )
    names = {name.lower() for name, _ in fields(told)}
    assert not names & {"x-secret", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer"}
    assert values(told, "host") == [f"127.0.0.1:{hub.port}"]
    assert values(told, "x-forwarded-for") == ["127.0.0.1"]


def test_x_forwarded_spoof_forwarding_headers_of_untrusted_clients_are_dropped(hub):
    told = seen(
        hub.ask(
            "/user/alice/",
            "X-Forwarded-For: 192.0.2.1",
            "X_Forwarded_For: 192.0.2.1",
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Prefix: /evil",
            "X-Forwarded-User: carol",
            "X-Real-IP: 192.0.2.1",
            "Forwarded: for=192.0.2.1;host=evil.example",
            "True-Client-IP: 192.0.2.1",
        )
    )
    assert "192.0.2.1" not in told["head"]
    assert "evil" not in told["head"]
    assert "carol" not in told["head"]
    audit = hub.browsers["carol"].get("/hub/api/towpath/audit?limit=1000").text
    assert "192.0.2.1" not in audit


@pytest.mark.parametrize(
    "hosts",
    [
        ("127.0.0.1:{port}", "evil.example"),
        ("evil.example", "127.0.0.1:{port}"),
        ("127.0.0.1:{port}, evil.example",),
        ("127.0.0.1:{port} evil.example",),
        ("evil.example#127.0.0.1:{port}",),
    ],
)
def test_host_confusion_exactly_one_known_host_is_required(hub, hosts):
    given = [f"Host: {host.format(port=hub.port)}" for host in hosts]
    assert status(hub.ask("/user/alice/", *given)) in {400, 421}
    assert status(hub.ask("/hub/home", *given)) in {400, 421}


@pytest.mark.parametrize(
    "path",
    [
        "/user/bob/..;/alice/",
        "/user/bob/../alice/",
        "/user/bob/%2e%2e/alice/",
        "/user/bob/%2e./alice/",
        "/user/bob/..%2falice/",
        "/user/bob/..%5calice/",
        "/user/bob/%2e%2e%2falice/",
        "/user/bob/.;x=1/../alice/",
        "/user/bob/x\\..\\..\\alice/",
        "/user//alice/",
        "/user/%61lice/",
        "/user/alice%2f",
        "/user/alice%00/",
        "/user/ALICE/",
        "/user/alice%20/",
        "/user/alic%C3%A9/",
        "/User/alice/",
        "//user/alice/",
        "/user/./alice/",
        "/hub/../user/alice/",
        "/user/alice;x/",
    ],
)
def test_path_confusion_no_spelling_of_a_path_gives_access_to_another_user(hub, path):
    """The access check and the app read the same bytes, or the request is refused."""
    answer = hub.ask(path, who="bob")
    assert status(answer) in {302, 400, 403, 404, 424}, answer[:200]
    assert b'"head"' not in answer
    websocket = hub.ask(path, *UPGRADE, f"Origin: {hub.origin}", who="bob")
    assert status(websocket) != 101


@pytest.mark.parametrize(
    "cookie",
    [
        "towpath-session=stolen; Path=/",
        "__Host-towpath-session=stolen; Path=/; Secure",
        "towpath-session=stolen; Path=/hub/",
        "x=1; Domain=127.0.0.1; Path=/",
        "x=1; Path=/hub/",
        "x=1; Path=/user/bob/",
        "=towpath-session=stolen; Path=/",
        "towpath-session",
        "TOWPATH-SESSION=stolen; Path=/",
        " towpath-session =stolen; Path=/",
        "x=1; Path=/user/alice/../../hub",
    ],
)
def test_set_cookie_of_an_app_is_bound_to_its_path_and_cannot_replace_the_hubs(hub, cookie):
    raw = f"HTTP/1.1 200 OK\r\nset-cookie: {cookie}\r\ncontent-length: 0\r\n\r\n".encode()
    answer = hub.ask(f"/user/alice/?answer={raw.hex()}")
    for given in re.findall(rb"(?im)^set-cookie: (.*)\r$", answer):
        name = given.partition(b"=")[0].strip().lower()
        assert b"towpath" not in name
        assert name
        paths = re.findall(rb"(?i);\s*path=([^;]*)", given)
        assert [path.strip() for path in paths] == [b"/user/alice/"], given
        assert b"domain" not in given.lower()
        assert b"stolen" not in given


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "own"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ],
)
def test_websocket_origin_a_page_of_another_site_cannot_open_one(hub, headers):
    given = {"Cookie": hub.cookie("alice"), **headers}
    if given.get("Origin") == "own":
        given["Origin"] = hub.origin

    async def attempt():
        where = f"ws://127.0.0.1:{hub.port}/user/alice/echo/ws"
        async with connect(where, additional_headers=given, origin=None, proxy=None):
            pass

    with pytest.raises(InvalidStatus) as caught:
        asyncio.run(attempt())
    assert caught.value.response.status_code == 403


SPLIT = (
    b"HTTP/1.1 200 OK\r\nx: a\rset-cookie: y=1\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: a\nset-cookie: y=1\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: a\0\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 60\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 302 Found\r\nlocation: //evil.example\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n folded: x\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\nGET",
    b"not http at all",
)


@pytest.mark.parametrize("raw", SPLIT)
def test_response_splitting_an_app_cannot_send_a_second_response(hub, raw):
    answer = hub.ask(f"/user/alice/?answer={raw.hex()}")
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert b"evil.example" not in answer
    assert b"y=1" not in answer
    assert status(answer) in {200, 502}
