"""SSH in a job: the WebSocket's frames, the bridge to sshd, and what a node lacks."""

import contextlib
import os
import pwd
import random
import socket
import struct
import threading

import pytest

from batch.starter import ssh_server, tls_server
from batch.starter.ssh_bridge import Bridge
from batch.starter.ssh_websocket import CLOSE, PING, PONG, Frames, accept_value, fields_of, frame, unmasked
from state.records import connect
from tests.batch.way_in import Node


def masked(opcode, payload, *, fin=True, mask=b"\x01\x9a\x7f\x80"):
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size <= 125:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def test_the_answer_to_a_key_is_that_of_the_rfc():
    assert accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3


@pytest.mark.parametrize("key", ["", "short", "not base64!", "ä", "dGhlIHNhbXBsZSBub25jZQ"])
def test_a_text_that_is_no_key_has_no_answer(key):
    assert accept_value(key) == ""


def test_fields_are_read_by_lowercase_name_and_a_repeated_one_counts_for_nothing():
    head = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nTowpath-Client-Key: a b\r\nX: 1\r\nx: 2"
    assert fields_of(head) == {"upgrade": "websocket", "towpath-client-key": "a b", "x": ""}


def test_frames_are_read_the_same_however_they_are_cut():
    chance = random.Random(7)
    payloads = [chance.randbytes(size) for size in (0, 1, 125, 126, 3000, 70_000)]
    stream = b"".join(masked(2 if at % 2 else 1, payload) for at, payload in enumerate(payloads))
    stream += (
        masked(2, b"first ", fin=False) + masked(PING, b"between") + masked(0, b"second") + masked(CLOSE, b"\x03\xe8")
    )
    for longest in (1, 2, 7, 1000, len(stream)):
        frames, data, controls, at = Frames(), b"", [], 0
        while at < len(stream):
            size = chance.randint(1, longest)
            part, found = frames.feed(stream[at : at + size])
            data, controls, at = data + part, controls + found, at + size
            if longest == 1 and at > 5000:
                break
        if longest > 1:
            assert data == b"".join(payloads) + b"first second"
            assert controls == [(PING, b"between"), (CLOSE, b"\x03\xe8")]
            assert frames.closed


def test_a_mask_continues_where_it_was():
    assert unmasked(b"\x01\x02", b"\x00\x00\x01\x02", 6) == b"\x00\x00"


@pytest.mark.parametrize(
    "data",
    [
        frame(2, b"not masked"),
        b"\xc2\x80abcd",  # an extension's bit
        b"\x83\x80abcd",  # an unknown opcode
        b"\x09\x80abcd",  # a ping in pieces
        b"\x89\xfe\x00\x7eabcd",  # a long ping
        b"\x82\xff" + b"\xff" * 8 + b"abcd",  # a frame without end
    ],
)
def test_bytes_that_are_no_frame_are_an_error(data):
    with pytest.raises(ValueError, match="frame"):
        Frames().feed(data)


@pytest.fixture
def bridge():
    """A bridge in a thread: the WebSocket's other end, the plain one's, the lifeline's, and the thread."""
    web, client = socket.socketpair()
    plain, sshd = socket.socketpair()
    lifeline, held = os.pipe()
    made = Bridge(web, plain, lifeline)

    def run():
        made.run(b"")
        web.close()
        plain.close()

    thread = threading.Thread(target=run)
    thread.start()
    client.settimeout(20)
    sshd.settimeout(20)
    yield client, sshd, held, thread
    for sock in (client, sshd):
        sock.close()
    thread.join(20)
    assert not thread.is_alive()
    for fd in (lifeline, held):
        os.close(fd)


def test_bytes_go_both_ways_and_pings_are_answered(bridge):
    client, sshd, _, _ = bridge
    client.sendall(masked(2, b"to sshd") + masked(PING, b"?"))
    assert sshd.recv(100) == b"to sshd"
    assert client.recv(100) == frame(PONG, b"?")
    sshd.sendall(b"to the client")
    assert client.recv(100) == frame(2, b"to the client")


def test_the_end_of_sshd_closes_the_websocket_after_its_last_bytes(bridge):
    client, sshd, _, thread = bridge
    sshd.sendall(b"last")
    sshd.close()
    expected = frame(2, b"last") + frame(CLOSE, b"\x03\xe8")
    received = b""
    while len(received) < len(expected):
        received += client.recv(100)
    assert received == expected
    client.sendall(masked(CLOSE, b"\x03\xe8"))
    assert client.recv(100) == b""
    thread.join(20)


