"""A controller as a real process on a real store, with jobs on the tests' hosts."""

import json
import signal
from pathlib import Path

from batch.authority.authority import authority_folder, ensure_authority
from batch.ssh.credentials import hub_authority
from tests.batch.apps import app
from tests.batch.rig import Rig, by_attempt
from tests.sshd import MONITOR, Pool

CONFIG = """
[gateway]
internal_url = "https://127.0.0.1:9"

[[cluster]]
name = "lab"
kind = "ssh"
tick = 0.2
start_window = 120
[cluster.ssh]
known_hosts = [{known_hosts}]
monitor_user = "{monitor}"
timeout = 10
{hosts}
"""


class SshRig(Rig):
    """See the module. Jobs cannot report: the controller sees from their folders that they are ready."""

    def __init__(self, folder: Path, url: str, pool: Pool) -> None:
        self.url = url
        self.pool = pool
        self.data_dir = folder / "data"
        self.data_dir.mkdir(mode=0o700)
        self.config = folder / "towpath.toml"
        self.processes = []
        self.log = folder / "controller.log"
        text = CONFIG.format(
            known_hosts=json.dumps(str(pool.known_hosts)),
            monitor=MONITOR,
            hosts="\n".join(host.table() for host in pool.hosts.values()),
        )
        command = ["/usr/bin/python3", *app()[1:]]
        text += f'[[profile]]\nname = "stub"\ncluster = "lab"\ncommand = {json.dumps(command)}\n'
        self.config.write_text(text)
        ensure_authority(self.data_dir)
        pool.trust(hub_authority(authority_folder(self.data_dir)).public_line)

    def jobs(self) -> list[str]:
        """The attempts whose apps run on any host."""
        return list(by_attempt())

    def starters(self, attempt: str) -> list[tuple[str, int]]:
        """(host, pid) of the starters of an attempt, without what they have forked."""
        found = []
        for host in self.pool.hosts.values():
            for path in (host.homes).glob(f"*/.towpath/jobs/{attempt}/job.json"):
                pid = json.loads(path.read_text())["pid"]
                if pid in host.processes(f"towpath-job {attempt}"):
                    found.append((host.name, pid))
        return found

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        for host in self.pool.hosts.values():
            host.stop()  # and all that runs on it
            host.start()
