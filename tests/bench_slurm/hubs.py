"""The two hubs on the cluster. Owns their configuration and the requests that start the apps.

Four apps: `stub` (the benchmark's own, on the CPU nodes), `wait` (the same, where nothing starts), `nginx`, and `lab`
(JupyterLab).
"""

import json
from pathlib import Path
from typing import Protocol

from deploy.devcluster.hub import APPS
from tests.bench import machine
from tests.bench.hubs import Hub
from tests.bench.jupyterhub import JupyterHub
from tests.bench.process import BENCH_PYTHON, HERE
from tests.bench.towpath import Towpath, options
from tests.bench_slurm.cluster import WAIT, BenchCluster
from tests.bench_slurm.users import NOTE, BenchUsers
from tests.ports import free_port

PYTHON = "/usr/bin/python3"
JUPYTER = APPS / "python"  # the jobs' users may not be able to read the checkout
TOWPATH, PEER = "towpath", "jupyterhub"


class SlurmHub(Hub, Protocol):
    """A hub whose servers are Slurm jobs."""

    def body(self, app: str) -> bytes:
        """Return the body of a request that starts an app."""


def stub(users: BenchUsers, *where: str) -> list[str]:
    """Return the stub's argv."""
    return [PYTHON, "-I", "-S", str(users.stub), "--note", NOTE, *where]


class Batchspawner(JupyterHub):
    """JupyterHub as root on the login host; see `batchspawner_config`."""

    def __init__(self, folder: Path, cluster: BenchCluster) -> None:
        super().__init__(folder)
        self.cluster = cluster

    def command(self) -> list[str]:
        """See JupyterHub."""
        config = Path(__file__).with_name("batchspawner_config.py")
        return self.cluster.inside([BENCH_PYTHON, "-m", "jupyterhub", "-f", str(config)])

    def environment(self) -> dict[str, str]:
        """See JupyterHub."""
        return {
            **super().environment(),
            **self.cluster.layout.environment,
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "BENCH_BASE_CONFIG": str(HERE / "jupyterhub_config.py"),
            "BENCH_BIN": str(Path(BENCH_PYTHON).parent),
        }

    def body(self, app: str) -> bytes:
        """See SlurmHub. batchspawner's user options replace the variables of its script template."""
        more = ["--nginx"] if app == "nginx" else []
        chosen = {} if app == "lab" else {"cmd": " ".join(stub(self.cluster.users, *more, "--batchspawner"))}
        return json.dumps({**chosen, "partition": WAIT} if app == "wait" else chosen).encode()

    def start_body(self) -> bytes:
        """See Hub."""
        return self.body("stub")


class SlurmTowpath(Towpath):
    """Towpath as root on the login host, submitting jobs with setuid."""

    def __init__(self, folder: Path, cluster: BenchCluster, *, workers: int = 0) -> None:
        """`workers` 0: one per core."""
        super().__init__(TOWPATH, folder, workers=workers or machine.cores())
        self.cluster = cluster
        self.report_port = free_port()

    def command(self, config: Path) -> list[str]:
        """See Towpath."""
        return self.cluster.inside(super().command(config))

    def configuration(self) -> str:
        """See Towpath."""

        def profile(name: str, partition: str, more: str) -> str:
            asks = f'{{ partition = "{partition}", cores = 1, walltime = "1:00:00" }}'
            return f'[[profile]]\nname = "{name}"\ncluster = "slurm"\nresources = {asks}\n{more}\n'

        app = f'app = "web"\ncommand = {json.dumps(stub(self.cluster.users, "--socket", "{socket}"))}'
        return "\n".join([
            f'[gateway]\nreport_host = "127.0.0.1"\nreport_port = {self.report_port}\n',
            '[[cluster]]\nname = "slurm"\nkind = "slurm"\n',
            f'[cluster.slurm]\nconf = "{self.cluster.layout.slurm_conf}"\n',
            profile("stub", "cpu", app),
            profile("wait", WAIT, app),
            profile("nginx", "cpu", app.replace('"--socket"', '"--nginx", "--socket"')),
            profile("lab", "cpu", f'setup = {{ venv = "{JUPYTER}" }}'),
        ])  # fmt: skip

    def body(self, app: str) -> bytes:
        """See SlurmHub."""
        return options(app)

    def start_body(self) -> bytes:
        """See Hub."""
        return self.body("stub")
