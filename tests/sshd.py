"""Real sshds for tests: several hosts on this machine, each with a loopback address, processes, homes and a boot of its own.

A host is a PID, mount and UTS namespace, whose first process starts sshd and outlives it: so sshd can be killed while
processes that it started keep running, and a reboot ends all of it and changes the boot id. The network is the machine's own, unless a
host is made with a cuttable link (tests/links.py).
"""

import contextlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.devcluster import users
from deploy.devcluster.layout import Layout
from tests.hub import children, eventually
from tests.links import ADDRESSES, Link
from tests.ports import free_port

MONITOR = "towpath-monitor"
SSHD = "/usr/sbin/sshd"
USERS = users.USERS
HOMES = users.FOLDER / "home"

INIT = """
import json, os, signal, socket, subprocess, sys, time
facts = json.loads(sys.argv[1])
def mount(*words):
    subprocess.run(["mount", *words], check=True)
socket.sethostname(facts["name"])
mount("-t", "proc", "-o", facts["proc"], "proc", "/proc")
mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
os.mkdir("/run/sshd")
mount("--bind", facts["boot"], "/proc/sys/kernel/random/boot_id")
mount("--bind", facts["homes"], facts["home_folder"])
for source, place in facts["binds"]:
    mount("--bind", source, place)
log = open(facts["log"], "ab", buffering=0)
sshd = None
def start(*_):
    global sshd
    sshd = subprocess.Popen(facts["sshd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=facts["env"])
signal.signal(signal.SIGHUP, start)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
start()
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.02)
"""

