"""One client cannot block a service for others: on a real hub, with addresses of the loopback network."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hub import Hub, eventually, stub_config

SERVICE = """
[[service]]
name = "open"
url = "http://127.0.0.1:{port}"
"""
CONNECTIONS = 257


class App(BaseHTTPRequestHandler):
    """Responds to GET immediately, and to POST when its body is complete."""

    protocol_version = "HTTP/1.1"
    open = 0
    counting = threading.Lock()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self):
        with App.counting:
            App.open += 1
        try:
            while self.rfile.readline().strip():
                self.rfile.readline()
        finally:
            with App.counting:
                App.open -= 1
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """With room for all connections at once: with its own 5, Linux drops some, and the gateway gives up on them."""

    request_queue_size = 1024
    daemon_threads = True


@pytest.fixture
def hub(tmp_path):
    server = Server(("127.0.0.1", 0), App)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = stub_config(tmp_path, more=SERVICE.format(port=server.server_port))
    hub = Hub(tmp_path, config=config, workers=1).start()
    yield hub
    hub.close()
    server.shutdown()
    server.server_close()


def ask(hub, source, head, body=b""):
    """Open a connection from this address and send a request."""
    connection = socket.create_connection(("127.0.0.1", hub.port), 60, source_address=(source, 0))
    connection.sendall(f"{head} HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\n".encode() + body)
    return connection


def test_slow_uploads_of_one_client_do_not_block_a_service_for_others(hub):
    slow = [
        ask(hub, "127.0.0.2", "POST /services/open/", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        for _ in range(CONNECTIONS)
    ]
    try:
        eventually(lambda: App.open == 128, what="the client's share of the connections")
        for number in range(3, 8):
            with ask(hub, f"127.0.0.{number}", "GET /services/open/", b"Connection: close\r\n\r\n") as other:
                assert other.recv(4096).startswith(b"HTTP/1.1 200")
        assert App.open == 128
    finally:
        for each in slow:
            with contextlib.suppress(OSError):
                each.close()
    eventually(lambda: App.open == 0, what="the end of the client's requests")


def test_a_request_without_its_body_times_out(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        config = "[gateway]\nprogress_timeout = 1\n" + stub_config(tmp_path, more=SERVICE.format(port=port))
        hub = Hub(tmp_path, config=config, workers=1).start()
        try:
            with ask(hub, "127.0.0.2", "POST /services/open/", b"Content-Length: 1000000\r\n\r\nx") as client:
                taken, _ = listening.accept()
                with taken:
                    taken.settimeout(60)
                    while taken.recv(4096):
                        pass
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""
        finally:
            hub.close()
