"""The way out of an isolated app's network: the HTTP proxy, and slirp4netns or pasta. Real processes, as root.

Every byte stays on this machine's loopback, or in namespaces that a test has made.
"""

import base64
import http.server
import json
import os
import shutil
import subprocess
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.starter.proxy_head import is_excepted, read_request, split_host, upstream_for
from tests.batch.test_isolation import ALICE, app_of, environment_of, until
from tests.batch.way_in import PYTHON, Node, echo

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, and enters its namespaces")
ELSEWHERE = "127.0.0.2"  # stands for another machine: clients ask no proxy for 127.0.0.1


@pytest.fixture
def node():
    node = Node(uid=ALICE)
    yield node
    node.close()


class Elsewhere:
    """An HTTP server on another address than the app's own loopback; `heads`: the requests that came."""

    def __init__(self):
        self.heads = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                size = int(self.headers.get("Content-Length") or 0)
                outer.heads.append((self.requestline, dict(self.headers), self.rfile.read(size)))
                body = b"it is reached"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.do_POST()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((ELSEWHERE, 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://{ELSEWHERE}:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def elsewhere():
    server = Elsewhere()
    yield server
    server.close()


def inside(node, process, code, *arguments, **environment):
    """What Python prints that runs where the app runs: as its user, in its network, with its environment."""
    app = app_of(node, process)
    enter = ["nsenter", f"--target={app}", "--user", "--net", "--preserve-credentials"]
    become = ["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups"]
    result = subprocess.run(
        [*become, *enter, PYTHON, "-I", "-c", code, *map(str, arguments)],
        capture_output=True, text=True, env={**environment_of(app), **environment}, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


FETCH = """
import sys, urllib.request
data = b"x" * 100_000 if len(sys.argv) > 2 else None
print(urllib.request.urlopen(sys.argv[1], data, timeout=20).read().decode())
"""
TUNNEL = """
import http.client, os, sys
proxy = os.environ["https_proxy"].rpartition("/")[2]
line = http.client.HTTPConnection(proxy, timeout=20)
line.set_tunnel(sys.argv[1], int(sys.argv[2]))
for _ in range(2):
    line.request("GET", "/through")
    print(line.getresponse().read().decode())
"""
DIRECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close()
    print("open")
except OSError as error:
    print(type(error).__name__)
"""
RAW = """
import os, socket, sys
host, _, port = os.environ["http_proxy"].rpartition("/")[2].partition(":")
peer = socket.create_connection((host, int(port)), 20)
peer.sendall(sys.argv[1].encode().decode("unicode_escape").encode("latin-1"))
said = b""
while True:
    part = peer.recv(65536)
    if not part: break
    said += part
print(said.decode("latin-1"))
"""


@as_root
def test_an_app_reaches_other_machines_by_the_proxy_alone(node, elsewhere):
    process = node.start(echo("{port}"), passport=False)
    node.hub.wait("ready")
    assert inside(node, process, DIRECT, ELSEWHERE, elsewhere.port) != "open"
    assert inside(node, process, FETCH, f"{elsewhere.url}/path?query=1") == "it is reached"
    line, headers, _ = elsewhere.heads[-1]
    assert line == "GET /path?query=1 HTTP/1.1"
    assert headers["Host"] == f"{ELSEWHERE}:{elsewhere.port}"
    assert headers["Connection"] == "close"
    assert inside(node, process, FETCH, elsewhere.url, "post") == "it is reached"
    assert elsewhere.heads[-1][2] == b"x" * 100_000
    assert "by the HTTP proxy" in (node.home / "job" / "app.log").read_text()


@as_root
def test_https_goes_by_connect_and_the_tunnel_stays_open(node, elsewhere):
    process = node.start(echo("{port}"), passport=False)
    node.hub.wait("ready")
    assert inside(node, process, TUNNEL, ELSEWHERE, elsewhere.port).split("\n") == ["it is reached"] * 2


@as_root
def test_an_impossible_request_is_answered_and_the_next_is_served(node, elsewhere):
    process = node.start(echo("{port}"), passport=False)
    node.hub.wait("ready")
    for said, status in (
        ("GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", "400"),
        ("rubbish\\r\\n\\r\\n", "400"),
        ("CONNECT nowhere.invalid:443 HTTP/1.1\\r\\n\\r\\n", "502"),
        ("CONNECT 127.0.0.2:9 HTTP/1.1\\r\\n\\r\\n", "502"),
        ("GET https://127.0.0.2/ HTTP/1.1\\r\\n\\r\\n", "400"),
        ("GET http://127.0.0.2:99999/ HTTP/1.1\\r\\n\\r\\n", "400"),
        ("A" * 70_000, "400"),
    ):
        assert inside(node, process, RAW, said).split()[1] == status, said[:60]
    assert inside(node, process, FETCH, elsewhere.url) == "it is reached"


@as_root
def test_a_node_that_goes_out_by_a_proxy_gives_the_app_the_same_way(node, elsewhere):
    theirs = dict.fromkeys(("http_proxy", "https_proxy"), f"http://bob:s3cret@{ELSEWHERE}:{elsewhere.port}")
    process = node.start(echo("{port}"), passport=False, environment={**theirs, "no_proxy": ELSEWHERE})
    node.hub.wait("ready")
    seen = environment_of(app_of(node, process))
    assert seen["http_proxy"].startswith("http://127.0.0.1:")
    assert inside(node, process, FETCH, "http://far.example.org/x") == "it is reached"
    line, headers, _ = elsewhere.heads[-1]
    assert line == "GET http://far.example.org/x HTTP/1.1"
    assert headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"bob:s3cret").decode()
    assert inside(node, process, FETCH, f"{elsewhere.url}/direct") == "it is reached"
    assert elsewhere.heads[-1][0] == "GET /direct HTTP/1.1"  # no_proxy names it


NETWORK = """
ip link set lo up
ip tuntap add mode tap name towpath0
ip addr add 10.77.0.1/24 dev towpath0
ip addr add 10.78.0.1/24 dev towpath0
ip link set towpath0 up
ip route add default via 10.77.0.2
mknod -m 666 {tun} c 10 200
mount --bind {tun} /dev/net/tun
echo nameserver 10.77.0.2 > {resolv}
mount --bind {resolv} /etc/resolv.conf
mount --bind /bin/false {hidden}
exec {python} -c "$SERVER" {up}
"""
"""A node with an address of its own, whose users may use /dev/net/tun."""
SERVER = """
import http.server, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"it is reached")
    def log_message(self, *_): pass
local = http.server.HTTPServer(("127.0.0.1", 8124), Handler)
server = http.server.HTTPServer(("10.78.0.1", 8123), Handler)
pathlib.Path(sys.argv[1]).touch()
server.serve_forever()
"""


@as_root
@pytest.mark.parametrize(("program", "uid"), [("slirp4netns", ALICE), ("slirp4netns", 0), ("pasta", ALICE)])
def test_where_the_node_has_slirp4netns_or_pasta_the_app_has_a_network_as_usual(program, uid):
    """As root, pasta becomes nobody, so it is not used."""
    other = {"slirp4netns": "pasta", "pasta": "slirp4netns"}[program]
    node = Node(uid=uid)
    try:
        places = {"tun": node.root / "tun", "resolv": node.root / "resolv", "up": node.root / "up"}
        script = NETWORK.format(hidden=shutil.which(other), python=PYTHON, **places)
        outer = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-ec", script], env={**os.environ, "SERVER": SERVER}
        )
        node.processes.append(outer)
        until(places["up"].exists)
        wrapper = ["nsenter", f"--target={outer.pid}", "--net", "--mount"]
        if uid:
            wrapper += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        node.uid = 0  # the wrapper becomes the user
        process = node.start(echo("{port}"), passport=False, wrapper=wrapper, hub_urls=[])
        until((node.home / "job" / "report.json").exists)
        report = json.loads((node.home / "job" / "report.json").read_text())
        assert report["kind"] == "ready", report
        app = app_of(node, process)
        assert "http_proxy" not in environment_of(app)
        assert f"{program}." in (node.home / "job" / "app.log").read_text()

        def python(code, *arguments):
            enter = ["nsenter", f"--target={app}", "--net", PYTHON, "-I", "-c", code, *arguments]
            return subprocess.run(enter, capture_output=True, text=True, env={}, timeout=60).stdout.strip()

        assert python(FETCH, "http://10.78.0.1:8123/") == "it is reached"
        for gateway in ("10.0.2.2", "10.77.0.2"):  # the node's own loopback, where other users' programs listen
            assert python(DIRECT, gateway, "8124") != "open"
        assert python(DIRECT, "127.0.0.1", "8124") != "open"
    finally:
        node.close()


# --- what a request asks for


def test_a_connect_keeps_what_was_sent_after_it():
    request = read_request(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n\x16\x03")
    assert (request.host, request.port, request.connect, request.direct) == ("a.example", 443, True, b"\x16\x03")


def test_fields_for_the_proxy_are_not_forwarded():
    head = (
        b"POST http://user:pass@a.example:8080/x?y HTTP/1.1\r\nHost: a.example:8080\r\nProxy-Connection: keep-alive\r\n"
        b"Proxy-Authorization: Basic abc\r\nConnection: keep-alive\r\nX: y\r\n\r\nbody"
    )
    request = read_request(head)
    assert (request.host, request.port) == ("a.example", 8080)
    assert request.direct == (b"POST /x?y HTTP/1.1\r\nHost: a.example:8080\r\nX: y\r\nConnection: close\r\n\r\nbody")
    assert request.through_proxy.startswith(b"POST http://user:pass@a.example:8080/x?y HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.example", ("a.example", 80)),
        ("a.example:8080", ("a.example", 8080)),
        ("[2001:db8::1]", ("2001:db8::1", 80)),
        ("[2001:db8::1]:8080", ("2001:db8::1", 8080)),
        ("a.example:0", None),
        ("a.example:65536", None),
        ("a.example:x", None),
        (":80", None),
        ("", None),
    ],
)
def test_a_host_and_its_port(text, found):
    assert split_host(text, 80) == found


@pytest.mark.parametrize(
    ("host", "listed", "excepted"),
    [
        ("node1.cluster.edu", ".cluster.edu", True),
        ("node1.cluster.edu", "cluster.edu,other", True),
        ("cluster.edu", "cluster.edu", True),
        ("notcluster.edu", "cluster.edu", False),
        ("anything", "*", True),
        ("anything", "", False),
        ("A.Example", "a.example", True),
    ],
)
def test_no_proxy_names_hosts_and_domains(host, listed, excepted):
    assert is_excepted(host, {"no_proxy": listed}) is excepted


def test_the_nodes_proxy_is_taken_by_the_kind_of_request():
    environment = {"http_proxy": "http://plain:3128", "HTTPS_PROXY": "tunnel:3129/"}
    plain = read_request(b"GET http://a.example/ HTTP/1.1\r\n\r\n")
    tunnel = read_request(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n")
    assert upstream_for(plain, environment).host == "plain"
    assert (upstream_for(tunnel, environment).host, upstream_for(tunnel, environment).port) == ("tunnel", 3129)
    assert upstream_for(plain, {"http_proxy": "socks5://a:1080"}) is None
    assert upstream_for(plain, {}) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_none(head):
    request = read_request(head)
    assert request is None or (request.host and 0 < request.port < 65536)
