"""The way in: TLS on the node's own address, for the gateway alone. A real starter and a real app behind it."""

import contextlib
import os
import select
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from batch.starter import addresses
from tests.batch.way_in import ATTEMPT, Node, drain, echo

ALL_OF_IT = 65_536_000  # more than the kernel's buffers of both connections take; the app waits for as much


@pytest.fixture
def node():
    node = Node()
    yield node
    node.close()


def gone(pid):
    """Whether a process has closed everything: it is a zombie, or not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def until(check, seconds=60):
    limit = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < limit, "it did not come to that"
        time.sleep(0.02)
    return found


def test_the_gateway_reaches_the_app_through_tls(node):
    node.start()
    where = node.ready()
    assert node.ask(where).endswith(b"\r\n\r\nxx")
    with contextlib.closing(node.dial(where)) as peer:
        assert peer.version() in ("TLSv1.2", "TLSv1.3")


def test_an_app_on_a_port_is_reached_too(node):
    node.start(echo("{port}"))
    assert node.ask(node.ready()).endswith(b"xx")


def test_nothing_secret_is_written_to_a_file(node):
    node.start()
    node.ready()
    key = node.authority.passport(ATTEMPT).key.splitlines()[0]
    for file in node.home.rglob("*"):
        if file.is_file():
            text = file.read_bytes()
            assert key.encode() not in text
            assert b"report-token" not in text


def test_large_bodies_come_whole_both_ways(node):
    node.start()
    where = node.ready()
    answer = node.ask(where, 30_000_000)
    assert len(answer.partition(b"\r\n\r\n")[2]) == 30_000_000
    sent = os.urandom(5_000_000)
    left, got = memoryview(sent), bytearray()
    with contextlib.closing(node.dial(where)) as peer:
        peer.setblocking(False)  # one thread: two may not use a TLS connection at once
        while len(got) < len(sent):
            select.select([peer], [peer] if left else [], [], 60)
            with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if left:
                    left = left[peer.send(left[:65536]) :]
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                while part := peer.recv(65536):
                    got += part
    assert got == sent


def test_an_app_that_does_not_read_stops_the_sender_and_nothing_is_lost(node, tmp_path):
    gate = node.home / "gate"
    process = node.start(environment={"GATE": str(gate)})
    peer = node.dial(node.ready())
    memory = Path(f"/proc/{node.front(process)}/statm")
    before = int(memory.read_text().split()[1])
    peer.setblocking(False)
    sent = 0
    piece = b"SLOW" * 16384
    quiet = 0
    while quiet < 3:  # until nobody takes anything any more
        try:
            sent += peer.send(piece)
            quiet = 0
        except ssl.SSLWantWriteError:
            quiet += not select.select([], [peer], [], 0.2)[1]
    assert sent < ALL_OF_IT
    assert int(memory.read_text().split()[1]) - before < 400  # pages: the way in has not taken it all into memory
    gate.touch()
    peer.setblocking(True)
    while sent < ALL_OF_IT:  # a record of 16 KiB at a time; what was refused is offered again as it was
        sent += peer.send(piece[: max(16384, min(len(piece), ALL_OF_IT - sent))])
    assert int(peer.recv(100)) == ALL_OF_IT
    peer.close()


def test_a_gateway_that_does_not_read_stops_the_app(node):
    process = node.start()
    peer = node.dial(node.ready())
    peer.sendall(b"GET /50000000 HTTP/1.1\r\n\r\n")
    assert peer.recv(5) == b"HTTP/"
    memory = Path(f"/proc/{node.front(process)}/statm")
    before = int(memory.read_text().split()[1])
    time.sleep(0.5)
    assert int(memory.read_text().split()[1]) - before < 400
    assert len(drain(peer)) > 50_000_000
    peer.close()


def test_an_early_response_of_an_app_that_closes_is_still_received(node):
    node.start()
    with contextlib.closing(node.dial(node.ready())) as peer:
        peer.sendall(b"EARLY")
        with contextlib.suppress(OSError):
            for _ in range(50):
                peer.sendall(b"x" * 65536)
        assert drain(peer) == b"no, thank you"


def test_an_app_may_end_its_side_and_go_on_listening(node):
    node.start()
    peer = node.dial(node.ready())
    peer.sendall(b"LAST")
    assert drain(peer) == b"my last word"
    peer.sendall(b"x" * 100_000)
    peer.close()
    log = node.home / "job" / "app.log"
    until(lambda: "heard 100004" in log.read_text())


def test_many_connections_stay_open_side_by_side(node):
    node.start()
    where = node.ready()
    context = node.gateway()
    peers = [node.dial(where, context) for _ in range(300)]
    for number, peer in enumerate(peers):
        peer.sendall(b"hello %d" % number)
    for number, peer in enumerate(peers):
        assert peer.recv(100) == b"hello %d" % number
    for peer in peers:
        peer.close()


def test_the_way_in_does_nothing_while_nothing_happens(node):
    process = node.start()
    where = node.ready()
    open_ = node.dial(where)
    open_.sendall(b"hello")
    open_.recv(10)
    done = node.dial(where)
    done.sendall(b"LAST")
    drain(done)  # half closed: its end is told for ever to who still asks for it
    stat = Path(f"/proc/{node.front(process)}/stat")
    before = sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13]))
    time.sleep(1)
    after = sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13]))
    assert after - before <= 5  # ticks of 10 ms
    open_.close()
    done.close()


def test_it_ends_with_the_starter_however_that_ends(node):
    process = node.start()
    where = node.ready()
    front = node.front(process)
    app = next(pid for pid in node.children(process) if pid != front)
    process.kill()
    until(lambda: gone(front))
    with pytest.raises(OSError):
        node.dial(where)
    os.killpg(app, signal.SIGKILL)


def test_a_way_in_that_is_killed_is_opened_again_on_the_same_port(node):
    process = node.start()
    where = node.ready()
    os.kill(node.front(process), signal.SIGKILL)

    def again():
        with contextlib.suppress(OSError, StopIteration):
            return node.ask(where)

    assert until(again).endswith(b"xx")


def test_sigterm_to_the_whole_job_leaves_the_way_in_open_until_the_app_has_ended(node):
    gate = node.home / "gate"
    slow = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('saving', flush=True))\n"
    command = echo()
    process = node.start((*command[:4], slow + command[4], command[5]), environment={"GATE": str(gate)}, grace=3)
    where = node.ready()
    front = node.front(process)
    for pid in (process.pid, front):
        os.kill(pid, signal.SIGTERM)
    until(lambda: "saving" in (node.home / "job" / "app.log").read_text())
    assert node.ask(where).endswith(b"xx")
    process.wait(20)
    assert node.hub.wait("ended")["told"] is True
    with pytest.raises(OSError):
        node.dial(where)


def test_an_invalid_certificate_is_reported_as_a_message(node):
    from msgspec.structs import replace

    process = node.start(passport=replace(node.authority.passport(ATTEMPT), key="rubbish"))
    report = node.hub.wait("failed")
    assert report["code"] == "certificate"
    assert "Traceback" not in report["message"]
    process.wait(20)


def test_an_address_that_is_not_the_nodes_is_reported_as_a_message(node):
    process = node.start(address="192.0.2.1")
    assert node.hub.wait("failed")["code"] == "address"
    process.wait(20)


def test_the_nodes_own_name_gives_the_address(node):
    """A loopback name that is no machine's own is passed over; SLURMD_NODENAME comes first."""
    node.start(address="", own={"SLURMD_NODENAME": "127.77.3.11"})
    host, port = node.ready()
    assert host == "127.77.3.11"
    assert node.ask((host, port)).endswith(b"xx")


