"""Connections that jobs open to the hub: which are accepted, which get requests, and what a job can do with them."""

import asyncio
import contextlib
import socket

import pytest
from msgspec.structs import replace

from batch.authority import Authority
from batch.starter.hub_upgrade import RefusedError
from gateway.door.reverse_dials import refusal_of
from gateway.ways_in.reverse.waiting import PER_NODE
from state.records.models import Status, Target
from tests.gateway.reverse_node import NodeConnection
from tests.gateway.tunnel_harness import Worker, current_server, parse, until
from tests.gateway.ways_in import NAME, REPORT_TOKEN, Site, job_of
from tests.ports import free_port

OTHER = "7" * 32
PATH = "/hub/api/towpath/reverse"
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
CLAIM = f"Towpath-Server: a/\r\nTowpath-Attempt: {'5' * 32}\r\n"
TOKEN = f"Authorization: token {REPORT_TOKEN}\r\n"


@pytest.fixture(scope="module")
def site():
    site = Site()
    yield site
    site.close()


@pytest.fixture
def worker(site):
    reverse = {"identity": str(site.data_dir / "tls"), "port": free_port()}
    with Worker({"/user/a/": (("reverse", NAME), {"reverse": reverse})}, connect_timeout=1.0) as worker:
        yield worker


@pytest.fixture
def job(site, worker):
    return job_of(site.data_dir, f"http://127.0.0.1:{worker.port}", "/nowhere")


def as_passport(authority, attempt):
    passport = authority.passport(attempt)
    return {name: getattr(passport, name) for name in ("certificate", "key", "authority")}


def answered(worker, node, answer):
    """The worker's response to a request that arrives on this connection, and is answered with these bytes."""

    async def main():
        asking = asyncio.create_task(worker.ask(b"GET /user/a/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
        request = await asyncio.to_thread(node.read)
        assert request.startswith(b"GET /user/a/x ")
        await asyncio.to_thread(answer)
        return await asking

    return asyncio.run(main())


@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\x9a\x03\xc5\x71"])
def test_a_connection_carries_a_request_once_its_node_has_proven_itself(worker, job, key):
    """Also through a proxy that masks frames again."""
    with contextlib.closing(NodeConnection(job, key=key).prove()) as node:
        body = b"z" * 200_000
        raw = answered(
            worker, node, lambda: node.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        )
    assert parse(raw)[::2] == (200, body)


def test_a_connection_that_breaks_is_no_end_of_a_response(worker, job):
    with contextlib.closing(NodeConnection(job).prove()) as node:

        def broken():
            node.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it")
            node.sock.shutdown(socket.SHUT_RDWR)

        raw = answered(worker, node, broken)
    assert b"half of it" in raw
    assert not raw.endswith(b"0\r\n\r\n")


def refused(worker):
    status, _, _ = asyncio.run(worker.get("/user/a/x"))
    return status == 503


@pytest.mark.parametrize("attempt", [OTHER, "the same, of another hub"])
def test_a_job_without_the_certificate_of_this_attempt_gets_no_request(site, worker, job, attempt):
    if attempt == OTHER:
        passport = as_passport(Authority.load(site.data_dir), OTHER)
    else:
        other = Site()
        passport = as_passport(Authority.load(other.data_dir), "5" * 32)
        passport["authority"] = job["passport"]["authority"]  # it accepts our gateway
        other.close()
    node = NodeConnection({**job, "passport": passport})
    with contextlib.closing(node), contextlib.suppress(OSError):
        node.prove()
        assert node.is_closed()
    assert refused(worker)


@pytest.mark.parametrize(
    "change",
    [
        {"report_token": "another"},
        {"report_token": ""},
        {"attempt": OTHER},
        {"user": "../b"},
        {"server": "x/y"},
    ],
)
def test_a_job_that_claims_what_it_is_not_is_refused(job, change):
    with pytest.raises(RefusedError):
        NodeConnection({**job, **change})


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (UPGRADE.format(key=KEY) + CLAIM, 401),
        (UPGRADE.format(key=KEY) + TOKEN, 400),
        (UPGRADE.format(key=KEY) + CLAIM + TOKEN + TOKEN, 400),
        (UPGRADE.format(key=KEY) + CLAIM + CLAIM + TOKEN, 400),
        (UPGRADE.format(key="short") + CLAIM + TOKEN, 400),
        (UPGRADE.format(key=KEY).replace("13", "8") + CLAIM + TOKEN, 400),
        (UPGRADE.format(key=KEY) + CLAIM + "Authorization: Bearer x\r\n", 401),
        (UPGRADE.format(key=KEY) + CLAIM + "Cookie: towpath-session=x\r\n", 401),
        (UPGRADE.format(key=KEY) + CLAIM + "Authorization: token wrong\r\n", 403),
        (UPGRADE.format(key=KEY) + CLAIM.replace("5", "7") + TOKEN, 409),
        (CLAIM + TOKEN, 426),
    ],
)
def test_a_request_without_proof_is_refused(worker, head, status):
    raw = asyncio.run(worker.ask(f"GET {PATH} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{head}\r\n".encode()))
    assert parse(raw)[0] == status


def test_the_token_is_worth_nothing_after_the_end_of_its_attempt():
    server = asyncio.run(current_server("a", ""))

    def status(record, *, attempt=server.attempt, allows=True):
        refusal = refusal_of(record, attempt, REPORT_TOKEN, allows=lambda _: allows)
        return refusal and refusal.status

    assert status(server) is None
    assert status(None) == 404
    assert status(replace(server, status=Status.STOPPED)) == 409
    assert status(replace(server, status=Status.FAILED)) == 409
    assert status(replace(server, target=Target.STOPPED)) == 409
    assert status(replace(server, attempt=OTHER)) == 409
    assert status(server, attempt=OTHER) == 409
    assert status(replace(server, report_hash="")) == 403
    assert status(server, allows=False) == 400


def test_bytes_before_a_request_close_the_connection(worker, job):
    with contextlib.closing(NodeConnection(job).prove()) as node:
        node.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert node.is_closed()
    assert refused(worker)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x80\0\0\0\0",  # text
        b"\xc2\x80\0\0\0\0",  # an extension
        b"\x82\x00",  # without a mask
        b"\x09\x80\0\0\0\0",  # a ping in parts
        b"\x89\xfe\x01\x00\0\0\0\0",  # a long ping
        b"\x83\x80\0\0\0\0",  # a reserved kind
        b"\x82\x85\0\0\0\0hello",  # no TLS
    ],
)
def test_frames_that_are_not_allowed_close_the_connection(worker, job, data):
    with contextlib.closing(NodeConnection(job)) as node:
        node.send_raw(data)
        assert node.is_closed()
    assert refused(worker)


def test_a_job_may_have_only_so_many_connections_that_wait(worker, job):
    with contextlib.ExitStack() as stack:
        for _ in range(PER_NODE):
            stack.enter_context(contextlib.closing(NodeConnection(job)))
        with pytest.raises(RefusedError) as caught:
            NodeConnection(job)
        assert caught.value.status == "429"
    asyncio.run(until(lambda: _accepted(job)))


def _accepted(job):
    try:
        NodeConnection(job).close()
    except RefusedError:
        return False
    return True


def test_a_connection_that_has_ended_gets_no_request(worker, job):
    first = NodeConnection(job).prove()
    second = NodeConnection(job).prove()
    second.close()
    with contextlib.closing(first):
        raw = answered(worker, first, lambda: first.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    assert parse(raw)[::2] == (200, b"ok")
