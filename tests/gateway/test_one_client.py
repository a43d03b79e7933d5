"""One client never takes a service from the others: on a real hub, by addresses of the loopback network."""

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
STRANGERS = 257


class App(BaseHTTPRequestHandler):
    """Answers GET at once, and POST when its body is complete."""

    protocol_version = "HTTP/1.1"
    open = 0

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self):
        App.open += 1
        try:
            while self.rfile.readline().strip():
                self.rfile.readline()
        finally:
            App.open -= 1
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = stub_config(tmp_path, more=SERVICE.format(port=server.server_port))
    hub = Hub(tmp_path, config=config, workers=1).start()
    yield hub
    hub.stop()
    server.shutdown()
    server.server_close()


def ask(hub, source, head, body=b""):
    """A connection from this address, with a request sent."""
    connection = socket.create_connection(("127.0.0.1", hub.port), 60, source_address=(source, 0))
    connection.sendall(f"{head} HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\n".encode() + body)
    return connection


def test_posts_of_one_byte_do_not_shut_a_service_without_sign_in(hub):
    strangers = [
        ask(hub, "127.0.0.2", "POST /services/open/", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        for _ in range(STRANGERS)
    ]
    try:
        eventually(lambda: App.open == 128, what="the stranger's part of the connections")
        for number in range(3, 8):
            with ask(hub, f"127.0.0.{number}", "GET /services/open/", b"Connection: close\r\n\r\n") as other:
                assert other.recv(4096).startswith(b"HTTP/1.1 200")
        assert App.open == 128
    finally:
        for each in strangers:
            with contextlib.suppress(OSError):
                each.close()
    eventually(lambda: App.open == 0, what="the end of the stranger's requests")


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        config = "[gateway]\nprogress_timeout = 1\n" + stub_config(tmp_path, more=SERVICE.format(port=port))
        hub = Hub(tmp_path, config=config, workers=1).start()
        try:
            with ask(hub, "127.0.0.2", "POST /services/open/", b"Content-Length: 1000000\r\n\r\nx") as stranger:
                taken, _ = listening.accept()
                with taken:
                    taken.settimeout(60)
                    while taken.recv(4096):
                        pass
                with contextlib.suppress(ConnectionResetError):
                    assert stranger.recv(1) == b""
        finally:
            hub.stop()