# sshd takes the first value of a key, except for MaxStartups: of that the last.
CONFIG = """\
MaxStartups 100:30:200
{more}
ListenAddress {address}
Port {port}
HostKey {folder}/hostkey
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile .ssh/authorized_keys
TrustedUserCAKeys {pool}/user_ca.pub
MaxSessions 50
UseDNS no
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""


class Host:
    """One host of a pool."""

    def __init__(self, pool: "Pool", name: str, number: int) -> None:
        self.pool = pool
        self.name = name
        self.address = f"127.78.{pool.number}.{number}"
        self.port = free_port()
        self.folder = pool.folder / name
        self.homes = self.folder / "homes"
        self.binds: list[tuple[str, str]] = []
        self.sshd_path = "/usr/bin:/bin"
        self.proc = "rw"
        self.link: Link | None = None
        self.log = self.folder / "sshd.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir()
        self.homes.mkdir()
        for user in (*USERS, MONITOR):
            self.make_home(user)
        self.new_host_key()
        self.configure()
        self.new_boot()

    def make_home(self, user: str) -> Path:
        """An empty home on this host."""
        home = self.homes / user
        home.mkdir(mode=0o700, exist_ok=True)
        shutil.chown(home, user, user)
        return home

    def new_host_key(self) -> None:
        """Give the host another key; it is used from the next start of sshd on."""
        key = self.folder / "hostkey"
        for path in (key, Path(f"{key}.pub")):
            path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)

    @property
    def public_key(self) -> str:
        """The line of the host's public key, without its comment."""
        return " ".join((self.folder / "hostkey.pub").read_text().split()[:2])

    @property
    def known_hosts_line(self) -> str:
        return f"[{self.name}]:{self.port} {self.public_key}\n"

    def configure(self, more: str = "") -> None:
        """Write sshd's configuration, with these lines in front; used from the next start of sshd on."""
        text = CONFIG.format(more=more, address=self.address, port=self.port, folder=self.folder, pool=self.pool.folder)
        (self.folder / "sshd_config").write_text(text)

    def new_boot(self) -> None:
        """Another boot id."""
        raw = secrets.token_hex(16)
        id_ = "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))
        (self.folder / "boot_id").write_text(id_ + "\n")

    # --- the machine

    def start(self) -> "Host":
        """Boot, and wait until sshd listens."""
        facts = {
            "name": self.name,
            "proc": self.proc,
            "boot": str(self.folder / "boot_id"),
            "homes": str(self.homes),
            "home_folder": str(HOMES),
            "binds": self.binds,
            "log": str(self.log),
            "sshd": [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
            "env": {"PATH": self.sshd_path},
        }
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--propagation", "private"]
        if self.link is not None:
            unshare = [*self.link.inside("host"), *unshare]
        self.process = subprocess.Popen(
            [*unshare, "/usr/bin/python3", "-I", "-S", "-c", INIT, json.dumps(facts)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return self.wait()

    def wait(self) -> "Host":
        """Wait until sshd listens."""
        eventually(self.listens, what=f"sshd of {self.name}")
        return self

    def listens(self) -> bool:
        if self.link is not None:
            return self.link.run("hub", self._answers)
        return self._answers()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0

    @property
    def init(self) -> int:
        """The pid of the host's first process, as this machine sees it."""
        assert self.process is not None
        return children(self.process.pid)[0][0]

    def sshds(self) -> list[int]:
        """The pids of the listening sshd and of those that it has forked, as this machine sees them."""
        found, level = [], [self.init]
        while level:
            level = [pid for parent in level for pid, line in children(parent) if "sshd" in line]
            found += level
        return found

    def kill_sshd(self) -> None:
        """SIGKILL for sshd and all its connections; other processes of the host go on."""
        for pid in self.sshds():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.listens(), what="the end of sshd")

    def start_sshd(self) -> None:
        """Start sshd again on a host that runs."""
        os.kill(self.init, signal.SIGHUP)
        self.wait()

    def restart_sshd(self) -> None:
        self.kill_sshd()
        self.start_sshd()

    def stop(self) -> None:
        """Switch the host off: everything on it ends at once."""
        if self.process is not None:
            with contextlib.suppress(IndexError, ProcessLookupError):
                os.kill(self.init, signal.SIGKILL)
            self.process.wait(30)  # the kernel reports the end of the first process when all others have ended
            self.process = None

    def reboot(self) -> None:
        self.stop()
        self.new_boot()
        self.start()

    # --- on the machine

    def inside(self, user: str = "root") -> list[str]:
        """Return the arguments that run a command on the host as a user."""
        become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        return ["nsenter", f"--target={self.init}", "--pid", "--mount", "--uts", "--", *become]

    def inner_pid(self, pid: int) -> int:
        """The pid, as the host sees it, of a process that was entered by nsenter: of its child, or of itself."""
        pids = [child for child, _ in children(pid)] or [pid]
        status = Path(f"/proc/{pids[0]}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])

    def run(self, *argv: str, user: str = "root", check: bool = True, env: dict[str, str] | None = None) -> str:
        """Run a command on the host, not by SSH; what it printed."""
        done = subprocess.run(
            [*self.inside(user), *argv],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})},
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def processes(self, part: str) -> list[int]:
        """The pids, as the host sees them, of processes with this in their command line."""
        rows = [row.split(None, 1) for row in self.run("ps", "-eo", "pid=,args=", "-ww").splitlines()]
        return [int(row[0]) for row in rows if len(row) > 1 and part in row[1] and not row[1].startswith("ps ")]

    def table(self, **more: object) -> str:
        """The host's table in towpath.toml."""
        facts = {"name": self.name, "address": self.address, "port": self.port, **more}
        return "[[cluster.ssh.host]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items())


def claim() -> tuple[int, socket.socket]:
    """Return a number, from 0 to 249, that no other pool of this machine has while the socket is open."""
    for number in itertools.count():
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0towpath-sshd:{number % 250}")
        except OSError:
            held.close()
            assert number < 250, "other tests have all the numbers of pools"
        else:
            return number, held
    raise AssertionError


class Pool:
    """Hosts that share users, and a folder."""

    def __init__(self, names: Sequence[str] = ("gpu1", "gpu2")) -> None:
        self.number, self._claim = claim()
        self.folder = Path(tempfile.mkdtemp(prefix="towpath-sshd-"))
        self.folder.chmod(0o755)  # what users run is here too
        folder = self.folder
        # users.py counts on a note per cluster, and on a marker in its folder
        self.layout = Layout(folder=folder, number=1000 + self.number)
        self.layout.marker.write_text(f"{self.layout.number}\n")
        users.provide(self.layout, MONITOR)
        self.trust("")
        self.hosts = {name: Host(self, name, 11 + number) for number, name in enumerate(names)}
        self.known_hosts = folder / "known_hosts"
        self.write_known_hosts()

    def trust(self, line: str) -> None:
        """The user authority that all hosts trust (TrustedUserCAKeys)."""
        (self.folder / "user_ca.pub").write_text(line + "\n" if line else "")

    def write_known_hosts(self) -> None:
        self.known_hosts.write_text("".join(host.known_hosts_line for host in self.hosts.values()))

    def start(self) -> "Pool":
        for host in self.hosts.values():
            host.start()
        return self

    def close(self) -> None:
        for host in self.hosts.values():
            host.stop()
        self.layout.marker.unlink(missing_ok=True)
        users.release(self.layout)
        shutil.rmtree(self.folder)
        self._claim.close()


@contextlib.contextmanager
def running(names: Sequence[str] = ("gpu1", "gpu2"), *, homes: Path | None = None) -> Iterator[Pool]:
    """A pool that runs. `homes`: where all hosts have the users' homes; None: each host has homes of its own."""
    pool = Pool(names)
    for host in pool.hosts.values():
        host.homes = homes or host.homes
    try:
        yield pool.start()
    finally:
        pool.close()


@contextlib.contextmanager
def linked(name: str) -> Iterator[Pool]:
    """A pool of one host, behind a link that can be cut. Only threads that have entered the hub's side reach it."""
    pool, link = Pool([name]), Link()
    host = pool.hosts[name]
    host.link, host.address = link, ADDRESSES["host"]
    host.configure()
    try:
        yield pool.start()
    finally:
        pool.close()
        link.close()
