"""Ways in to an app of a test: straight, by a real starter's TLS process, or by SSH through a real sshd.

`with site(name) as way:` gives what leads to sockets; `way.endpoint(path)` is for `tunnel_harness.Worker`.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from batch.authority import Authority, ensure
from batch.authority.authority import authority_folder
from batch.authority.ssh import SSH_USER_CA
from batch.launchers.ssh.kind import SshConfig, SshHostConfig, SshJumpConfig
from batch.launchers.ssh.native_id import Place
from batch.launchers.ssh.passes import PassMaker
from batch.ssh.credentials import HubCertificates, hub_authority
from batch.ssh.host_keys import HostKeyFiles
from state.config.tables import Config, GatewayConfig
from tests import sshd
from tests.ports import free_port

ATTEMPT = "5" * 32
NAME = f"{ATTEMPT}.towpath.internal"
ROOT = Path(__file__).resolve().parents[2]
USER = "alice"
REPORT_TOKEN = "the-token-of-a-report"

RELAY = """
import json, os, socket, sys
from batch.starter.tls_server import serve
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1024)
listener.setblocking(False)
facts = json.load(sys.stdin)
print(listener.getsockname()[1], flush=True)
serve(listener, facts["passport"], {"kind": "unix", "path": facts["path"]}, int(sys.argv[1]), lambda: None)
"""


class Site:
    """A folder for sockets, which belong to the user of the apps, and the hub's certificates."""

    kind = "unix"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="towpath-ways-"))
        self.folder.chmod(0o755)
        self.data_dir = self.folder / "hub"
        self.data_dir.mkdir(mode=0o700)
        ensure(self.data_dir, Config(gateway=GatewayConfig(report_host="127.0.0.1")))
        self.certificate = self.data_dir / "tls" / "gateway.pem"
        self._numbers = itertools.count()

    def socket(self) -> str:
        """The path of a new socket."""
        return str(self.folder / f"app-{next(self._numbers)}.sock")

    def own(self, path: str) -> None:
        """Give a socket to the user of the apps."""
        Path(path).chmod(0o600)

    @contextlib.contextmanager
    def leading_to(self, path: str):
        """The endpoint of a socket, and the options of a worker that needs some."""
        yield ("unix", path), {}

    def close(self) -> None:
        shutil.rmtree(self.folder)


class DirectSite(Site):
    """Mutual TLS to the process that a starter opens for the gateway."""

    @contextlib.contextmanager
    def leading_to(self, path: str):
        passport = Authority.load(self.data_dir).passport(ATTEMPT)
        facts = {name: getattr(passport, name) for name in ("certificate", "key", "authority")}
        read, write = os.pipe()
        relay = subprocess.Popen(
            [sys.executable, "-c", RELAY, str(read)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[read],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(read)
        try:
            relay.stdin.write(json.dumps({"passport": facts, "path": path}).encode())
            relay.stdin.close()
            port = int(relay.stdout.readline())
            yield ("tls", ["127.0.0.1", port, NAME]), {"identity": str(self.data_dir / "tls")}
        finally:
            os.close(write)
            relay.wait(60)
            relay.stdout.close()


DIALLER = """
import json, os, sys
from batch.starter import reverse_pool
from batch.starter.reverse_pool import serve
reverse_pool.LONGEST_PAUSE = 0.05
facts = json.load(sys.stdin)
def note(text):
    print(text, file=sys.stderr, flush=True)
def ready():
    print("ready", flush=True)
serve(facts, {"kind": "unix", "path": facts["path"]}, int(sys.argv[1]), ready, note)
"""


def job_of(data_dir: Path, url: str, path: str, **more) -> dict:
    """The specification of a job whose app listens at this path, for its connections to the hub."""
    passport = Authority.load(data_dir).passport(ATTEMPT)
    return {
        "attempt": ATTEMPT,
        "user": "a",
        "server": "",
        "environment": {},
        "report_token": REPORT_TOKEN,
        "hub_urls": [f"{url}/hub/api/towpath/report"],
        "passport": {name: getattr(passport, name) for name in ("certificate", "key", "authority")},
        "path": path,
        **more,
    }


@contextlib.contextmanager
def dialling(job: dict):
    """The process that a starter starts for a job's connections to the hub."""
    read, write = os.pipe()
    dialler = subprocess.Popen(
        [sys.executable, "-c", DIALLER, str(read)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[read],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(read)
    try:
        dialler.stdin.write(json.dumps(job).encode())
        dialler.stdin.close()
        yield dialler
    finally:
        os.close(write)
        dialler.wait(60)
        dialler.stdout.close()


class ReverseSite(Site):
    """Connections that a starter's process opens to the worker. It is started before the worker is."""

    peers = False

    @contextlib.contextmanager
    def leading_to(self, path: str):
        port = free_port()
        with dialling(job_of(self.data_dir, f"http://127.0.0.1:{port}", path)):
            yield (
                ("reverse", NAME),
                {"reverse": {"identity": str(self.data_dir / "tls"), "port": port, "peers": self.peers}},
            )


class PeerSite(ReverseSite):
    """The same, where the connections wait in one worker and requests arrive in another."""

    peers = True


class SshSite(Site):
    """Channels of an SSH connection as a user, whose sockets nobody else can connect to."""

    def __init__(self, names=("app1",)) -> None:
        super().__init__()
        self.authority = hub_authority(authority_folder(self.data_dir))
        self.authority_text = (authority_folder(self.data_dir) / SSH_USER_CA).read_bytes()
        self.pool = sshd.Pool(names)
        self.pool.trust(self.authority.public_line)
        self.pool.start()
        self.host = self.pool.hosts[names[0]]
        self._given: dict | None = None

    def own(self, path: str) -> None:
        shutil.chown(path, USER, USER)
        Path(path).chmod(0o600)

    @property
    def public_key(self) -> str:
        """The gateway's, as OpenSSH writes it."""
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = certificate.public_key()
        return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()

    def ssh_pass(self, user: str = USER, *, host=None, jump=None, authority=None, **config) -> bytes:
        """A pass to the host, as the launcher makes it, in JSON. `jump`: a host to go through."""
        host = host or self.host
        known_hosts = HostKeyFiles([self.pool.known_hosts])
        through = None
        if jump is not None:
            through = SshJumpConfig(name=jump.name, address=jump.address, port=jump.port)
        settings = SshConfig(
            host=(SshHostConfig(name=host.name, address=host.address, port=host.port),), jump=through, **config
        )
        credentials = HubCertificates(authority or self.authority, hub="tests", seconds=60)
        maker = PassMaker(settings, credentials, known_hosts.read)
        making = maker.make(Place(host=host.name, account=user), self.public_key)
        with ThreadPoolExecutor(1) as thread:  # the caller may be a coroutine
            return msgspec.json.encode(thread.submit(asyncio.run, making).result())

    def options(self, given: bytes) -> dict:
        """The options of a worker which has this pass."""
        path = self.folder / f"pass-{next(self._numbers)}.json"
        path.write_bytes(given)
        return {"ssh": {"certificate": str(self.certificate), "pass": str(path)}}

    @contextlib.contextmanager
    def leading_to(self, path: str):
        if self._given is None:
            self._given = self.options(self.ssh_pass())
            self._given["ssh"]["warm"] = True  # a connection is open, as it is for most requests
        yield ("ssh", path), self._given

    def close(self) -> None:
        self.pool.close()
        super().close()


SITES = {"direct": DirectSite, "ssh": SshSite, "reverse": ReverseSite, "reverse-peer": PeerSite}
