"""10,000 malformed requests: no 500, no traceback, no growth."""

import os
import random
import socket
from pathlib import Path

import pytest
from hub import Hub, stub_config

pytestmark = pytest.mark.faults
HOW_MANY = 10_000
GROWTH_MOST = 48 * 1024 * 1024


def memory(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def noise(rng, most):
    return bytes(rng.randrange(256) for _ in range(rng.randrange(most)))


def text_noise(rng, most):
    return bytes(rng.choice(b"abcXYZ019-_.~%/;=\"'\\<>{}[]|@,:&?#+*$! \t") for _ in range(rng.randrange(most)))


def malformed(rng, user, origin):
    """Return a request with an error in its head, cookie, token or JSON."""
    paths = [
        b"/",
        b"/hub/home",
        b"/hub/login",
        b"/hub/api/users",
        b"/hub/api/user",
        f"/user/{user}/".encode(),
        f"/hub/api/users/{user}/server".encode(),
        b"/hub/api/towpath/report",
        f"/hub/spawn/{user}".encode(),
        b"/hub/api/users/" + text_noise(rng, 30).replace(b" ", b"+"),
        b"/user/" + text_noise(rng, 30),
    ]
    method = rng.choice([b"GET", b"POST", b"DELETE", b"PUT", b"PATCH", b"BREW", b"get", noise(rng, 8)])
    path = rng.choice(paths)
    headers = [b"Host: " + origin]
    kind = rng.randrange(8)
    body = b""
    if kind == 0:
        headers.append(b"Cookie: towpath-session=" + text_noise(rng, 300))
    elif kind == 1:
        headers.append(b"Authorization: token " + text_noise(rng, 700))
    elif kind == 2:
        headers.append(b"Authorization: " + noise(rng, 80).replace(b"\n", b"").replace(b"\r", b""))
    elif kind == 3:
        body = noise(rng, 400)
        headers.append(b"Content-Type: application/json")
        headers.append(b"Authorization: token " + b"0" * 32)
    elif kind == 4:
        body = rng.choice([b"{", b"[]", b"null", b'{"a":' * 2000, b'"\\ud800"', b'{"kind": 1}', b"\xff\xfe", b"1e999"])
        headers.append(b"Content-Type: application/json")
        headers.append(b"Sec-Fetch-Site: same-origin")
    elif kind == 5:
        headers.append(text_noise(rng, 40))
    elif kind == 6:
        return noise(rng, 200) + b"\r\n\r\n"
    else:
        headers.append(b"Upgrade: websocket")
        headers.append(b"Connection: upgrade")
        headers.append(b"Sec-WebSocket-Version: " + text_noise(rng, 4))
        headers.append(b"Sec-WebSocket-Key: " + text_noise(rng, 40))
    if body:
        headers.append(b"Content-Length: " + str(len(body)).encode())
    return method + b" " + path + b" HTTP/1.1\r\n" + b"\r\n".join(headers) + b"\r\nConnection: close\r\n\r\n" + body


def ask(port, request):
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(4096)
        except OSError:
            return b""


def test_ten_thousand_malformed_requests_do_no_harm(tmp_path):
    hub = Hub(tmp_path, config=stub_config(tmp_path)).start()
    try:
        worker = hub.child("gateway.worker")
        rng = random.Random(1)
        origin = f"127.0.0.1:{hub.port}".encode()
        user = hub.user()
        for _ in range(1000):
            ask(hub.port, malformed(rng, user, origin))
        before = memory(worker)
        for _ in range(HOW_MANY - 1000):
            request = malformed(rng, user, origin)
            answer = ask(hub.port, request)
            assert not answer.startswith(b"HTTP/1.1 5"), (request[:500], answer[:500])
            assert b"Traceback" not in answer
        assert hub.child("gateway.worker") == worker, "no worker was restarted"
        assert memory(worker) - before < GROWTH_MOST
        said = "\n".join(hub.output)
        assert "Traceback" not in said, said[-3000:]
    finally:
        hub.close()