def test_a_close_frame_is_answered_and_ends_sshds_connection(bridge):
    client, sshd, _, _ = bridge
    client.sendall(masked(2, b"last") + masked(CLOSE, b"\x11\x31signed out"))
    assert client.recv(100) == frame(CLOSE, b"\x11\x31")
    assert sshd.recv(100) == b"last"
    assert sshd.recv(100) == b""


def test_the_end_of_the_starter_ends_both(bridge):
    client, sshd, held, thread = bridge
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, held)  # which closes the pipe's end
    os.close(null)
    assert client.recv(100) == frame(CLOSE, b"\x03\xe9the job has ended")
    client.sendall(masked(CLOSE, b"\x03\xe9"))
    thread.join(20)
    assert (client.recv(100), sshd.recv(100)) == (b"", b"")


def test_a_side_that_does_not_read_stops_the_other(bridge):
    client, sshd, _, _ = bridge
    sshd.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 64_000_000:
            sent += sshd.send(b"x" * 65536)
    assert sent < 8_000_000
    received = 0
    frames = b""
    while received < sent:
        frames += client.recv(1 << 20)
        received = len(frames)
    sshd.sendall(b"more")


def test_variables_of_the_job_are_passed_on_but_no_secret_and_nothing_that_needs_quotes():
    environment = {
        "SLURM_JOB_ID": "17",
        "SLURM_JWT": "secret",
        "SLURM_ODD": 'a "b',
        "CUDA_VISIBLE_DEVICES": "0,1",
        "JUPYTER_TOKEN": "secret",
        "TMPDIR": "",
    }
    assert ssh_server.set_env(environment) == "SetEnv CUDA_VISIBLE_DEVICES=0,1 SLURM_JOB_ID=17\n"
    assert ssh_server.set_env({}) == ""


def test_a_node_without_sshd_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(ssh_server, "SEARCHED", "/nowhere")
    with pytest.raises(ssh_server.UnavailableError, match="the node has no sshd"):
        ssh_server.SshFiles(str(tmp_path)).prepare("alice", {})


def test_a_program_that_fails_is_quoted():
    with pytest.raises(ssh_server.UnavailableError, match="sh: no such thing"):
        ssh_server.run(["/bin/sh", "-c", "echo no such thing >&2; exit 3"])
    with pytest.raises(ssh_server.UnavailableError, match="does not run"):
        ssh_server.run(["/no/such/program"])


NOBODY = pwd.getpwnam("nobody")
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nTowpath-Client-Key: ssh-ed25519 AAAA\r\n\r\n"
)


@pytest.fixture
def node():
    node = Node(uid=NOBODY.pw_uid)
    yield node
    node.close()


def dial_ssh(node, where):
    context = node.gateway()
    context.set_alpn_protocols([connect.SSH_PROTOCOL])
    return node.dial(where, context)


def test_the_gateway_chooses_ssh_or_the_app_in_the_handshake(node):
    node.start(ssh=True)
    endpoint = node.hub.wait("ready")["endpoint"]
    where = (endpoint["host"], endpoint["port"])
    assert endpoint["account"] == "nobody"
    assert endpoint["ssh_path"] == str(node.home / "job/ssh.sock")
    assert node.ask(where).endswith(b"xx")
    with dial_ssh(node, where) as peer:
        assert peer.selected_alpn_protocol() == connect.SSH_PROTOCOL
        peer.sendall(UPGRADE)
        answer = b""
        while b"SSH-2.0-" not in answer:
            answer += peer.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nTowpath-Account: nobody\r\n" in answer
    folder = node.home / "job/ssh"
    assert (folder.stat().st_mode & 0o777, (folder / "sshd_config").stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_job_that_does_not_serve_ssh_closes_such_a_connection(node):
    node.start()
    endpoint = node.hub.wait("ready")["endpoint"]
    assert "ssh_path" not in endpoint
    with dial_ssh(node, (endpoint["host"], endpoint["port"])) as peer:
        assert peer.recv(100) == b""


def test_gateway_and_node_have_the_same_names():
    assert tls_server.SSH_PROTOCOL == connect.SSH_PROTOCOL
    from batch.starter import ssh_session

    assert connect.CLIENT_KEY.lower() == ssh_session.KEY_FIELD
    assert ssh_session.HOST_KEY_FIELD == connect.HOST_KEY
