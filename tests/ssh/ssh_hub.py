"""A hub on the tests' hosts: `towpath serve`, which starts each server over SSH as its user."""

from pathlib import Path

from batch.authority.authority import authority_folder, ensure_authority
from batch.ssh.credentials import hub_authority
from tests.cluster.slurm_hub import APPS, STUB_APP, short
from tests.hub import Hub, eventually
from tests.ports import free_port
from tests.sshd import MONITOR, Pool

__all__ = ["APPS", "SshHub", "short"]

CONFIG = """
[gateway]
host = "127.0.0.1"
port = {port}
report_port = {report_port}

[auth]
allowed_users = ["alice", "bob"]
admins = ["carol"]
[[auth.provider]]
name = "test"
kind = "test"

[[cluster]]
name = "lab"
kind = "ssh"
tick = 0.5
start_window = {window}
{cluster}
[cluster.ssh]
known_hosts = ["{known_hosts}"]
monitor_user = "{monitor}"
timeout = 10
{more}
{hosts}
"""

STUBS = """
[[profile]]
name = "stub"
cluster = "lab"
app = "web"
command = ["/usr/bin/python3", "-I", "-S", "{stub}", "{{socket}}"]
default_path = "hello"
[profile.option.host]
title = "Host"
kind = "partition"
[profile.option.gpu]
title = "GPU"
kind = "gpu"
[profile.option.gpus]
title = "Number of GPUs"
kind = "gpus"
[profile.option.cores]
title = "Cores"
kind = "cores"
[profile.option.memory]
title = "Memory"
kind = "memory"

[[profile]]
name = "exits"
cluster = "lab"
app = "web"
command = ["/bin/sh", "-c", "echo the licence server is down; exit 3", "{{socket}}"]
"""

JUPYTERLAB = """
[[profile]]
name = "jupyterlab"
title = "JupyterLab"
cluster = "lab"
command = [
  "{apps}/bin/jupyter", "lab", "--no-browser", "--ServerApp.sock={{socket}}", "--ServerApp.sock_mode=0600",
  "--ServerApp.base_url={{base_path}}", "--ServerApp.allow_remote_access=True",
]
"""


class SshHub(Hub):
    """One run of `towpath serve` on a pool."""

    def __init__(
        self,
        folder: Path,
        pool: Pool,
        *,
        apps: bool = False,
        window: int = 60,
        more: str = "",
        cluster: str = "",
        **rest,
    ) -> None:
        self.pool = pool
        port, report_port = free_port(), free_port()
        text = CONFIG.format(
            port=port,
            report_port=report_port,
            window=window,
            known_hosts=pool.known_hosts,
            monitor=MONITOR,
            more=more,
            cluster=cluster,
            hosts="\n".join(host.table() for host in pool.hosts.values()),
        )
        stub = pool.folder / "stub.py"
        stub.write_text(STUB_APP)
        text += JUPYTERLAB.format(apps=APPS) if apps else STUBS.format(stub=stub)
        super().__init__(folder, config=text, **rest)
        self.port = port
        self.data_dir.mkdir(mode=0o700)
        ensure_authority(self.data_dir)
        pool.trust(hub_authority(authority_folder(self.data_dir)).public_line)

    def as_user(self, name: str):
        """An API client with a token of the user's, who has signed in once."""
        self.browser_of(name).close()
        return self.api(name)

    def start_one(self, api, user: str, name: str = "", **options):
        """Request a server; the answer."""
        where = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        return api.post(where, json=options)

    def server(self, api, user: str, name: str = ""):
        """The server's model, or None."""
        return api.get(f"/users/{user}?include_stopped_servers=1").json()["servers"].get(name)

    def until(self, api, user: str, name: str = "", *, status: str, seconds: float = 60):
        """Wait for a status; the model."""

        def check():
            model = self.server(api, user, name)
            return model if model and model["status"] == status else None

        try:
            return eventually(check, seconds=seconds, what=f"{user}/{name} {status}")
        except AssertionError as error:
            raise AssertionError(self.server(api, user, name)) from error