@pytest.mark.parametrize(
    ("known", "towards", "chosen"),
    [
        (["127.0.1.1", "127.77.3.13"], "", "127.77.3.13"),
        (["127.0.1.1"], "127.77.3.14", "127.77.3.14"),
        (["127.0.1.1"], "127.0.0.1", "127.0.1.1"),
        (["192.0.2.7", "127.77.3.15"], "", "127.77.3.15"),  # the first one is not this machine's
        ([], "", "127.0.0.1"),
    ],
)
def test_an_address_that_every_machine_has_is_taken_last(known, towards, chosen, monkeypatch):
    monkeypatch.setattr(addresses, "addresses_of", lambda host: known if host == os.uname().nodename else [])
    monkeypatch.setattr(addresses, "source_towards", lambda url: towards)
    listener = addresses.listen_on_node("", ["https://hub.example.org/"])
    assert listener.getsockname()[0] == chosen
    listener.close()


def test_the_way_to_the_hub_has_an_address():
    for url in ("https://127.0.0.1:8443/x", "http://localhost/x"):
        assert addresses.source_towards(url) == "127.0.0.1"
    assert addresses.source_towards("https://no-such-name.invalid/") == ""


def test_the_starter_says_that_it_runs_and_says_ready_again_and_again(node):
    own = {"SLURMD_NODENAME": "127.77.3.12", "SLURM_JOB_ID": "4711", "SLURM_RESTART_COUNT": "2"}
    node.start(repeat=0.2, own=own)
    running = node.hub.wait("running")
    assert (running["node"], running["native_id"], running["restart"]) == ("127.77.3.12", "4711", 2)
    until(lambda: len([report for report in node.hub.reports if report["kind"] == "ready"]) >= 3)
    node.hub.status, node.hub.body = 404, {"stop": False}
    heard = len(node.hub.reports)
    until(lambda: len(node.hub.reports) >= heard + 2)


