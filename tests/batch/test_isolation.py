"""An app on a port, in a network of its own: reached by its owner alone. Real processes, users and namespaces, as root."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.batch.test_way_in import ALL_OF_IT, gone, until
from tests.batch.way_in import PYTHON, SECRET, Node, drain, echo

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes two other users")

ALICE, BOB = 61001, 61002  # in no passwd: the kernel asks for numbers alone, and nothing is left behind
NO_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces; echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"',
    "sh",
)
"""Runs a command where neither kind of namespace may be made, as on a node that forbids them."""


@pytest.fixture(params=[ALICE, 0], ids=["alice", "root"])
def node(request):
    node = Node(uid=request.param)
    yield node
    node.close()


@pytest.fixture
def alices():
    node = Node(uid=ALICE)
    yield node
    node.close()


def reached(node):
    """A connection to the app by its socket, as the hub on this machine makes it."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(node.hub.wait("ready")["endpoint"]["path"])
    return sock


def ask(node, text=b"GET /2 HTTP/1.1\r\n\r\n"):
    with contextlib.closing(reached(node)) as peer:
        peer.sendall(text)
        return drain(peer)


def app_of(node, process):
    """The app's pid."""
    return next(pid for pid in node.children(process) if SECRET.encode() in Path(f"/proc/{pid}/environ").read_bytes())


def bridge_of(node, process):
    """The bridge's pid: the other process in the app's network."""
    app = app_of(node, process)
    return next(pid for pid in node.children(process) if pid != app and network_of(pid) == network_of(app))


def network_of(pid):
    return Path(f"/proc/{pid}/ns/net").readlink()


def environment_of(pid):
    rows = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(row.decode().partition("=")[::2] for row in rows if row)


def test_an_app_on_a_port_is_reached_by_a_private_socket(node):
    process = node.start(echo("{port}"), passport=False)
    endpoint = node.hub.wait("ready")["endpoint"]
    assert endpoint == {"kind": "unix", "path": str(node.home / "job" / "app.sock")}
    assert Path(endpoint["path"]).lstat().st_mode & 0o777 == 0o600
    assert ask(node).endswith(b"\r\n\r\nxx")
    app = app_of(node, process)
    assert network_of(app) != network_of("self")
    assert environment_of(app)["TOWPATH_PORT"].isdigit()


def test_the_gateway_reaches_it_through_tls(node):
    node.start(echo("{port}"))
    where = node.ready()
    answer = node.ask(where, 30_000_000)
    assert len(answer.partition(b"\r\n\r\n")[2]) == 30_000_000


