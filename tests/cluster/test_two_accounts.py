"""The setup that docs/running.md recommends first: the controller as root, the gateway under its own account.

Each has its own data directory, and they share a store, as on two hosts.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from batch.authority import Authority, joining
from deploy.devcluster import hub as offered
from state.records.joining import RenewedCertificates
from state.store.all import Store
from tests.accounts import account, as_account, program
from tests.cluster.slurm_hub import SlurmHub
from tests.conftest import run
from tests.hub import eventually
from tests.ports import free_port

GATEWAY = "towpath-restd"  # an account of the cluster's with no rights of its own

APP = """
import json, os, socket, sys
# Answers every request with who and where it is. No braces: they would be placeholders.
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(64)
while True:
    connection, _ = server.accept()
    while connection.recv(65536)[-4:] != b"\\r\\n\\r\\n":
        pass
    body = json.dumps(dict(uid=os.getuid(), node=socket.gethostname())).encode()
    head = "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
    connection.sendall((head % len(body)).encode() + body)
    connection.close()
"""
PROFILE = f"""
[[profile]]
name = "stub"
cluster = "devcluster"
app = "web"
command = ["/usr/bin/python3", "-I", "-S", "-c", '''{APP}''', "{{socket}}"]
{offered.FIELDS}
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes two accounts")


class PartedHub(SlurmHub):
    """A gateway and a controller, two accounts, two data directories, one store."""

    def __init__(self, folder, slurm, server, password):
        super().__init__(folder, slurm)
        self.argv, self.more = program()
        folder.chmod(0o711)
        self.redis_url = f"redis://:{password}@127.0.0.1:{server.port}/0"
        secret = folder / "redis.url"
        secret.write_text(self.redis_url + "\n")
        self.hand_over(secret, 0o640)
        text = offered.config(slurm.layout, apps=folder, port=self.port, report_port=free_port())
        text = text[: text.index("[[profile]]")].replace("[auth]", '[state]\nredis_url_file = "redis.url"\n[auth]')
        self.config.write_text(text + PROFILE)
        self.hand_over(self.config, 0o640)
        self.data_dir, self.controllers_dir = folder / "gateway", folder / "controller"
        self.data_dir.mkdir(mode=0o700)
        os.chown(self.data_dir, account(GATEWAY).pw_uid, account(GATEWAY).pw_gid)
        self.controllers_dir.mkdir(mode=0o700)
        self.controller = None
        self.log = folder / "controller.log"

    @staticmethod
    def hand_over(path, mode):
        os.chown(path, 0, account(GATEWAY).pw_gid)
        path.chmod(mode)

    def environment(self):
        kept = {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8"}
        return {**kept, **self.more, "TOWPATH_TEST_LOGS": os.environ.get("TOWPATH_TEST_LOGS", "")}

    def towpath(self, *words, as_gateway=False):
        """Return the argv of a command, and how to start it."""
        data_dir = self.data_dir if as_gateway else self.controllers_dir
        argv = [*self.argv, *words, "--config", str(self.config), "--data-dir", str(data_dir)]
        who = as_account(GATEWAY) if as_gateway else {}
        return argv, {"cwd": "/", "env": self.environment(), "text": True, **who}

    def start_gateway(self):
        argv, how = self.towpath("gateway", "--workers", "1", as_gateway=True)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        self.output.extend(line.rstrip() for line in self.process.stdout)

    def start_controller(self):
        argv, how = self.towpath("controller")
        with self.log.open("ab") as log:
            self.controller = subprocess.Popen(argv, stdout=log, stderr=log, **how)

    def logged(self, words):
        return any(words in line for line in self.output)

    def join(self):
        """Join with the one documented command: one account's output is the other's input."""
        argv, how = self.towpath("controller", "invite")
        invite = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
        argv, how = self.towpath("gateway", "join", as_gateway=True)
        done = subprocess.run(argv, stdin=invite.stdout, capture_output=True, timeout=120, **how)
        invite.stdout.close()
        said = invite.stderr.read()
        invite.stderr.close()
        assert invite.wait(60) == 0, said
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self, *args):
        super().stop(*args)
        if self.controller is not None and self.controller.poll() is None:
            self.controller.terminate()
            self.controller.wait(60)

    def files(self):
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def hub(slurm, make_store_server):
    password = secrets.token_hex(16)
    server = make_store_server("valkey", port=free_port(), options=("--requirepass", password))
    folder = Path(tempfile.mkdtemp(prefix="towpath-two-", dir="/tmp"))  # accessed by three accounts
    hub = PartedHub(folder, slurm, server, password)
    yield hub
    hub.close()
    server.kill()
    shutil.rmtree(folder)


