"""The way in `ssh`, with a real worker and real sshds: faults, and what its certificates are good for."""

import asyncio
import contextlib
import hashlib
import json
import socket
from pathlib import Path

import asyncssh
import msgspec
import pytest

from batch.ssh.keys import Authority
from gateway.ways_in.ssh.door import GatewayKey
from gateway.ways_in.ssh.packets import FastPath
from state.records.ssh import SshPass
from tests.batch.launchers.ssh.making import AUTHORITY
from tests.gateway.tunnel_harness import Upstream, Worker, answers, read_request, until
from tests.gateway.ways_in import SshSite
from tests.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def site():
    """An app's host, another one, and a jump host."""
    site = SshSite(("app1", "app2", "jump1"))
    yield site
    site.close()


@pytest.fixture(autouse=True)
def as_before(site):
    yield
    for host in site.pool.hosts.values():
        if host.process is None:
            host.start()
        elif not host.listens():
            host.start_sshd()


@contextlib.asynccontextmanager
async def app(site, script):
    """An app's socket, as the user's own."""
    path = site.socket()
    server = await asyncio.start_unix_server(Upstream(script)._serve, path, limit=2**20)
    site.own(path)
    yield path
    server.close()


def through(site, script, check, *, given=None, **options):
    """Run `check(worker, pass's path)` with an app that is reached by a pass."""
    given = given or site.ssh_pass()

    async def main():
        async with app(site, script) as path:
            more = site.options(given)
            more["ssh"].update(options)
            with Worker({"/user/a/": ("ssh", path)}, **more) as worker:
                await check(worker, Path(more["ssh"]["pass"]))

    asyncio.run(main())


async def message_of(worker, status=503):
    """What the page of a refused request says."""
    found, _, body = await worker.get()
    assert found == status, body
    return json.loads(body)["message"]


async def until_ok(worker):
    """Ask until the app answers: a host that has failed is left alone for a moment."""
    async with asyncio.timeout(60):
        while (await worker.get())[0] != 200:
            await asyncio.sleep(0.05)


# --- faults


def test_when_sshd_is_killed_open_requests_end_and_the_next_ones_use_a_new_connection(site):
    arrived = asyncio.Event()

    async def script(reader, writer):
        while True:
            head, _ = await read_request(reader)
            if b"/slow" in head:
                arrived.set()
                await reader.read()
                return
            writer.write(OK)

    async def check(worker, _):
        await until_ok(worker)
        slow = asyncio.ensure_future(worker.get("/user/a/slow", method="POST", body=b"x"))
        await arrived.wait()
        site.host.kill_sshd()
        assert (await slow)[0] == 502
        assert await message_of(worker) == "app1 cannot be reached: Connection refused."
        site.host.start_sshd()
        await until_ok(worker)

    through(site, script, check)


def test_a_connection_that_ends_while_nobody_uses_it_costs_no_request(site):
    async def check(worker, _):
        await until_ok(worker)
        site.host.restart_sshd()
        assert (await worker.get())[0] == 200

    through(site, answers(OK), check)


def test_max_sessions_does_not_limit_streams(site):
    both = asyncio.Barrier(12)

    async def script(reader, writer):
        await read_request(reader)
        await both.wait()  # so that all are open at the same time
        writer.write(OK)

    async def check(worker, _):
        found = await asyncio.gather(*[worker.get(f"/user/a/{number}") for number in range(12)])
        assert [status for status, _, _ in found] == [200] * 12

    site.host.configure("MaxSessions 1")
    site.host.restart_sshd()
    try:
        through(site, script, check)
    finally:
        site.host.configure()
        site.host.restart_sshd()


def test_when_sshd_takes_no_more_new_connections_it_is_asked_again_and_then_the_page_says_so(site):
    async def check(worker, _):
        with socket.create_connection((site.host.address, site.host.port)) as unfinished:
            await asyncio.to_thread(unfinished.recv, 100)  # sshd's version: it counts now
            assert "too many new connections" in await message_of(worker)
        await until_ok(worker)

    site.host.configure("MaxStartups 1:100:1")
    site.host.restart_sshd()
    try:
        through(site, answers(OK), check)
    finally:
        site.host.configure()
        site.host.restart_sshd()


def test_a_jump_host_that_goes_away_is_named_and_used_again_when_it_is_back(site):
    jump = site.pool.hosts["jump1"]

    async def check(worker, _):
        await until_ok(worker)
        jump.kill_sshd()
        assert await message_of(worker) == "jump1 cannot be reached: Connection refused."
        jump.start_sshd()
        await until_ok(worker)

    through(site, answers(OK), check, given=site.ssh_pass(jump=jump))


def test_a_host_behind_a_jump_host_that_does_not_answer_is_named(site):
    async def check(worker, _):
        site.host.kill_sshd()
        assert await message_of(worker) == "app1 cannot be reached: Connection refused."

    through(site, answers(OK), check, given=site.ssh_pass(jump=site.pool.hosts["jump1"]))