def test_the_app_has_no_rights_beyond_its_users(alices):
    process = alices.start(echo("{port}"), passport=False)
    alices.hub.wait("ready")
    status = Path(f"/proc/{app_of(alices, process)}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (facts["Uid"].split(), facts["CapEff"], facts["CapPrm"]) == ([str(ALICE)] * 4, "0" * 16, "0" * 16)


ATTACK = """
import ctypes, json, os, socket, sys
asked = json.loads(sys.argv[1])
got = []
def tried(what, f):
    try: f()
    except OSError: return
    got.append(what)
def talk(family, address):
    with socket.socket(family) as peer:
        peer.settimeout(5)
        peer.connect(address)
        peer.sendall(b"GET /5 HTTP/1.1\\r\\n\\r\\n")
        said = b""
        while len(said) < 500:
            part = peer.recv(500)
            if not part: break
            said += part
        # The number may be another program's on this machine: the app's own words show that it is the app.
        if not any(mark in said for mark in (b"\\r\\n\\r\\nxxxxx", b"This is a proxy", b"the hidden door")):
            raise ConnectionError
for port in asked["ports"]:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.1.1"), (socket.AF_INET6, "::1")):
        tried("%s %d" % (host, port), lambda: talk(family, (host, port)))
names = set(asked["abstract"])
for line in open("/proc/net/unix").read().splitlines()[1:]:
    if line.split()[-1] in ["@" + name for name in names]: got.append("sees the abstract socket")
for name in names:
    tried("abstract " + name, lambda: talk(socket.AF_UNIX, "\\0" + name))
tried("socket", lambda: talk(socket.AF_UNIX, asked["socket"]))
libc = ctypes.CDLL(None, use_errno=True)
def enter(path):
    fd = os.open(path, os.O_RDONLY)
    if libc.setns(fd, 0): raise OSError(ctypes.get_errno(), "setns")
for pid in asked["pids"]:
    for what in ("user", "net"):
        tried("setns %s of %d" % (what, pid), lambda: enter("/proc/%d/ns/%s" % (pid, what)))
    tried("root of %d" % pid, lambda: talk(socket.AF_UNIX, "/proc/%d/root%s" % (pid, asked["socket"])))
    tried("cwd of %d" % pid, lambda: os.listdir("/proc/%d/cwd/job" % pid))
    tried("fd of %d" % pid, lambda: os.listdir("/proc/%d/fd" % pid))
for pid in asked["inside"]:
    # The tables of a network may be looked at, and are of no use: what they name is in that network alone.
    for table in ("tcp", "tcp6"):
        try: rows = open("/proc/%d/net/%s" % (pid, table)).read().splitlines()[1:]
        except OSError: continue
        for row in rows:
            where, state = row.split()[1], row.split()[3]
            if state == "0A":
                port = int(where.rpartition(":")[2], 16)
                tried("the view's port %d" % port, lambda: talk(socket.AF_INET, ("127.0.0.1", port)))
    for line in open("/proc/%d/net/unix" % pid).read().splitlines()[1:]:
        name = line.split()[-1]
        if name[:1] == "@" and name[1:] in names:
            tried("the view's abstract socket", lambda: talk(socket.AF_UNIX, "\\0" + name[1:]))
print(json.dumps(got))
"""
ABSTRACT = """
import socket, threading
hidden = socket.socket(socket.AF_UNIX)
hidden.bind("\\0towpath-test-%d" % os.getpid())
hidden.listen(8)
def answer():
    while True:
        peer = hidden.accept()[0]
        peer.recv(1000)
        peer.sendall(b"the hidden door")
        peer.close()
threading.Thread(target=answer, daemon=True).start()
"""


def attack(node, process, *ports):
    """What another user of the node gets at."""
    app = app_of(node, process)
    pids = [process.pid, *node.children(process)]
    inside = [pid for pid in pids if network_of(pid) == network_of(app) != network_of("self")]
    asked = {
        "ports": ports,
        "abstract": [f"towpath-test-{app}"],
        "socket": str(node.home / "job" / "app.sock"),
        "pids": pids,
        "inside": inside,
    }
    result = subprocess.run(
        [PYTHON, "-I", "-c", ATTACK, json.dumps(asked)],
        capture_output=True, text=True, user=BOB, group=BOB, extra_groups=[], env={}, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def with_abstract_socket():
    """The command of an app that listens on a port, and on an abstract socket too."""
    command = echo("{port}")
    return (*command[:4], ABSTRACT.replace("import socket", "import os, socket") + command[4], command[5])


def test_another_user_of_the_node_reaches_neither_the_app_nor_its_proxy(node):
    process = node.start(with_abstract_socket(), passport=False)
    assert ask(node).endswith(b"xx")
    seen = environment_of(app_of(node, process))
    ports = [int(seen["TOWPATH_PORT"])]
    ports += [int(seen[name].rpartition(":")[2]) for name in ("http_proxy",) if name in seen]
    assert attack(node, process, *ports) == []


def test_an_app_whose_port_is_shared_with_the_node_is_open_to_its_other_users(alices):
    """What the profile accepts with `shared_node_port`; and what shows that the attack above is one."""
    process = alices.start(with_abstract_socket(), passport=False, shared_node_port=True)
    endpoint = alices.hub.wait("ready")["endpoint"]
    assert endpoint["kind"] == "tcp"
    got = attack(alices, process, endpoint["port"])
    assert f"127.0.0.1 {endpoint['port']}" in got
    assert f"abstract towpath-test-{app_of(alices, process)}" in got


def test_a_node_that_forbids_namespaces_refuses_the_app_and_says_what_to_do(alices):
    process = alices.start(echo("{port}"), wrapper=NO_NAMESPACES, passport=False)
    report = alices.hub.wait("failed")
    assert report["code"] == "isolation"
    assert "No space left on device" in report["message"]  # user_namespaces(7): the limit's error
    assert "user namespaces" in report["hint"]
    assert process.wait(20) == 1
    assert not any((alices.home / "job").glob("app.sock.*"))


def test_a_node_that_forbids_namespaces_runs_the_app_where_the_profile_shares_its_port(alices):
    alices.start(echo("{port}"), wrapper=NO_NAMESPACES, passport=False, shared_node_port=True)
    assert alices.hub.wait("ready")["endpoint"]["kind"] == "tcp"


def test_an_app_that_listens_on_ipv6_alone_is_reached_too(alices):
    command = echo("{port}")
    text = command[4].replace("socket.socket()", "socket.socket(socket.AF_INET6)").replace('"127.0.0.1"', '"::1"')
    alices.start((*command[:4], text, command[5]), passport=False)
    assert ask(alices).endswith(b"xx")


def test_bytes_go_both_ways_whole(alices):
    alices.start(echo("{port}"), passport=False)
    sent = os.urandom(5_000_000)
    with contextlib.closing(reached(alices)) as peer:
        writer = threading.Thread(target=peer.sendall, args=(sent,))
        writer.start()
        got = b""
        while len(got) < len(sent):
            got += peer.recv(65536)
        writer.join()
    assert got == sent


def test_an_app_that_does_not_read_stops_the_sender_and_nothing_is_lost(alices):
    gate = alices.home / "gate"
    process = alices.start(echo("{port}"), environment={"GATE": str(gate)}, passport=False)
    peer = reached(alices)
    memory = Path(f"/proc/{bridge_of(alices, process)}/statm")
    before = int(memory.read_text().split()[1])
    peer.setblocking(False)
    sent, piece, quiet = 0, b"SLOW" * 16384, 0
    while quiet < 3:  # until nobody takes anything any more
        try:
            sent += peer.send(piece)
            quiet = 0
        except BlockingIOError:
            quiet += not select.select([], [peer], [], 0.2)[1]
    assert sent < ALL_OF_IT
    assert int(memory.read_text().split()[1]) - before < 400  # pages: the bridge has not taken it all into memory
    gate.touch()
    peer.settimeout(30)
    while sent < ALL_OF_IT:
        sent += peer.send(piece[: min(len(piece), ALL_OF_IT - sent)])
    assert int(peer.recv(100)) == ALL_OF_IT
    peer.close()


def test_a_reader_that_does_not_read_stops_the_app(alices):
    process = alices.start(echo("{port}"), passport=False)
    with contextlib.closing(reached(alices)) as peer:
        peer.sendall(b"GET /50000000 HTTP/1.1\r\n\r\n")
        assert peer.recv(5) == b"HTTP/"
        memory = Path(f"/proc/{bridge_of(alices, process)}/statm")
        before = int(memory.read_text().split()[1])
        time.sleep(0.5)
        assert int(memory.read_text().split()[1]) - before < 400
        assert len(drain(peer)) > 50_000_000


def test_an_app_may_end_its_side_and_go_on_listening(alices):
    alices.start(echo("{port}"), passport=False)
    with contextlib.closing(reached(alices)) as peer:
        peer.sendall(b"LAST")
        assert drain(peer) == b"my last word"
        peer.sendall(b"x" * 100_000)
    until(lambda: "heard 100004" in (alices.home / "job" / "app.log").read_text())


def test_an_early_response_of_an_app_that_closes_is_still_received(alices):
    alices.start(echo("{port}"), passport=False)
    with contextlib.closing(reached(alices)) as peer:
        peer.sendall(b"EARLY")
        with contextlib.suppress(OSError):
            for _ in range(50):
                peer.sendall(b"x" * 65536)
        heard = b""
        with contextlib.suppress(ConnectionResetError):  # the app has not read everything
            while part := peer.recv(65536):
                heard += part
        assert heard == b"no, thank you"


def test_many_connections_stay_open_side_by_side_and_cost_nothing_while_nothing_happens(alices):
    process = alices.start(echo("{port}"), passport=False)
    peers = [reached(alices) for _ in range(300)]
    for number, peer in enumerate(peers):
        peer.sendall(b"hello %d" % number)
    for number, peer in enumerate(peers):
        assert peer.recv(100) == b"hello %d" % number
    peers[0].shutdown(socket.SHUT_WR)
    stat = Path(f"/proc/{bridge_of(alices, process)}/stat")
    before = sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13]))
    time.sleep(1)
    after = sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13]))
    assert after - before <= 5  # ticks of 10 ms
    for peer in peers:
        peer.close()


def test_a_bridge_that_is_killed_is_started_again_in_the_same_network(alices):
    process = alices.start(echo("{port}"), passport=False)
    assert ask(alices).endswith(b"xx")
    bridge = bridge_of(alices, process)
    os.kill(bridge, signal.SIGKILL)
    until(lambda: gone(bridge))
    assert ask(alices).endswith(b"xx")  # it waits at the socket, which the starter has
    assert bridge_of(alices, process) != bridge


def test_nothing_is_left_of_it_when_the_starter_is_killed(alices):
    process = alices.start(echo("{port}"), passport=False)
    alices.hub.wait("ready")
    app = app_of(alices, process)
    helpers = [pid for pid in alices.children(process) if pid != app]
    assert len(helpers) >= 2
    process.kill()
    for pid in helpers:
        until(lambda pid=pid: gone(pid))
    os.killpg(app, signal.SIGKILL)


def test_nothing_is_left_of_it_at_its_end(node):
    process = node.start(echo("{port}"))
    node.ready()
    pids = node.children(process)
    process.terminate()
    assert node.hub.wait("ended")["exit_code"] == 128 + signal.SIGTERM
    process.wait(20)
    for pid in pids:
        until(lambda pid=pid: gone(pid))
