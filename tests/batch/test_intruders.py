"""Another user of the node, with all that such a user can try. Real accounts (by number), real processes, as root.

The job runs as one user; `Bob` is a process of another one. What bob would need is looked for wherever he can look.
"""

import contextlib
import os
import select
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from batch.authority import JOB_LIFE
from state.names import GATEWAY_NAME
from tests.batch.way_in import ATTEMPT, OTHER, PYTHON, SECRET, TOKEN, Node, drain

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes two other users")

ALICE, BOB = 61001, 61002  # in no passwd: the kernel asks for numbers alone, and nothing is left behind


@pytest.fixture
def node():
    node = Node(uid=ALICE)
    yield node
    node.close()


@pytest.fixture
def bob(node):
    """Runs Python as bob in a folder of his own: what it printed."""
    folder = node.root / "bob"
    folder.mkdir(mode=0o755)
    os.chown(folder, BOB, BOB)

    def run(code, *arguments):
        result = subprocess.run(
            [PYTHON, "-I", "-c", code, *map(str, arguments)],
            capture_output=True, text=True, cwd=folder, user=BOB, group=BOB, extra_groups=[], env={}, timeout=60,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout

    run.folder = folder
    return run


KNOCK = """
import socket, ssl, sys
host, port, name, authority, own = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if own: context.load_cert_chain(own)
try:
    peer = context.wrap_socket(socket.create_connection((host, port), 10), server_hostname=name)
    peer.sendall(b"GET /5 HTTP/1.1\\r\\n\\r\\n")
    print("got", len(peer.recv(1000)))
except OSError as error:
    print("refused", type(error).__name__)
"""


def knock(bob, node, where, certificate, key):
    """What bob gets at the TLS port with this certificate (PEM, may be empty)."""
    own = ""
    if certificate:
        own = bob.folder / "own.pem"
        own.write_text(certificate + key)
        own.chmod(0o644)
    return bob(KNOCK, *where, f"{ATTEMPT}.towpath.internal", "", own)


def impostors(node, other):
    """Certificates that are not the gateway's: (certificate, key) by what they are."""
    rival = other.authority
    other_job = node.authority.passport(OTHER)
    own = node.authority.passport(ATTEMPT)
    server = node.authority.issue((GATEWAY_NAME,), ExtendedKeyUsageOID.SERVER_AUTH, JOB_LIFE)
    named = node.authority.issue(("bob.towpath.internal",), ExtendedKeyUsageOID.CLIENT_AUTH, JOB_LIFE)
    foreign = rival.issue((GATEWAY_NAME,), ExtendedKeyUsageOID.CLIENT_AUTH, JOB_LIFE)
    reports = (node.hub_dir / "tls" / "reports.pem").read_text()
    return {
        "none": ("", ""),
        "another attempt's": (other_job.certificate, other_job.key),
        "this attempt's own": (own.certificate, own.key),
        "the listener's of reports": (reports, ""),
        "the gateway's name, but a server's": tuple(part.decode() for part in server),
        "a client's, but of another name": tuple(part.decode() for part in named),
        "the gateway's name, of another authority": tuple(part.decode() for part in foreign),
        "another authority itself": (rival.pem.decode(), (other.hub_dir / "authority" / "authority.key").read_text()),
    }


def test_only_the_gateways_certificate_opens_the_port(node, bob):
    node.start()
    where = node.ready()
    other = Node()
    try:
        for what, (certificate, key) in impostors(node, other).items():
            assert knock(bob, node, where, certificate, key).startswith(("refused", "got 0")), what
    finally:
        other.close()
    assert node.ask(where).endswith(b"xx")


def test_plain_http_and_rubbish_on_the_port_are_answered_with_nothing_of_the_apps(node, bob):
    node.start()
    where = node.ready()
    plain = """
import socket, sys
for said in (b"GET /5 HTTP/1.1\\r\\n\\r\\n", b"\\0" * 1000, b"\\x16\\x03\\x01\\xff\\xff" + b"A" * 70000, b"", b"\\x16"):
    peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    got = b""
    try:
        peer.sendall(said)
        peer.shutdown(socket.SHUT_WR)
        while part := peer.recv(1000): got += part
    except OSError: pass
    print(b"HTTP" in got or b"xxxxx" in got)
"""
    assert set(bob(plain, *where).split()) == {"False"}
    assert node.ask(where).endswith(b"xx")


def test_the_socket_the_folder_and_the_log_are_closed_to_others(node, bob):
    node.start()
    node.ready()
    job = node.home / "job"
    attempts = """
import os, socket, sys
job = sys.argv[1]
def tried(what, f):
    try: f()
    except PermissionError: return
    print("open:", what)
tried("socket", lambda: socket.socket(socket.AF_UNIX).connect(job + "/app.sock"))
tried("folder", lambda: os.listdir(job))
for name in ("app.log", "job.json", "report.json", "app.sock"):
    tried(name, lambda: open(job + "/" + name))
    tried("change " + name, lambda: open(job + "/" + name, "w"))
    tried("remove " + name, lambda: os.unlink(job + "/" + name))
tried("put", lambda: open(job + "/bob", "w"))
tried("replace", lambda: os.rename(job, job + "2"))
"""
    assert bob(attempts, job) == ""


def test_processes_show_no_secret_to_others(node, bob):
    process = node.start()
    node.ready()
    pids = [process.pid, *node.children(process)]
    look = """
import os, sys
secrets = [part.encode() for part in sys.argv[1].split()]
for pid in sys.argv[2:]:
    for name in ("cmdline", "environ", "stat", "status", "comm", "maps", "mem", "io", "stack", "auxv"):
        try: text = open("/proc/%s/%s" % (pid, name), "rb").read(10_000_000)
        except (PermissionError, OSError): continue
        for secret in secrets:
            if secret in text: print(pid, name, secret)
    for name in ("fd", "map_files", "cwd", "root", "task/%s/fd" % pid):
        try: print(pid, name, os.listdir("/proc/%s/%s" % (pid, name)))
        except OSError: pass
        try: print(pid, name, os.readlink("/proc/%s/%s" % (pid, name)))
        except OSError: pass
"""
    key = node.authority.passport(ATTEMPT).key.splitlines()[2]
    assert bob(look, f"{TOKEN} {SECRET} {key} BEGIN PRIVATE", *pids) == ""


def test_no_file_that_others_may_read_holds_a_secret(node, bob):
    """All of the machine's folders for such things, as bob sees them."""
    node.start()
    node.ready()
    search = """
import os, sys, time
secrets = [part.encode() for part in sys.argv[1].split()]
begun = time.time() - 60
for top in sys.argv[2:]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            try:
                facts = os.lstat(path)
                if facts.st_mtime < begun or facts.st_size > 5_000_000 or not os.path.isfile(path): continue
                text = open(path, "rb").read()
            except OSError: continue
            for secret in secrets:
                if secret in text: print(path, secret)
"""
    found = bob(search, f"{TOKEN} {SECRET}", node.root, "/dev/shm", "/run", "/var/tmp")
    assert found == ""


def test_a_specification_in_a_file_is_refused_when_others_may_read_it(node, bob):
    spec = node.home / "spec.json"
    spec.write_text("{}")
    spec.chmod(0o640)
    os.chown(spec, ALICE, ALICE)
    result = subprocess.run(
        [PYTHON, "-I", "-S", str(node.program), str(spec)], capture_output=True, text=True, user=ALICE, group=ALICE
    )
    assert (result.returncode, "not private" in result.stderr) == (2, True)


def test_two_hundred_that_never_finish_their_handshake_do_not_keep_the_gateway_out(node, bob):
    process = node.start()
    where = node.ready()
    hold = """
import socket, sys, time
peers = []
for number in range(200):
    peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    if number % 2: peer.sendall(b"\\x16\\x03\\x01")
    peers.append(peer)
print("held", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen(
        [PYTHON, "-I", "-c", hold, *map(str, where)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=BOB, group=BOB, extra_groups=[], env={},
    )  # fmt: skip
    assert holder.stdout.readline() == b"held\n"
    for _ in range(20):
        assert node.ask(where).endswith(b"xx")
    descriptors = Path(f"/proc/{node.front(process)}/fd")
    assert len(list(descriptors.iterdir())) < 160
    holder.communicate(b"")
    limit = time.monotonic() + 20
    while len(list(descriptors.iterdir())) > 20 and time.monotonic() < limit:
        time.sleep(0.05)
    assert len(list(descriptors.iterdir())) <= 20


def test_a_slow_handshake_is_ended_and_an_idle_connection_of_the_gateways_is_not(node):
    """The starter's own time-outs, made short; nothing else about it is changed."""
    text = node.program.read_text()
    assert "HANDSHAKE_TIMEOUT = 10.0" in text
    node.program.write_text(text.replace("HANDSHAKE_TIMEOUT = 10.0", "HANDSHAKE_TIMEOUT = 0.5"))
    node.start()
    where = node.ready()
    idle = node.dial(where)
    slow = socket.create_connection(where, 10)
    slow.sendall(b"\x16\x03\x01")
    assert select.select([slow], [], [], 10)[0]
    with contextlib.suppress(ConnectionResetError):
        assert slow.recv(10) == b""
    slow.close()
    idle.sendall(b"GET /2 HTTP/1.1\r\n\r\n")
    assert drain(idle).endswith(b"xx")
    idle.close()


def test_a_port_that_bob_took_first_is_not_the_way_in(node, bob):
    """Bob listens at a port and hears the gateway knock: without the attempt's certificate he learns nothing."""
    catch = """
import socket, ssl, sys, subprocess
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
print(listener.getsockname()[1], flush=True)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain("own.pem")
try: print(context.wrap_socket(listener.accept()[0], server_side=True).recv(1000), flush=True)
except OSError as error: print("nothing", flush=True)
"""
    own = node.authority.passport(OTHER)  # bob has a server of his own, too
    (bob.folder / "own.pem").write_text(own.certificate + own.key)
    (bob.folder / "own.pem").chmod(0o644)
    catcher = subprocess.Popen(
        [PYTHON, "-I", "-c", catch], stdout=subprocess.PIPE, cwd=bob.folder, user=BOB, group=BOB, env={}, text=True
    )
    port = int(catcher.stdout.readline())
    with pytest.raises(ssl.SSLCertVerificationError):
        node.dial(("127.0.0.1", port))
    assert catcher.communicate(timeout=20)[0] == "nothing\n"


def test_the_hubs_own_files_are_closed_to_job_users(node, bob):
    """Alice's own job, on a machine that is also the hub's, gets at none of them either."""
    names = ["authority/authority.key", "authority/seal.key", "tls/gateway.pem", "tls/reports.pem"]
    for uid in (ALICE, BOB):
        code = "import sys\nfor p in sys.argv[1:]:\n    try: open(p); print(p)\n    except PermissionError: pass"
        paths = [node.hub_dir / name for name in names]
        result = subprocess.run(
            [PYTHON, "-I", "-c", code, *paths], capture_output=True, text=True, user=uid, group=uid, extra_groups=[]
        )
        assert (result.returncode, result.stdout) == (0, "")
