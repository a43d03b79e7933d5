"""What bob can do about alice's server: from his browser, with his tokens, and from his own jobs on her node."""

import asyncio
import json
import pwd
import re
import socket
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.cluster.faulty import FaultyHub, clear, short
from tests.hub import eventually

pytestmark = pytest.mark.faults

PROBE = """
import glob, json, os, socket, ssl, subprocess, sys
# Everything that another user of the node can try. Reports the results.
asked = json.load(open("towpath-probe.json"))
told = dict(node=os.environ["SLURMD_NODENAME"], read=[], signalled=[], seen="")

def knock(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    try:
        raw = socket.create_connection((asked["host"], asked["port"]), 10)
        with context.wrap_socket(raw, server_hostname=asked["name"]) as peer:
            peer.sendall(b"GET /user/alice/hello HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            return peer.recv(1000).decode("latin-1")
    except OSError as error:
        return "refused: " + type(error).__name__

told["without"] = knock("")
told["with his own"] = knock("towpath-own.pem")
try:
    with socket.socket(socket.AF_UNIX) as app:
        app.connect(asked["socket"])
    told["socket"] = "open"
except OSError as error:
    told["socket"] = type(error).__name__
for pid in asked["pids"]:
    for what in ("environ", "mem", "maps", "fd", "cwd", "exe"):
        path = "/proc/%d/%s" % (pid, what)
        try:
            if what == "fd":
                got = os.listdir(path)
            elif what in ("cwd", "exe"):
                got = os.readlink(path)
            else:
                got = open(path, "rb").read(1)
            if got:  # what has just ended has nothing to hide
                told["read"].append(path)
        except OSError:
            pass
    try:
        told["seen"] += open("/proc/%d/cmdline" % pid).read()
        os.kill(pid, 0)
        told["signalled"].append(pid)
    except OSError:
        pass
for path in asked["files"]:
    try:
        told["seen"] += open(path, "rb").read().decode("latin-1")
        told["read"].append(path)
    except OSError:
        pass
for command in asked["commands"]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    told["seen"] += done.stdout.decode("latin-1")
with open("towpath-told.tmp", "w") as file:
    json.dump(told, file)
os.rename("towpath-told.tmp", "towpath-told.json")
"""


@pytest.fixture(scope="module")
def hub(slurm_session, short_folder):
    hub = FaultyHub(short(short_folder), slurm_session).start()
    hub.settled()
    yield hub
    hub.close()


@pytest.fixture
def users(slurm, hub):
    with closing(hub.user("alice")) as alice, closing(hub.user("bob")) as bob:
        yield alice, bob
        clear(hub, alice, bob)


def specification(slurm, job, user=""):
    """Return what the starter of a job was given, from its script."""
    script = slurm.run("scontrol", "write", "batch_script", job, "-", user=user)
    text = re.search(
        r"<<'TOWPATH_END_OF_SPECIFICATION'\n.*?\nTOWPATH_END_OF_STARTER\n(.*?)\nTOWPATH_END_OF_SPEC", script, re.DOTALL
    )
    return json.loads(text[1])


def secrets_of(specification):
    """Return the secrets that nobody else may ever see."""
    found = [specification["report_token"], *specification["passport"]["key"].splitlines()[1:-1]]
    assert all(len(secret) > 20 for secret in found[:2])
    return found


def processes_of(user):
    uid, found = pwd.getpwnam(user).pw_uid, []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                found.append(int(entry.name))
    return found


def listener_of(slurm, job, node):
    """Return the port on the node's address at which a job listens: the only one that her processes have there."""
    address = slurm.address(node)
    wanted = bytes(reversed(socket.inet_aton(address))).hex().upper()
    uid = str(pwd.getpwnam("alice").pw_uid)
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (port,) = {int(row[1][9:], 16) for row in rows if row[1].startswith(wanted) and row[3] == "0A" and row[7] == uid}
    return address, port


def test_bob_has_no_access_to_alices_server_by_browser_and_api(hub, users):
    alice, bob = users
    alice.start()
    alice.until("ready")
    before = alice.answers()
    bob.start()
    bob.until("ready")

    for path in ("/users/alice", "/users/alice/server", "/users/alice/server/progress", "/users/alice/tokens"):
        answer = bob.api.get(path)
        assert answer.status_code in (403, 404), path
        assert "towpath-" not in answer.text
    listed = bob.api.get("/users")
    assert listed.status_code == 403 or [user["name"] for user in listed.json()] == ["bob"]
    for answer in (bob.api.post("/users/alice/server", json={}), bob.api.delete("/users/alice/server")):
        assert answer.status_code in (403, 404)
    for path in ("/hub/spawn-pending/alice", "/hub/spawn/alice", "/hub/stop/alice"):
        assert bob.browser.get(path).status_code in (403, 404), path
    assert bob.browser.post("/hub/stop/alice").status_code in (403, 404)
    for path in ("hello", "", "api/contents"):
        assert bob.browser.get(alice.url() + path).status_code == 403
        with httpx.Client(base_url=hub.origin, headers=dict(bob.api.headers)) as client:
            assert client.get(alice.url() + path).status_code == 403
    for dots in ("/user/bob/../alice/hello", "/user/bob/%2e%2e/alice/hello", "/user/bob//..//alice/hello"):
        with socket.create_connection(("127.0.0.1", hub.port), 10) as line:
            cookie = "; ".join(f"{name}={value}" for name, value in bob.browser.cookies.items())
            head = f"GET {dots} HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
            line.sendall(head.encode())
            said = b"".join(iter(lambda line=line: line.recv(65536), b""))
            assert f'"pid": {before["pid"]}'.encode() not in said, dots

    async def talk():
        cookie = "; ".join(f"{name}={value}" for name, value in bob.browser.cookies.items())
        where = f"ws://127.0.0.1:{hub.port}{alice.url()}ws"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(where, proxy=None, origin=hub.origin, additional_headers={"Cookie": cookie}):
                pass
        assert refused.value.response.status_code == 403

    asyncio.run(talk())
    assert alice.app() == before
    assert bob.answers()["pid"] != before["pid"]


