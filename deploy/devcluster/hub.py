"""A hub on the cluster: its configuration, and the daemon.

Owns: what the hub of a dev cluster offers, and to whom. Refuses to know: how Slurm is started, and what the hub does.
"""

import http.client
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.devcluster.daemons import Daemon
from deploy.devcluster.layout import Layout

NAME = "towpath"
PORT, REPORT_OFFSET = 8000, 31
PEOPLE = ("alice", "bob")
ADMINS = ("carol",)

CONFIG = """\
# The hub of the dev cluster. Anybody on this machine may sign in as anybody here: it is for trying things out.
[gateway]
host = "127.0.0.1"
port = {port}
report_port = {report_port}

[auth]
allowed_users = [{people}]
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
title = "How many GPUs"
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
title = "Walltime"
kind = "walltime"
default = "01:00:00"
[profile.option.account]
title = "Account"
kind = "account"
[profile.option.qos]
title = "QOS"
kind = "qos"
"""

PROFILES = (
    (
        "jupyterlab",
        "JupyterLab",
        "Notebooks, terminals and files.",
        'app = "jupyter"\ncommand = ["{apps}/jupyter", "lab", "--no-browser", "--ServerApp.sock={{socket}}",'
        ' "--ServerApp.sock_mode=0600", "--ServerApp.base_url={{base_path}}", "--ServerApp.allow_remote_access=True"]',
    ),
    (
        "notebook",
        "Notebook",
        "The classic notebook.",
        'app = "jupyter"\ndefault_path = "tree"\ncommand = ["{apps}/jupyter", "notebook", "--no-browser",'
        ' "--ServerApp.sock={{socket}}", "--ServerApp.sock_mode=0600", "--ServerApp.base_url={{base_path}}",'
        ' "--ServerApp.allow_remote_access=True"]',
    ),
    (
        "code-server",
        "VS Code",
        "An editor with terminals.",
        'app = "web"\ndefault_path = ""\ncommand = ["{apps}/code-server", "--socket", "{{socket}}", "--socket-mode",'
        ' "600", "--auth", "none", "--disable-telemetry", "--disable-update-check"]',
    ),
    (
        "tensorboard",
        "TensorBoard",
        "Curves of training runs, from the folder tensorboard in your home.",
        'app = "web"\ndefault_path = ""\ncommand = ["{apps}/tensorboard", "--logdir", "tensorboard", "--host",'
        ' "127.0.0.1", "--port", "{{port}}", "--path_prefix", "{{base_path}}"]',
    ),
)


def config(
    layout: Layout,
    *,
    apps: Path,
    port: int = PORT,
    report_port: int = 0,
    client: str = "cli",
    people: Sequence[str] = PEOPLE,
    more: str = "",
) -> str:
    """The hub's towpath.toml. `apps`: the folder of their programs. `more`: further lines of `[cluster.slurm]`."""
    head = CONFIG.format(
        port=port,
        report_port=report_port or layout.port("slurmctld") - 1 + REPORT_OFFSET,
        people=", ".join(f'"{name}"' for name in people),
        admins=", ".join(f'"{name}"' for name in ADMINS),
        client=client,
        conf=layout.slurm_conf,
        more=more,
    )
    profiles = [
        f'[[profile]]\nname = "{name}"\ntitle = "{title}"\ndescription = "{about}"\ncluster = "devcluster"\n'
        f"{lines.format(apps=apps / 'bin')}\n{FIELDS}"
        for name, title, about, lines in PROFILES
    ]
    return "\n".join([head, *profiles])


def folder(layout: Layout) -> Path:
    """The hub's own: configuration and data."""
    return layout.folder / "towpath"


def daemon(layout: Layout, *, program: Path, port: int = PORT, environment: Mapping[str, str] | None = None) -> Daemon:
    """`towpath serve` on this cluster, as root: it submits each job as its user."""
    home = folder(layout)
    return Daemon(
        layout,
        NAME,
        (str(program), "serve", "--config", str(home / "towpath.toml"), "--data-dir", str(home / "data")),
        environment=environment or {},
        answers=lambda: _healthy(port),
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