def test_a_host_with_another_key_is_not_spoken_to_until_the_hub_knows_the_key(site):
    host = site.host
    given = site.ssh_pass()

    async def check(worker, path):
        words = "app1 did not prove its identity, so the hub does not connect to it. Tell the hub's admins."
        assert await message_of(worker) == words
        site.pool.write_known_hosts()
        path.write_bytes(site.ssh_pass())
        await until_ok(worker)

    host.new_host_key()
    host.restart_sshd()
    through(site, answers(OK), check, given=given)


def test_a_host_without_a_known_key_is_not_spoken_to(site):
    made = msgspec.json.decode(site.ssh_pass(), type=SshPass)
    hop = msgspec.structs.replace(made.hops[0], host_keys=())
    given = msgspec.json.encode(msgspec.structs.replace(made, hops=(hop,)))

    async def check(worker, _):
        assert "did not prove its identity" in await message_of(worker)
        _, _, body = await worker.get()
        assert json.loads(body)["kind"] == "identity"  # the page advises no restart

    through(site, answers(OK), check, given=given)


def test_a_host_that_is_certified_by_a_known_host_authority_is_believed(site, tmp_path):
    host = site.pool.hosts["app2"]
    authority = asyncssh.generate_private_key("ssh-ed25519")
    key = asyncssh.read_private_key(str(host.folder / "hostkey"))
    certificate = authority.generate_host_certificate(key, "app2", principals=["app2"])
    certificate.write_certificate(str(host.folder / "hostkey-cert.pub"))
    host.configure(f"HostCertificate {host.folder}/hostkey-cert.pub")
    host.restart_sshd()
    known = site.pool.known_hosts
    before = known.read_text()
    known.write_text(f"@cert-authority app* {authority.export_public_key().decode()}")
    try:
        given = site.ssh_pass(host=host)
    finally:
        known.write_text(before)

    async def check(worker, _):
        assert (await worker.get())[0] == 200

    through(site, answers(OK), check, given=given)


def test_a_certificate_that_has_expired_is_renewed_and_if_it_cannot_be_the_page_says_so(site):
    made = msgspec.json.decode(site.ssh_pass(), type=SshPass)
    old = Authority(site.authority_text).sign(
        site.public_key, "alice", key_id="old", now=1_000_000_000, seconds=60, forwarding=True
    )
    hop = msgspec.structs.replace(made.hops[0], certificate=old)
    given = msgspec.structs.replace(made, hops=(hop,), issued=made.issued - 3600)  # sshd finds it out first

    async def check(worker, path):
        assert await message_of(worker) == "app1 refused the hub's login as alice. Tell the hub's admins."
        await until(path.with_suffix(".asked").exists)
        assert path.with_suffix(".asked").read_text().split()[:2] == ["alice", "5" * 32]
        path.write_bytes(site.ssh_pass())
        await until_ok(worker)

    through(site, answers(OK), check, given=msgspec.json.encode(given))


# --- the packets


BODY = bytes(range(256)) * 4096 * 12  # 12 MiB


async def echo_sum(reader, writer):
    """Sends BODY for a GET, and the SHA-256 of what it has received for a PUT."""
    while True:
        head, body = await read_request(reader)
        answer = hashlib.sha256(body).digest() if head.startswith(b"PUT") else BODY
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
        writer.write(answer)
        await writer.drain()


@pytest.mark.parametrize(
    "line",
    [
        "RekeyLimit 1M",
        "Ciphers aes256-gcm@openssh.com",
        "Ciphers chacha20-poly1305@openssh.com",
        "Ciphers aes256-ctr\nMACs hmac-sha2-256-etm@openssh.com",
    ],
)
def test_bodies_are_whole_whatever_sshd_is_set_to(site, line):
    """Keys that are exchanged again in the middle of a body; ciphers for which asyncssh does everything."""

    async def check(worker, _):
        for _ in range(2):
            down, up = await asyncio.gather(worker.get(), worker.get("/user/a/up", method="PUT", body=BODY))
            assert (down[0], down[2] == BODY) == (200, True)
            assert (up[0], up[2]) == (200, hashlib.sha256(BODY).digest())

    site.host.configure(line)
    site.host.restart_sshd()
    try:
        through(site, echo_sum, check)
    finally:
        site.host.configure()
        site.host.restart_sshd()


def test_a_byte_that_was_changed_on_the_way_ends_the_connection_and_not_the_gateway(site):
    change, connections = [], []

    async def relay(reader, writer, *, changes):
        try:
            while data := await reader.read(65536):
                if changes and change and len(data) > 1000:  # a part of the body
                    change.clear()
                    data = data[:500] + bytes([data[500] ^ 1]) + data[501:]
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def accept(reader, writer):
        connections.append(writer)
        there = await asyncio.open_connection(site.host.address, site.host.port)
        await asyncio.gather(relay(reader, there[1], changes=False), relay(there[0], writer, changes=True))

    made = msgspec.json.decode(site.ssh_pass(), type=SshPass)
    hop = msgspec.structs.replace(made.hops[0], address="127.0.0.1", port=(port := free_port()))
    given = msgspec.json.encode(msgspec.structs.replace(made, hops=(hop,)))

    async def check(worker, _):
        server = await asyncio.start_server(accept, "127.0.0.1", port)
        assert (await worker.get())[2] == BODY
        assert len(connections) == 1
        change.append(True)
        await worker.get()  # whole only if it was sent again, because nothing of the response had come
        assert not change
        assert (await worker.get())[2] == BODY
        assert len(connections) == 2
        server.close()

    through(site, echo_sum, check, given=given)