def test_bob_has_no_access_to_alices_server_by_jobs_on_her_node(slurm, hub, users):
    alice, bob = users
    alice.start()
    alice.until("ready")
    before = alice.answers()
    bob.start()
    bob.until("ready")
    mine = bob.answers()
    attempt = alice.attempt()
    hers = specification(slurm, before["job"])
    his = specification(slurm, mine["job"], user="bob")  # he may read his own
    secrets = secrets_of(hers)
    home = Path(pwd.getpwnam("bob").pw_dir)
    account = pwd.getpwnam("bob")
    host, port = listener_of(slurm, before["job"], before["node"])
    folder = Path(pwd.getpwnam("alice").pw_dir, ".towpath/jobs", attempt)
    spool = slurm.layout.state
    scripts = [path for path in spool.rglob("*script*") if path.is_file()]
    files = [str(path) for path in scripts if re.search(rf"job[._]?0*{before['job']}/", str(path))]
    assert len(files) == 2, "slurmctld's, and the node's"
    files += [str(path) for path in folder.rglob("*") if path.is_file()]
    files += [str(path) for path in hub.data_dir.rglob("*") if path.is_file()]
    asked = {
        "host": host,
        "port": port,
        "name": f"{attempt}.towpath.internal",
        "socket": str(next(iter(folder.glob("*.sock")), folder / "app.sock")),
        "pids": processes_of("alice"),
        "files": files,
        "commands": [
            ["scontrol", "write", "batch_script", before["job"], "-"],
            ["scontrol", "show", "job", "--details", before["job"]],
            ["squeue", "-h", "-O", "Comment:2000,Command:500"],
            ["sacct", "-nP", "--allusers", "--batch-script", "--jobs", before["job"]],
            ["sacct", "-nP", "--allusers", "--format=JobID,JobName,Comment%2000,SubmitLine"],
            ["scancel", before["job"]],
            ["scontrol", "requeue", before["job"]],
            ["scontrol", "update", f"JobId={before['job']}", "Comment=mine"],
            ["srun", "--overlap", f"--jobid={before['job']}", "true"],
        ],
    }
    assert asked["pids"]
    for name, text in (
        ("towpath-probe.json", json.dumps(asked)),
        ("towpath-own.pem", his["passport"]["certificate"] + his["passport"]["key"]),
    ):
        (home / name).write_text(text)
    try:
        (home / "towpath-probe.json").chmod(0o644)
        (home / "towpath-own.pem").chmod(0o644)
        slurm.sbatch(
            f"--nodelist={before['node']}",
            "--mem=100M",
            f"--export=ALL,SLURM_CONF={slurm.slurm_conf}",
            script=f"#!/usr/bin/python3\n{PROBE}",
            user="bob",
        )
        told = json.loads(
            eventually(
                lambda: (home / "towpath-told.json").exists() and (home / "towpath-told.json").read_text(),
                seconds=120,
                what="what bob's probe told",
            )
        )
    finally:
        for path in home.glob("towpath-*"):
            path.unlink()
    assert account.pw_uid != 0
    assert told["node"] == before["node"]
    for how in ("without", "with his own"):
        assert told[how] == "" or told[how].startswith("refused"), (how, told[how])
    assert told["socket"] in ("PermissionError", "FileNotFoundError")
    assert told["read"] == []
    assert told["signalled"] == []
    assert f"JobId={before['job']} JobName=towpath-{attempt}" in told["seen"], "he sees that a job exists"
    for secret in secrets:
        assert secret not in told["seen"]

    # The report token of his own job is not valid for hers.
    def report(**more):
        body = {"user": "alice", "server": "", "attempt": attempt, "kind": "ended", "exit_code": 0, **more}
        with httpx.Client(verify=False) as client:
            token = his["report_token"]
            return client.post(his["hub_urls"][0], json=body, headers={"Authorization": f"token {token}"})

    endpoint = {"kind": "tls", "host": slurm.address("cn2"), "port": 9}
    for more in ({}, {"kind": "ready", "endpoint": endpoint}, {"kind": "running", "node": "cn2", "restart": 7}):
        assert report(**more).status_code in (401, 403, 404, 409), more
    # And a copy of her job's name and comment does not become a server.
    comment = re.search(r"Comment=(.*)", slurm.run("scontrol", "show", "job", before["job"]))[1]
    name = f"--job-name=towpath-{attempt}"
    copy = slurm.sbatch(name, f"--comment={comment}", "--mem=100M", script="#!/bin/sh\nsleep 60\n", user="bob")
    eventually(lambda: slurm.state(copy) == "RUNNING", what="bob's copy")
    servers = set(bob.models())
    eventually(lambda: slurm.field(copy, "RunTime") > "00:00:04", what="some ticks")
    assert slurm.state(copy) == "RUNNING", "it is his, so the hub must not cancel it"
    slurm.run("scancel", copy, user="bob")
    eventually(lambda: slurm.state(copy) == "CANCELLED", what="the copy's end")
    assert set(bob.models()) == servers
    assert alice.app() == before
    assert alice.model()["status"] == "ready"
    assert alice.model()["node"] == before["node"]
