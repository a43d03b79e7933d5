"""How the hub handles a provider's responses: size limits, TLS, discovery, keys and signatures."""

import asyncio
import contextlib
import gzip
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jwt import encode

from gateway.auth.oidc.discovery import Discovery, facts_in
from gateway.auth.oidc.errors import InvalidResponseError, ProviderError, UnreachableError
from gateway.auth.oidc.http import ANSWER_MAX
from gateway.auth.oidc.protocol import Client, Seal, public_keys, signed, verified

CERTIFICATE = Path(__file__).resolve().parent.parent / "contracts/loopback.pem"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def client(**more):
    given = {"client_id": "hub", "client_secret": "secret of the hub", "auth_method": "", "timeout": 2.0, **more}
    return Client(**given)


@contextlib.asynccontextmanager
async def server(answer):
    """A server that answers every request with the bytes of `answer`, and records the requests."""
    asked, writers = [], []

    async def serve(reader, writer):
        writers.append(writer)
        with contextlib.suppress(OSError, EOFError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            for part in answer if isinstance(answer, list) else [answer]:
                writer.write(part)
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", asked
    finally:
        listening.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


def ask(answer, *, verb=None, **more):
    """Return what the client makes of that response."""

    async def main():
        async with server(answer) as (url, asked):
            hub = client(**more)
            try:
                found = await (verb(hub, url) if verb else hub.get(f"{url}/x", bearer="token"))
            finally:
                await hub.close()
            return found, asked

    return asyncio.run(main())


def exchange(hub, url):
    return hub.exchange(f"{url}/token", code="c", verifier="v" * 43, redirect_uri="https://hub.example.edu/cb")


def with_length(body, head=OK):
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def test_json_is_read_and_the_token_is_sent_in_a_header():
    found, asked = ask(with_length(b'{"a": 1}'))
    assert found.value == {"a": 1}
    assert b"Authorization: Bearer token" in asked[0]
    assert b"GET /x HTTP/1.1" in asked[0]


@pytest.mark.parametrize("verb", [None, exchange])
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Slow down\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
        with_length(b"{}", b"HTTP/1.1 503 Later\r\n"),
        with_length(b"<html>"),
        with_length(b"[" * 100_000),
        with_length(b"\xff\xfe"),
        OK + b"Content-Length: 100\r\n\r\n{",
        with_length(gzip.compress(b" " * 4 * ANSWER_MAX), OK + b"Content-Encoding: gzip\r\n"),
        OK + b"X-Long: " + b"x" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        [OK + b"\r\n", *([b" " * 65536] * (ANSWER_MAX // 65536 + 2))],
        [
            OK + b"Transfer-Encoding: chunked\r\n\r\n",
            *([b"10000\r\n" + b" " * 65536 + b"\r\n"] * (ANSWER_MAX // 65536 + 2)),
        ],
    ],
    ids=lambda value: None,
)
def test_an_unusable_response_is_an_error(answer, verb):
    with pytest.raises(UnreachableError):
        ask(answer, verb=verb)


@pytest.mark.parametrize("body", [b"{}", b'{"id_token": "x"}', b'{"access_token": null}', b'{"access_token": 1}'])
def test_a_token_response_without_a_token_is_an_error(body):
    with pytest.raises(UnreachableError, match="neither a token nor an error"):
        ask(with_length(body), verb=exchange)


def test_a_redirect_is_not_followed():
    async def main():
        async with server(with_length(b"{}")) as (elsewhere, asked):
            away = b"HTTP/1.1 302 Found\r\nLocation: " + elsewhere.encode() + b"/\r\nContent-Length: 2\r\n\r\n{}"
            async with server(away) as (url, _):
                hub = client()
                try:
                    assert (await hub.get(url)).status == 302
                finally:
                    await hub.close()
            assert asked == []

    asyncio.run(main())


def test_only_the_configured_proxy_is_used(monkeypatch):
    async def main():
        async with server(with_length(b"{}")) as (url, asked):
            monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
            for hub, target in ((client(), f"{url}/x"), (client(proxy=url), "http://sso.example.edu/x")):
                assert (await hub.get(target)).status == 200
                await hub.close()
            return asked

    direct, proxied = asyncio.run(main())
    assert direct.startswith(b"GET /x HTTP/1.1\r\n")
    assert proxied.startswith(b"GET http://sso.example.edu/x HTTP/1.1\r\n")


def test_a_closed_connection_is_reopened_and_cookies_are_not_sent_back():
    async def twice(hub, url):
        for _ in range(2):
            found = await exchange(hub, url)
            await asyncio.sleep(0.05)
        return found

    body = with_length(b'{"access_token": "a"}', OK + b"Set-Cookie: a=b\r\n")
    found, asked = ask(body, verb=twice)
    assert (found["access_token"], len(asked)) == ("a", 2)
    assert b"cookie" not in asked[1].lower()


def test_the_next_page_is_found_among_the_links():
    async def get(hub, url):
        return await hub.get(f"{url}/x"), url

    for link in ("<https://b.example/x?page=2>", "</x?page=2>"):
        head = f'{OK.decode()}Link: <https://a.example/1>; rel="prev", {link}; rel="next"\r\n'.encode()
        (found, url), _ = ask(with_length(b"[]", head), verb=get)
        assert found.next in ("https://b.example/x?page=2", f"{url}/x?page=2")
    assert ask(with_length(b"[]"))[0].next == ""


def test_a_silent_server_times_out():
    async def main():
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            hub = client(timeout=0.2)
            try:
                with pytest.raises(UnreachableError):
                    await hub.get(f"http://127.0.0.1:{listening.getsockname()[1]}/")
            finally:
                await hub.close()

    asyncio.run(main())


@contextlib.contextmanager
def behind_tls():
    """A server with a self-signed certificate. Yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    listening = Server(("127.0.0.1", 0), Handler)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.server_address[1]}/"
    finally:
        listening.shutdown()
        thread.join(10)
        listening.server_close()


def test_an_untrusted_certificate_is_rejected_unless_its_authority_is_configured():
    async def get(url, **more):
        hub = client(**more)
        try:
            return await hub.get(url)
        finally:
            await hub.close()

    with behind_tls() as url:
        with pytest.raises(UnreachableError, match=r"(?i)certificate"):
            asyncio.run(get(url))
        assert asyncio.run(get(url, ca_file=str(CERTIFICATE))).status == 200


@contextlib.asynccontextmanager
async def proxy(*, opens):
    """A proxy for CONNECT (RFC 9110 section 9.3.6). Yields its port and requests. `opens` False: it refuses all."""
    asked, tasks = [], set()

    async def carry(reader, writer):
        with contextlib.suppress(OSError):
            while part := await reader.read(65536):
                writer.write(part)
        writer.close()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if not opens:
            writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        host, _, port = asked[-1].split()[1].decode().partition(":")
        beyond, to_beyond = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(carry(reader, to_beyond), carry(beyond, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], asked
        listening.close()
        await asyncio.wait(tasks)


def test_tls_works_through_a_proxy_and_errors_do_not_contain_its_password():
    async def get(url, *, opens):
        async with proxy(opens=opens) as (port, asked):
            hub = client(proxy=f"http://hub:pass-word@127.0.0.1:{port}", ca_file=str(CERTIFICATE))
            try:
                return await hub.get(url)
            finally:
                await hub.close()
                assert asked[0].startswith(f"CONNECT {url.split('/')[2]} HTTP/1.1\r\n".encode())
                assert b"Proxy-Authorization: Basic aHViOnBhc3Mtd29yZA==" in asked[0]

    with behind_tls() as url:
        assert asyncio.run(get(url, opens=True)).value == {}
        with pytest.raises(UnreachableError, match="407 Who are you") as caught:
            asyncio.run(get(url, opens=False))
        assert "pass-word" not in str(caught.value)


def test_oauth_errors_are_reported_by_code_with_a_limited_text():
    body = json.dumps({"error": "invalid_grant", "error_description": "x" * 10_000}).encode()
    for head in (OK, b"HTTP/1.1 400 Bad Request\r\n"):
        with pytest.raises(ProviderError) as caught:
            ask(with_length(body, head), verb=exchange)
        assert caught.value.code == "invalid_grant"
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("method", "where"), [("", b"Authorization: Basic "), ("basic", b"Authorization: Basic "), ("post", b"")]
)
def test_the_client_authenticates_with_the_configured_method(method, where):
    found, asked = ask(with_length(b'{"access_token": "a"}'), verb=exchange, auth_method=method)
    assert found == {"access_token": "a"}
    assert (b"Authorization" in asked[0]) == bool(where)
    assert where in asked[0]


# --- discovery --------------------------------------------------------------------------------------------------
ISSUER = "https://sso.example.edu/realms/x"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
}


def test_a_discovery_document_is_read():
    facts = facts_in({**DOCUMENT, "id_token_signing_alg_values_supported": ["none", "HS256", "ES256"]}, ISSUER)
    assert (facts.token, facts.userinfo, facts.algorithms) == (f"{ISSUER}/token", "", ("ES256",))


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": f"{ISSUER}/"},
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "http://sso.example.edu/token"},
        {"token_endpoint": "https://user@sso.example.edu/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": f"{ISSUER}/auth#x"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": ["https://a"]},
        {"userinfo_endpoint": "https://"},
        {"end_session_endpoint": "https://a b"},
        {"end_session_endpoint": f"https://a/{'x' * 3000}"},
    ],
)
def test_an_unsafe_discovery_document_is_rejected(changes):
    found = {name: value for name, value in {**DOCUMENT, **changes}.items() if value is not None}
    with pytest.raises(InvalidResponseError):
        facts_in(found, ISSUER)


@pytest.mark.parametrize("document", [None, [], "x", 1, {}])
def test_other_documents_are_not_discovery_documents(document):
    with pytest.raises(InvalidResponseError):
        facts_in(document, ISSUER)


class FakeClient:
    """A client with prepared responses."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    async def get(self, url, *, bearer=""):
        from gateway.auth.oidc.protocol import Answer

        self.asked.append(url)
        answer = self.answers[url]
        if isinstance(answer, Exception):
            raise answer
        return Answer(200, answer)


def test_cached_metadata_is_used_while_the_provider_is_down():
    async def main():
        now = [0.0]
        well_known = f"{ISSUER}/.well-known/openid-configuration"
        jwks = {"keys": [{**ECKey.generate_key("P-256").as_dict(private=False), "kid": "k1"}]}
        paper = FakeClient({well_known: DOCUMENT, f"{ISSUER}/keys": jwks})
        discovery = Discovery(paper, ISSUER, clock=lambda: now[0])
        assert [key.id for key in await discovery.keys("k1")] == ["k1"]
        paper.answers = {well_known: UnreachableError("away"), f"{ISSUER}/keys": UnreachableError("away")}
        now[0] = 4000.0
        assert [key.id for key in await discovery.keys("k1")] == ["k1"]
        asked = len(paper.asked)
        assert (await discovery.facts()).issuer == ISSUER
        assert len(paper.asked) == asked  # not at every request
        now[0] = 4011.0
        with pytest.raises(UnreachableError):
            await discovery.keys("k2")

    asyncio.run(main())


def test_simultaneous_requests_for_metadata_are_merged():
    async def main():
        paper = FakeClient({f"{ISSUER}/.well-known/openid-configuration": DOCUMENT})
        discovery = Discovery(paper, ISSUER)
        await asyncio.gather(*(discovery.facts() for _ in range(50)))
        assert len(paper.asked) == 1

    asyncio.run(main())


# --- keys, signatures and encryption
# -----------------------------------------------------------------------------------
def test_only_public_keys_are_accepted():
    ec = ECKey.generate_key("P-256").as_dict(private=False)
    found = public_keys(
        {
            "keys": [
                {**ec, "kid": "good", "use": "sig"},
                {**ec, "kid": "for encryption", "use": "enc"},
                {**OctKey.generate_key(256).as_dict(private=True), "kid": "shared"},
                {"kty": "future", "kid": "future"},
                {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
                {"kid": "nothing"},
                "text",
                None,
            ]
        }
    )
    assert [key.id for key in found] == ["good"]
    for nothing in (None, [], {}, {"keys": None}, {"keys": {"a": 1}}):
        assert public_keys(nothing) == ()


def test_a_key_is_used_only_with_its_own_algorithm():
    """A token cannot choose the algorithm of a key."""
    rsa = RSAKey.generate_key(2048)
    ec = ECKey.generate_key("P-256")
    keys = public_keys(
        {
            "keys": [
                {**rsa.as_dict(private=False), "kid": "rsa", "alg": "RS256"},
                {**ec.as_dict(private=False), "kid": "ec"},
            ]
        }
    )
    algorithms = ("RS256", "PS256", "ES256")
    good = encode({"alg": "RS256", "kid": "rsa"}, {"sub": "a"}, rsa, algorithms=["RS256"])
    assert verified(signed(good), keys, algorithms)[1] == {"sub": "a"}
    assert verified(signed(encode({"alg": "ES256"}, {"sub": "b"}, ec)), keys, algorithms)[1] == {
        "sub": "b"
    }  # the only key of its type
    for token in (
        encode({"alg": "PS256", "kid": "rsa"}, {"sub": "a"}, rsa, algorithms=["PS256"]),  # the key is for RS256
        encode({"alg": "RS256", "kid": "ec"}, {"sub": "a"}, rsa),
        encode({"alg": "RS256", "kid": "other"}, {"sub": "a"}, rsa),
        encode({"alg": "RS256", "kid": "rsa"}, {"sub": "a"}, RSAKey.generate_key(2048)),
        good[:-4] + "AAAA",
        good.replace(".", "!", 1),
    ):
        with pytest.raises(InvalidResponseError):
            verified(signed(token), keys, algorithms)
    with pytest.raises(InvalidResponseError):
        verified(signed(good), keys, ("ES256",))  # the provider announces other algorithms


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "..", "é.é.é", "eyJhbGciOiJub25lIn0.e30.", "x" * 100_000])
def test_text_that_is_not_a_signed_token_is_rejected(token):
    with pytest.raises(InvalidResponseError):
        signed(token)


def test_encrypted_text_needs_the_same_secret():
    sealed = Seal("hub", "secret").close("refresh")
    assert "refresh" not in sealed
    assert Seal("hub", "secret").open(sealed) == "refresh"
    assert Seal("hub", "secret").close("refresh") != sealed
    for seal, text in (
        (Seal("hub", "other"), sealed),
        (Seal("hu", "bsecret"), sealed),
        (Seal("hub", "secret"), sealed[:-2] + "AA"),
        (Seal("hub", "secret"), "x"),
    ):
        with pytest.raises(InvalidResponseError):
            seal.open(text)
