"""What bob can try from his own server against alice's and the hub, on one machine. All of it must fail."""

import contextlib
import os
import pwd
import signal
import subprocess
from pathlib import Path

import pytest

from batch.authority import Authority
from tests.batch.launchers.local.making import HOMES
from tests.batch.rig import by_attempt
from tests.hub import children, eventually
from tests.users.users_hub import UsersHub, all_below, all_pids, read, short

FOLDER = ".hostile"
"""The jobs' folder in each home. Other tests use the same accounts and homes at the same time, and the usual folder."""
SERVER_ROLE = '[[role]]\nname = "server"\nscopes = ["users:activity!user", "access:servers!server"]\n'
"""Gives each app a token of the API in its environment: a secret that can be looked for."""


@pytest.fixture
def hub(users):
    """A hub in a folder that is open to every user, so that only its own files' modes protect it."""
    folder = short(users)
    folder.chmod(0o755)
    hub = UsersHub(folder, users, more=f'folder = "~/{FOLDER}"\n{SERVER_ROLE}')
    try:
        yield hub.start()
    finally:
        hub.close()


@pytest.fixture
def alice(hub):
    """A server of alice's: its attempt, its job folder, the pids of its processes."""
    with hub.shell("alice") as run:
        run.attempt = run("import os; print(os.environ['TOWPATH_ATTEMPT'])").strip()
        run.job = HOMES / "alice" / FOLDER / "jobs" / run.attempt
        run.pids = by_attempt()[run.attempt]
        yield run


@pytest.fixture
def bob(hub):
    with hub.shell("bob") as run:
        yield run


OPEN = """
import os, socket, sys
def tried(what, f):
    try: f()
    except OSError: return
    print("open:", what)
for path in sys.argv[1:]:
    tried("list " + path, lambda: os.listdir(path))
    tried("read " + path, lambda: open(path, "rb").read(1))
    tried("write " + path, lambda: open(path, "ab"))
    tried("stat in " + path, lambda: os.stat(path + "/."))
    tried("connect " + path, lambda: socket.socket(socket.AF_UNIX).connect(path))
    tried("put in " + path, lambda: open(path + "/bob", "w"))
    tried("remove " + path, lambda: os.unlink(path))
    tried("move " + path, lambda: os.rename(path, path + "2"))
    tried("change " + path, lambda: os.chmod(path, 0o777))
    tried("link to " + path, lambda: os.link(path, "/var/tmp/towpath-bob-link"))
"""


def test_files_and_sockets_of_alice_and_of_the_hub_are_closed(hub, alice, bob):
    files = [HOMES / "alice", HOMES / "alice" / FOLDER, alice.job, *alice.job.iterdir()]
    assert alice.job / "app.sock" in files
    files += [hub.data_dir, *hub.data_dir.rglob("*")]
    names = {path.name for path in files}
    assert {"authority.key", "gateway.pem", "valkey.sock", "job.json", "owner.json"} <= names
    assert bob(OPEN, *files) == ""


LOOK = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
for pid in map(int, sys.argv[1:]):
    for name in ("environ", "mem", "maps", "io", "stack", "auxv", "syscall", "personality"):
        try: found = open("/proc/%d/%s" % (pid, name), "rb").read(1)
        except OSError: continue
        print(pid, name, found)
    for name in ("fd", "map_files", "fdinfo"):
        try: print(pid, name, os.listdir("/proc/%d/%s" % (pid, name)))
        except OSError: pass
    for name in ("cwd", "root", "exe"):
        try: print(pid, name, os.readlink("/proc/%d/%s" % (pid, name)))
        except OSError: pass
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        try: os.kill(pid, number); print(pid, "signal")
        except PermissionError: pass
    if libc.ptrace(16, pid, 0, 0) == 0: print(pid, "traced")  # PTRACE_ATTACH
    try: os.close(os.pidfd_open(pid)); signal.pidfd_send_signal(os.pidfd_open(pid), 0); print(pid, "pidfd")
    except OSError: pass
"""


def test_processes_of_alice_and_of_the_hub_are_closed(hub, alice, bob):
    owners = {}
    for pid in (*alice.pids, *all_below(hub.process.pid)):
        with contextlib.suppress(OSError):
            owners[pid] = Path(f"/proc/{pid}").stat().st_uid
    bobs = pwd.getpwnam("bob").pw_uid  # a poll looks at his job as him
    assert {os.geteuid(), pwd.getpwnam("alice").pw_uid} <= {*owners.values()}
    assert bob(LOOK, *(pid for pid, owner in owners.items() if owner != bobs)) == ""


SEARCH = """
import os, sys
secrets = [part.encode() for part in sys.argv[1].split()]
for entry in os.listdir("/proc"):
    if entry in ("self", "thread-self", str(os.getpid())): continue  # what is searched for is in our command line
    for name in ("cmdline", "environ", "comm"):
        try: text = open("/proc/%s/%s" % (entry, name), "rb").read()
        except OSError: continue
        if any(secret in text for secret in secrets): print(entry, name)