def test_a_hub_that_hangs_does_not_delay_the_app(node):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        node.start(repeat=30, hub_urls=[f"http://127.0.0.1:{deaf.getsockname()[1]}/"])
        begun = time.monotonic()
        until((node.home / "job" / "report.json").exists)
        assert time.monotonic() - begun < 9  # HUB_TIMEOUT is 10


def test_the_time_limit_is_announced_in_the_log_to_the_hub_and_to_an_app_that_asked(node):
    hears = "import signal\nsignal.signal(signal.SIGUSR2, lambda *_: print('saving', flush=True))\n"
    command = echo()
    process = node.start((*command[:4], hears + command[4], command[5]), warning_signal="USR2", warning_seconds=60)
    node.ready()
    process.send_signal(signal.SIGUSR1)
    assert node.hub.wait("warning")["seconds"] == 60
    log = node.home / "job" / "app.log"
    until(lambda: "saving" in log.read_text())
    assert "[towpath] The job's time is over in about 60 seconds." in log.read_text()
    assert process.poll() is None


def test_a_warning_leaves_an_app_alone_that_did_not_ask(node):
    process = node.start(own={"SLURM_JOB_END_TIME": str(int(time.time()) + 3600)})
    where = node.ready()
    process.send_signal(signal.SIGUSR1)
    assert 3000 < node.hub.wait("warning")["seconds"] <= 3600
    assert node.ask(where).endswith(b"xx")


@pytest.mark.parametrize(
    ("slurm_says", "walltime", "seconds"),
    [
        (5000, 60, 5000),
        (None, 3600, 3600),
        (None, 0, None),
        (365 * 86400, 0, None),  # of a job without a limit
    ],
)
def test_a_job_tells_when_its_walltime_ends_where_it_knows(node, slurm_says, walltime, seconds):
    began = time.time()
    own = {} if slurm_says is None else {"SLURM_JOB_END_TIME": str(int(began) + slurm_says)}
    node.start(own=own, walltime=walltime)
    node.ready()
    ends = node.hub.wait("ready").get("ends")
    assert (ends is None) if seconds is None else abs(ends - began - seconds) < 120


def test_the_report_token_goes_over_no_plain_http_where_that_is_not_allowed(node):
    node.start(plain_reports=False)
    until((node.home / "job" / "report.json").exists)
    time.sleep(0.5)
    assert node.hub.reports == []


def test_reports_go_over_https_to_the_hubs_own_listener_and_to_no_other(node):
    """The listener's certificate is of the hub's authority; another authority's is not spoken to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(node.hub_dir / "tls" / "reports.pem")
    plain = node.hub.server.socket
    node.hub.server.socket = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    url = node.hub.url.replace("http:", "https:")
    node.start(plain_reports=False, hub_urls=[url])
    node.ready()

    other = Node()
    try:
        other.start(plain_reports=False, hub_urls=[url])
        until((other.home / "job" / "report.json").exists)
        time.sleep(0.5)
        assert len(node.hub.reports) == 1
    finally:
        other.close()


def held_port():
    """A socket that listens on a port, so that nobody else can."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    return held


def free_pair():
    """(a port that is taken, held by this socket, and the next one, which is free)."""
    for _ in range(100):
        held = held_port()
        port = held.getsockname()[1]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 1))
            except OSError:
                held.close()
            else:
                return held, port
    raise AssertionError("no two ports in a row")


def test_the_way_in_listens_on_a_port_of_the_range_that_is_free(node):
    held, taken = free_pair()
    with held:
        node.start(ports=[taken, taken + 1])
        assert node.ready()[1] == taken + 1


def test_a_range_of_ports_that_are_all_in_use_is_an_error_in_words(node):
    with held_port() as held:
        port = held.getsockname()[1]
        node.start(ports=[port, port])
        report = node.hub.wait("failed")
    assert report["code"] == "ports"
    assert (
        report["message"] == f"All of the ports {port} to {port}, which servers may listen on, are in use on the node."
    )