def test_a_gateway_and_a_controller_of_two_accounts_share_one_authority(hub):
    # check creates nothing, with either account
    before = hub.files()
    for as_gateway in (True, False):
        argv, how = hub.towpath("check", as_gateway=as_gateway)
        done = subprocess.run(argv, capture_output=True, timeout=120, **how)
        assert "no certificates yet" in done.stdout, done.stdout + done.stderr
        assert "not created yet" in done.stdout
    assert hub.files() == before

    # without a certificate the gateway waits, and creates none
    hub.start_gateway()
    eventually(lambda: hub.logged("This gateway has no certificates yet"), what="the gateway's sentence")
    assert hub.logged("towpath gateway join")
    assert not hub.logged("Towpath is ready")
    assert not list(hub.data_dir.rglob("*.key"))
    hub.start_controller()
    eventually(lambda: "manages the servers now" in hub.log.read_text(), what="a leader")

    # one command
    assert "has joined" in hub.join()
    eventually(lambda: hub.logged("Towpath is ready"), what="the ready line")
    assert [path.name for path in hub.folder.rglob("authority.key")] == ["authority.key"]
    mine = {path.name: path.stat() for path in (hub.data_dir / "tls").iterdir()}
    assert {facts.st_mode & 0o777 for facts in mine.values()} == {0o600}
    assert {facts.st_uid for facts in mine.values()} == {account(GATEWAY).pw_uid}

    # a server of alice's, through the gateway
    alice = hub.as_user("alice")
    assert hub.start_one(alice, "alice", profile="stub", partition="cpu").status_code in (201, 202)
    hub.until(alice, "alice", status="ready")
    browser = hub.browser_of("alice")
    said = browser.get("/user/alice/hello").json()
    assert (said["uid"], said["node"]) == (account("alice").pw_uid, "cn1")

    # the certificate is renewed under the running gateway
    pem = hub.data_dir / "tls" / "gateway.pem"
    old = pem.read_bytes()

    async def renew():
        store = await Store.open(hub.redis_url)
        try:
            authority = Authority.load(hub.controllers_dir)
            ((gateway_id, held),) = (await store.joining.joined()).items()
            fresh, reports = joining.signed(authority, held.gateway_request, held.reports_request)
            new = RenewedCertificates(authority=authority.pem.decode(), gateway=fresh, reports=reports)
            await store.joining.renew(gateway_id, new)
        finally:
            await store.close()

    run(renew())
    eventually(lambda: pem.read_bytes() != old, what="the renewed certificate")
    assert pem.stat().st_uid == account(GATEWAY).pw_uid
    hub.start_one(alice, "alice", "second", profile="stub", partition="cpu")
    hub.until(alice, "alice", "second", status="ready")  # another node's certificate, another handshake
    assert browser.get("/user/alice/second/hello").json()["uid"] == account("alice").pw_uid
    browser.close()
    for name in ("", "second"):
        alice.delete(f"/users/alice/servers/{name}" if name else "/users/alice/server")
    alice.close()


def test_the_accounts_of_the_gateway_and_of_users_can_read_only_their_own_files(hub):
    hub.start_gateway()
    hub.start_controller()
    eventually(lambda: "manages the servers now" in hub.log.read_text(), what="a leader")
    hub.join()
    code = "import sys\nfor p in sys.argv[1:]:\n    try: open(p); print(p)\n    except OSError: pass"
    authority = [hub.controllers_dir / "authority" / name for name in ("authority.key", "seal.key")]
    certificates = [hub.data_dir / "tls" / name for name in ("gateway.pem", "reports.pem")]
    secret = [hub.folder / "redis.url", hub.config]
    for who, paths in ((GATEWAY, authority), ("alice", [*authority, *certificates, *secret])):
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", code, *paths], capture_output=True, text=True, cwd="/", **as_account(who)
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    argv, how = hub.towpath("controller", "invite", as_gateway=True)
    done = subprocess.run(argv, capture_output=True, timeout=60, **how)
    assert done.returncode == 1  # an account without the authority cannot invite
    assert "Start the controller, which creates it" in done.stderr