for top in sys.argv[2:]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.path.getsize(path) > 5000000 or not os.path.isfile(path): continue
                text = open(path, "rb").read()
            except OSError: continue
            if any(secret in text for secret in secrets): print(path)
"""


def test_no_secret_of_alices_server_is_in_a_command_line_or_a_file_that_bob_can_read(hub, alice, bob):
    secret = alice("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    assert len(secret) > 20
    own = bob("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    assert bob(SEARCH, own).split() != []  # the search finds his own
    assert bob(SEARCH, secret, hub.folder, "/dev/shm", "/run", "/var/tmp", HOMES) == ""


def test_bobs_token_of_the_api_says_nothing_of_alice(hub, alice, bob):
    code = """
import json, os, sys, urllib.error, urllib.request
for method, path in (("GET", "/users/alice"), ("DELETE", "/users/alice/server"), ("POST", "/users/alice/servers/x"),
                     ("GET", "/users"), ("POST", "/users/alice/tokens")):
    request = urllib.request.Request(sys.argv[1] + path, method=method, data=b"{}" if method == "POST" else None)
    request.add_header("Authorization", "token " + os.environ["JUPYTERHUB_API_TOKEN"])
    try: print(method, path, urllib.request.urlopen(request).status)
    except urllib.error.HTTPError as error: assert error.code in (403, 404), error
