"""The hub on the development cluster: its configuration and its daemon.

Owns which profiles the hub has and for which users. Does not know how Slurm is started.
"""

import http.client
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deploy.devcluster.daemons import Daemon
from deploy.devcluster.layout import Layout

NAME = "towpath"
PORT, REPORT_OFFSET = 8000, 31
APPS = Path("/var/tmp/towpath-apps")  # noqa: S108 - root's own, created by apps/install.sh
USERS = ("alice", "bob")
ADMINS = ("carol",)

CONFIG = """\
# The hub of the development cluster. Every user of this machine can sign in as any user: it is for development only.
[gateway]
host = "127.0.0.1"
port = {port}
report_port = {report_port}

[auth]
allowed_users = [{users}]
admins = [{admins}]
[[auth.provider]]
name = "test"
kind = "test"

[[cluster]]
name = "devcluster"
kind = "slurm"
start_window = 180
[cluster.slurm]
client = "{client}"
submit_as = "setuid"
conf = "{conf}"
bin_dir = "{bin_dir}"
catalog_seconds = 10
{more}
"""

FIELDS = """\
[profile.option.partition]
title = "Partition"
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
default = 1
[profile.option.memory]
title = "Memory"
kind = "memory"
default = "1G"
[profile.option.walltime]
title = "Time limit"
kind = "walltime"
default = "01:00:00"
[profile.option.account]
title = "Account"
kind = "account"
[profile.option.qos]
title = "QOS"
kind = "qos"
"""


class Profile(NamedTuple):
    """One app. `{apps}` in its command is the folder of the programs."""

    name: str
    title: str
    description: str
    app: str
    default_path: str
    command: tuple[str, ...]
    strip_prefix: bool = False

    def text(self, apps: Path) -> str:
        """Return its [[profile]] table. JSON strings and lists are also valid TOML."""
        command = [part.replace("{apps}", str(apps / "bin")) for part in self.command]
        lines = {"name": self.name, "title": self.title, "description": self.description, "cluster": "devcluster"}
        lines |= {"app": self.app, "default_path": self.default_path}
        keys = [f"{key} = {json.dumps(value)}" for key, value in lines.items()]
        keys.append(f"strip_prefix = {json.dumps(self.strip_prefix)}")
        return "\n".join(["[[profile]]", *keys, f"command = {json.dumps(command)}", FIELDS])


JUPYTER_OPTIONS = (
    "--no-browser",
    "--ServerApp.sock={socket}",
    "--ServerApp.sock_mode=0600",
    "--ServerApp.base_url={base_path}",
    "--ServerApp.allow_remote_access=True",
)
CODE_SERVER_OPTIONS = (
    *("--socket", "{socket}", "--socket-mode", "600", "--auth", "none"),
    *("--disable-telemetry", "--disable-update-check"),
)
TENSORBOARD_OPTIONS = (
    *("--logdir", "tensorboard", "--host", "127.0.0.1", "--port", "{port}", "--path_prefix", "{base_path}"),
)

PROFILES = (
    Profile(
        name="jupyterlab",
        title="JupyterLab",
        description="Notebooks, terminals and files.",
        app="jupyter",
        default_path="lab",
        command=("{apps}/jupyter", "lab", *JUPYTER_OPTIONS),
    ),
    Profile(
        name="notebook",
        title="Notebook",
        description="The classic notebook.",
        app="jupyter",
        default_path="tree",
        command=("{apps}/jupyter", "notebook", *JUPYTER_OPTIONS),
    ),
    Profile(
        name="singleuser",
        title="JupyterHub single-user server",
        description="JupyterLab as JupyterHub starts it (jupyterhub-singleuser).",
        app="jupyterhub",
        default_path="lab",
        command=("{apps}/jupyterhub-singleuser", "--ServerApp.sock={socket}", "--ServerApp.sock_mode=0600"),
    ),
    Profile(
        name="code-server",
        title="VS Code",
        description="An editor with terminals.",
        app="web",
        default_path="",
        command=("{apps}/code-server", *CODE_SERVER_OPTIONS),
        strip_prefix=True,
    ),
    Profile(
        name="tensorboard",
        title="TensorBoard",
        description="Metrics of training runs, from the folder tensorboard in your home directory.",
        app="web",
        default_path="",
        command=("{apps}/tensorboard", *TENSORBOARD_OPTIONS),
    ),
)


def config(
    layout: Layout,
    *,
    apps: Path,
    port: int = PORT,
    report_port: int = 0,
    client: str = "cli",
    users: Sequence[str] = USERS,
    more: str = "",
) -> str:
    """Return the hub's towpath.toml. `apps` is the folder of the programs, `more` is added to `[cluster.slurm]`."""
    head = CONFIG.format(
        port=port,
        report_port=report_port or layout.port("slurmctld") - 1 + REPORT_OFFSET,
        users=", ".join(f'"{name}"' for name in users),
        admins=", ".join(f'"{name}"' for name in ADMINS),
        client=client,
        conf=layout.slurm_conf,
        bin_dir=layout.bin_dir,
        more=more,
    )
    return "\n".join([head, *(profile.text(apps) for profile in PROFILES)])


def write(layout: Layout, *, apps: Path, port: int = PORT) -> None:
    """Write the configuration, readable only for root."""
    home = folder(layout)
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "towpath.toml").write_text(config(layout, apps=apps, port=port))


def folder(layout: Layout) -> Path:
    """Return the folder of the hub's configuration and data."""
    return layout.folder / "towpath"


def daemon(layout: Layout, *, program: Path, port: int = PORT, environment: Mapping[str, str] | None = None) -> Daemon:
    """Return `towpath serve` on this cluster as a daemon. It runs as root and submits each job as its user."""
    home = folder(layout)
    return Daemon(
        layout,
        NAME,
        (str(program), "serve", "--config", str(home / "towpath.toml"), "--data-dir", str(home / "data")),
        environment=environment or {},
        ready=lambda: _healthy(port),
        stop_seconds=30,
    )


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/hub/health")
        return connection.getresponse().status == 200  # noqa: PLR2004 - OK
    except (TimeoutError, OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