def test_where_asyncssh_is_not_as_it_is_known_it_does_everything():
    assert FastPath.of(object()) is None


# --- what a certificate is good for


def test_a_certificate_of_another_authority_or_for_another_account_is_refused(site):
    async def check(worker, _):
        assert "refused the hub's login as alice" in await message_of(worker)

    through(site, answers(OK), check, given=site.ssh_pass(authority=Authority(AUTHORITY)))
    made = msgspec.json.decode(site.ssh_pass("bob"), type=SshPass)
    hop = msgspec.structs.replace(made.hops[0], user="alice")
    through(site, answers(OK), check, given=msgspec.json.encode(msgspec.structs.replace(made, hops=(hop,))))


def test_a_socket_of_another_user_cannot_be_reached_with_it(site):
    async def check(worker, _):
        assert (await worker.get())[0] == 503

    through(site, answers(OK), check, given=site.ssh_pass("bob"))


def test_a_certificate_gets_no_command_no_terminal_and_no_agent(site):
    hop = msgspec.json.decode(site.ssh_pass(), type=SshPass).hops[0]
    login = GatewayKey(site.certificate.read_bytes()).login(hop.certificate)

    async def main():
        async with asyncssh.connect(
            hop.address, hop.port, username="alice", client_keys=login, known_hosts=None, config=None
        ) as connection:
            for command in ("id", None):
                done = await connection.run(command, stdin=asyncssh.DEVNULL)
                assert (done.exit_status, done.stdout) == (1, "")
            with pytest.raises(asyncssh.Error):
                await asyncio.wait_for(connection.start_sftp_client(), 30)
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.run("id", term_type="xterm")

    asyncio.run(main())


def test_it_is_for_the_gateways_own_key_alone(site):
    """What is in the store is of no use to others."""
    hop = msgspec.json.decode(site.ssh_pass(), type=SshPass).hops[0]
    own = asyncssh.generate_private_key("ecdsa-sha2-nistp256")

    async def main():
        with pytest.raises((asyncssh.PermissionDenied, ValueError)):
            await asyncssh.connect(
                hop.address, hop.port, username="alice", known_hosts=None, config=None,
                client_keys=[(own, asyncssh.import_certificate(hop.certificate))],
            )  # fmt: skip

    asyncio.run(main())


# --- connections


def sessions(host):
    """How many connections are authenticated on a host."""
    return len([pid for pid in host.sshds() if b"sshd: alice [priv]" in Path(f"/proc/{pid}/cmdline").read_bytes()])


def test_all_streams_to_an_account_share_one_connection_which_closes_when_it_is_not_used(site):
    async def check(worker, _):
        found = await asyncio.gather(*[worker.get(f"/user/a/{number}") for number in range(16)])
        assert [status for status, _, _ in found] == [200] * 16
        assert await asyncio.to_thread(sessions, site.host) == 1

    through(site, answers(OK), check)
    asyncio.run(until(lambda: not sessions(site.host)))  # the worker has ended


def test_a_client_that_leaves_while_a_stream_is_opened_leaves_no_channel_behind(site):
    async def check(worker, _):
        await until_ok(worker)
        before = worker.descriptors()
        for _ in range(30):
            _, writer = await worker.connect()
            writer.write(f"GET /user/a/ HTTP/1.1\r\nHost: {worker.origin}\r\n\r\n".encode())
            await writer.drain()
            writer.transport.abort()
        await until(lambda: worker.control("stats")["requests_open"] == 1)
        await until_ok(worker)
        assert worker.descriptors() <= before + 2

    opened = 0

    async def script(reader, writer):
        nonlocal opened
        opened += 1
        try:
            await answers(OK)(reader, writer)
        finally:
            opened -= 1

    through(site, script, check)
    assert opened <= 1


def test_more_requests_at_once_than_an_app_lets_wait_on_its_socket_are_all_answered(site):
    """The app allows one connection that it has not accepted yet, and accepts none at first (listen(2))."""
    path = site.socket()

    async def main():
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(0)
        site.own(path)
        with Worker({"/user/a/": ("ssh", path)}, **site.options(site.ssh_pass())) as worker:
            asking = [asyncio.ensure_future(worker.get(f"/user/a/{number}")) for number in range(8)]
            await until(lambda: worker.control("stats")["requests_open"] >= 8)
            server = await asyncio.start_unix_server(Upstream(answers(OK))._serve, sock=listener)
            assert [status for status, _, _ in await asyncio.gather(*asking)] == [200] * 8
            server.close()

    asyncio.run(main())