"""
    assert bob(code, f"{hub.origin}/hub/api") == ""
    assert alice("print('on')") == "on\n"


KNOCK = """
import socket, ssl, sys
port, own = int(sys.argv[1]), sys.argv[2]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if own: context.load_cert_chain(own)
try:
    peer = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
    peer.sendall(b"GET /user/alice/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print("got", peer.recv(1000))
except OSError as error:
    print("refused")
"""


def ports_of(pids):
    """The TCP ports of this machine on which these processes listen."""
    listing = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {int(row.split()[3].rsplit(":", 1)[1]) for row in listing if any(f"pid={pid}," in row for pid in pids)}


def starters(attempt):
    """The pids of the starter of an attempt and its helpers."""
    return [pid for pid in all_pids() if attempt.encode() in read(f"/proc/{pid}/cmdline")]


def test_the_port_of_alices_server_lets_in_the_gateway_alone(hub, alice, bob):
    (port,) = ports_of(starters(alice.attempt))
    assert bob(KNOCK, port, "") == "refused\n"
    passport = Authority.load(hub.data_dir).passport("b" * 32)  # such as bob's own server has
    own = HOMES / "bob" / "own.pem"
    own.write_text(passport.certificate + passport.key)
    own.chmod(0o644)
    try:
        assert bob(KNOCK, port, own) in ("refused\n", "got b''\n")
    finally:
        own.unlink()
    assert not ports_of(by_attempt()[alice.attempt]) - {port}  # the app itself listens on no port


def test_reports_about_alices_server_need_its_own_token(hub, alice, bob):
    code = """
import json, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
for token in ("x" * 43, ""):
    for url in sys.argv[1:3]:
        body = {"kind": "ended", "user": "alice", "server": "", "attempt": sys.argv[3], "exit_code": 1, "log_tail": ""}
        request = urllib.request.Request(url, data=json.dumps(body).encode())
        request.add_header("Authorization", "token " + token)
        try: print(urllib.request.urlopen(request, context=context).status)
        except urllib.error.HTTPError as error: assert error.code in (401, 403), error
"""
    path = "/hub/api/towpath/report"
    assert bob(code, hub.origin + path, f"https://127.0.0.1:{hub.report_port}{path}", alice.attempt) == ""
    assert hub.server(alice.api, "alice")["status"] == "ready"


@pytest.mark.parametrize("link", ["folder", "jobs", "starters"])
@pytest.mark.parametrize("target", ["alice", "hub", "root"])
def test_links_of_bobs_lead_the_hub_nowhere(hub, users, alice, link, target):
    """Bob replaces folders of his with links: to alice's, to the hub's, and to one that only root may write to."""
    closed = users / "closed"
    closed.mkdir(exist_ok=True)
    place = {"alice": HOMES / "alice" / FOLDER, "hub": hub.data_dir, "root": closed}[target]
    before = sorted(place.rglob("*"))
    folder = HOMES / "bob" / FOLDER
    path = folder if link == "folder" else folder / link
    subprocess.run(["rm", "-rf", str(path)], check=True)
    if link != "folder":
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, *ids("bob"))
    path.symlink_to(place)
    os.chown(path, *ids("bob"), follow_symlinks=False)
    try:
        with hub.user("bob") as api:
            hub.start_one(api, "bob", profile="stub")
            model = hub.until(api, "bob", status="failed")
            assert "cannot be used" in model["reason"]["message"]
            assert "Traceback" not in str(model)
    finally:
        path.unlink()
    by_bob_or_root = (0, ids("bob")[0])
    new = [one for one in sorted(place.rglob("*")) if one not in before and hub.data_dir not in one.parents]
    assert not [one for one in new if one.lstat().st_uid in by_bob_or_root]
    assert not [one for one in place.rglob("*") if one.lstat().st_uid == ids("bob")[0]]
    assert alice("print('on')") == "on\n"


def ids(user):
    """User and group id."""
    facts = (HOMES / user).stat()
    return facts.st_uid, facts.st_gid


def replace_controller(hub):
    """Kill the controller, and wait for the next one, which knows only what it finds."""
    first = hub.child("batch controller")
    os.kill(first, signal.SIGKILL)

    def others():
        return [pid for pid, line in children(hub.process.pid) if "batch controller" in line and pid != first]

    eventually(others, what="the next controller")


FORGE = """
import json, os, subprocess, sys
attempt, victim = sys.argv[1:3]
home = os.path.expanduser("~")
jobs = home + "/.hostile/jobs/"
os.makedirs(jobs + victim, 0o700, exist_ok=True)
mine = os.environ["TOWPATH_ATTEMPT"]
for name in ("owner.json", "report.json"):
    text = open(jobs + mine + "/" + name).read().replace(mine, victim)
    open(jobs + victim + "/" + name, "w").write(text)
fake = subprocess.Popen(["/bin/sh", "-c", "sleep 600; exit 1", "towpath-job", victim, "c1,m1,g"],
    start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
stat = open("/proc/%d/stat" % fake.pid).read().rsplit(")", 1)[1].split()
job = {"attempt": victim, "pid": fake.pid, "start": int(stat[19]), "boot": open("/proc/sys/kernel/random/boot_id").read().strip()}
open(jobs + victim + "/job.json", "w").write(json.dumps(job))
open(jobs + victim + "/canceled", "w").close()
print(fake.pid)
"""


def test_a_process_and_a_folder_that_claim_to_be_alices_server_change_nothing(hub, alice, bob):
    pid = int(bob(FORGE, "", alice.attempt))
    try:
        before = hub.server(alice.api, "alice")
        replace_controller(hub)
        with hub.shell("carol") as carol:  # it has polled, and works
            assert carol("print(1)") == "1\n"
        after = hub.server(alice.api, "alice")
        assert {**after, "last_activity": ""} == {**before, "last_activity": ""}
        assert alice("print('on')") == "on\n"
        alice.api.delete("/users/alice/server")
        hub.until(alice.api, "alice", status="stopped")
        assert Path(f"/proc/{pid}").exists(), "bob's process is bob's, whatever it says"
    finally:
        os.killpg(pid, signal.SIGKILL)
    assert hub.server(bob.api, "bob")["status"] == "ready"


BREAK = """
import json, os, sys
job = os.path.expanduser("~/.hostile/jobs/") + os.environ["TOWPATH_ATTEMPT"]
for name in ("report.json", "job.json", "owner.json", "canceled"):
    try: os.unlink(job + "/" + name)
    except FileNotFoundError: pass
    os.symlink(sys.argv[1], job + "/" + name)
"""


def test_links_in_the_folder_of_a_running_server_are_not_followed_and_harm_their_own_user_at_most(hub, alice, bob):
    attempt = bob("import os; print(os.environ['TOWPATH_ATTEMPT'])").strip()
    bob(BREAK, hub.data_dir / "authority" / "authority.key")
    replace_controller(hub)
    with hub.shell("carol") as carol:
        assert carol("print(1)") == "1\n"
    assert (hub.data_dir / "authority" / "authority.key").read_text().startswith("-----BEGIN")
    eventually(lambda: not by_attempt().get(attempt), what="the end of the server that its user hid from the hub")
    assert alice("print('on')") == "on\n"


def test_a_control_group_is_not_its_users_to_leave_or_to_change(hub, bob):
    code = """
import os, sys
for folder in sys.argv[1:]:
    for name in os.listdir(folder):
        path = folder + "/" + name
        if os.access(path, os.W_OK): print("open:", path)
    for name in ("cgroup.procs", "../cgroup.procs", "../../cgroup.procs", "tasks"):
        try: open(folder + "/" + name, "w").write(str(os.getpid())); print("moved by", name)
        except OSError: pass
    try: os.mkdir(folder + "/mine"); print("made a group")
    except OSError: pass
"""
    attempt = bob("import os; print(os.environ['TOWPATH_ATTEMPT'])").strip()
    groups = list(Path("/sys/fs/cgroup").glob(f"*/towpath/{attempt}"))
    groups += list(Path("/sys/fs/cgroup").glob(f"towpath/{attempt}"))
    assert bob(code, *groups) == ""
