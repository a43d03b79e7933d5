"""Endpoints on other machines: a real worker, and a real starter's way in behind it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from batch.authority import ensure
from gateway.ways_in.identity import GatewayIdentity
from state.config.tables import Config
from tests.batch.way_in import ATTEMPT, OTHER, Node
from tests.gateway.tunnel_harness import Upstream, Worker, answers
from tests.ports import free_port

APP = (sys.executable, str(Path(__file__).parents[2] / "apps" / "echo.py"), "{socket}")
NAME = f"{ATTEMPT}.towpath.internal"


@pytest.fixture
def node():
    node = Node()
    yield node
    node.close()


def worker_for(node, where, name=NAME, *, folder=None):
    return Worker({"/user/alice/": ("tls", [*where, name])}, identity=str(folder or node.hub_dir / "tls"))


def test_requests_and_websockets_go_through(node):
    node.start(APP)
    with worker_for(node, node.ready()) as worker:

        async def main():
            status, _, body = await worker.get("/user/alice/x?y=1")
            assert (status, json.loads(body)["path"]) == (200, "/user/alice/x?y=1")
            async with connect(f"ws://{worker.origin}/user/alice/ws", max_size=None) as peer:
                for size in (5, 3_000_000):
                    await peer.send(b"x" * size)
                    assert await peer.recv() == b"x" * size

        asyncio.run(main())


def test_a_report_that_named_anothers_address_leads_nowhere(node):
    """The certificate that answers there is of another attempt."""
    node.start(APP, passport=node.authority.passport(OTHER))
    with worker_for(node, node.ready()) as worker:
        status, _, body = asyncio.run(worker.get("/user/alice/"))
    assert (status, json.loads(body)["kind"]) == (503, "refused")


def test_a_node_of_another_hub_is_not_believed(node):
    other = Node()
    try:
        other.start(APP)
        with worker_for(node, other.ready()) as worker:
            assert asyncio.run(worker.get("/user/alice/"))[0] == 503
    finally:
        other.close()


def test_the_systems_authorities_vouch_for_no_node(node, tmp_path):
    """Even where one that the machine trusts has signed the name."""
    other = Node()
    try:
        other.start(APP)
        where = other.ready()
        trusted = tmp_path / "trusted.pem"
        shutil.copy(other.hub_dir / "tls" / "authority.pem", trusted)
        os.environ["SSL_CERT_FILE"] = str(trusted)
        with worker_for(node, where) as worker:
            assert asyncio.run(worker.get("/user/alice/"))[0] == 503
    finally:
        os.environ.pop("SSL_CERT_FILE", None)
        other.close()


def test_an_address_without_tls_is_a_server_that_does_not_answer(node):
    async def main():
        async with Upstream(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as plain:
            with worker_for(node, ("127.0.0.1", plain.endpoint[1])) as worker:
                assert (await worker.get("/user/alice/"))[0] == 503
        with worker_for(node, ("127.0.0.1", free_port())) as worker:
            assert (await worker.get("/user/alice/"))[0] == 503

    asyncio.run(main())


def test_without_certificates_of_its_own_the_hub_says_so_and_takes_them_when_they_come(node, tmp_path):
    node.start(APP)
    folder = tmp_path / "data" / "tls"
    with worker_for(node, node.ready(), folder=folder) as worker:

        async def main():
            status, _, body = await worker.get("/user/alice/")
            assert (status, json.loads(body)["kind"]) == (503, "identity")
            shutil.copytree(node.hub_dir / "tls", folder)
            (folder / "gateway.pem").chmod(0o644)
            await asyncio.sleep(1.1)  # it looks once a second
            assert (await worker.get("/user/alice/"))[0] == 503
            (folder / "gateway.pem").chmod(0o600)
            await asyncio.sleep(1.1)
            assert (await worker.get("/user/alice/"))[0] == 200

        asyncio.run(main())


def test_a_renewed_certificate_is_used_without_a_restart(node):
    node.start(APP)
    with worker_for(node, node.ready()) as worker:

        async def main():
            assert (await worker.get("/user/alice/"))[0] == 200
            pem = node.hub_dir / "tls" / "gateway.pem"
            good = pem.read_bytes()
            reports = (node.hub_dir / "tls" / "reports.pem").read_bytes()
            pem.write_bytes(reports)  # a server's certificate: the node must refuse it, so it was loaded
            await asyncio.sleep(1.1)
            assert (await worker.get("/user/alice/"))[0] in (502, 503)
            pem.unlink()
            pem.write_bytes(good)
            pem.chmod(0o600)
            await asyncio.sleep(1.1)
            assert (await worker.get("/user/alice/"))[0] == 200
            assert ensure(node.hub_dir, Config()) == []

        asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_unix_socket_of_another_user_is_not_spoken_to():
    with tempfile.TemporaryDirectory(prefix="towpath-test-") as folder:
        Path(folder).chmod(0o777)
        path = f"{folder}/app.sock"
        code = (
            "import socket,sys,os\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\nos.chmod(sys.argv[1],0o777)\n"
            "s.listen()\nprint('up',flush=True)\np=s.accept()[0]\nprint(p.recv(9999),flush=True)\n"
        )
        thief = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-c", code, path], stdout=subprocess.PIPE, user=61002, group=61002
        )
        assert thief.stdout.readline() == b"up\n"
        with Worker({"/user/a/": ("unix", path)}) as worker:
            assert asyncio.run(worker.get("/user/a/"))[0] == 503
        assert thief.communicate(timeout=20)[0] == b"b''\n"


def test_many_first_connections_at_once_all_wait_for_the_certificates(node):
    async def body():
        identity = GatewayIdentity(node.hub_dir / "tls")
        return await asyncio.gather(*[identity.context() for _ in range(16)])

    assert len(set(asyncio.run(body()))) == 1
