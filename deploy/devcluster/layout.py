"""The paths, addresses and ports of a cluster, which follow from its folder and number.

Does not know what is written there, or who listens.

Two clusters with different numbers and folders share only the machine's packages and the Unix accounts.
"""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = Path("/tmp/towpath-cluster")  # noqa: S108 - short, for unix sockets; rejected unless root's own
NUMBERS = range(256)
FIRST_PORT, PORTS_EACH = 17000, 50  # the last one is 29749: below the range that Linux uses for clients

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
HUB = "hub"
PORT_OFFSETS = {"slurmctld": 1, "slurmdbd": 2, "slurmrestd": 3, "cn1": 11, "cn2": 12, "gn1": 21}
NODE_NUMBERS = {"cn1": 11, "cn2": 12, "gn1": 21}
NODES = tuple(NODE_NUMBERS)
GPUS = {"a100": 2, "v100": 2}  # on gn1


@dataclass(frozen=True)
class Layout:
    """The paths, addresses and ports of one cluster."""

    folder: Path = DEFAULT_FOLDER
    number: int = 0
    debian: Path | None = None  # folder with another Debian's Slurm; None: this machine's

    def address(self, host: str) -> str:
        """Return the loopback address of `hub` (all daemons except slurmd) or of a node.

        The hub has the source address that Linux chooses for loopback connections: slurmdbd contacts slurmctld at the
        address from which slurmctld connected.
        """
        return "127.0.0.1" if host == HUB else f"127.77.{self.number}.{NODE_NUMBERS[host]}"

    def port(self, daemon: str) -> int:
        """Return the TCP port of a daemon; a slurmd has the name of its node."""
        return FIRST_PORT + self.number * PORTS_EACH + PORT_OFFSETS[daemon]

    @property
    def listeners(self) -> dict[str, tuple[str, int]]:
        """(address, port) by daemon, for all daemons that listen."""
        return {name: (self.address(name if name in NODES else HUB), self.port(name)) for name in PORT_OFFSETS}

    @property
    def cluster(self) -> str:
        """Slurm's ClusterName, also in the database."""
        return "towpath" if self.number == 0 else f"towpath{self.number}"

    @property
    def cgroup(self) -> str:
        """The name of this cluster's folder in every cgroup hierarchy."""
        return f"towpath-devcluster-{self.number}"

    @property
    def marker(self) -> Path:
        """A file that marks the folder as a cluster's, which may be removed. It contains the number."""
        return self.folder / "towpath-devcluster"

    @property
    def etc(self) -> Path:
        """The folder of Slurm's configuration."""
        return self.folder / "etc"

    @property
    def slurm_conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.etc / "slurm.conf"

    @property
    def hosts(self) -> Path:
        """The /etc/hosts of all processes of the cluster, by which they are also found."""
        return self.etc / "hosts"

    @property
    def associations(self) -> Path:
        """The accounts and users that are loaded into Slurm's database."""
        return self.etc / "associations.cfg"

    @property
    def jwt_key(self) -> Path:
        """32 random bytes, readable only for slurm."""
        return self.etc / "jwt_hs256.key"

    @property
    def bin(self) -> Path:
        """The folder of Slurm's commands if they are not this machine's."""
        return self.folder / "bin"

    @property
    def bin_dir(self) -> str:
        """`bin_dir` for a hub on this cluster; empty if the commands are this machine's."""
        return str(self.bin) if self.debian else ""

    @property
    def log(self) -> Path:
        """The folder of logs: a log file per daemon, and a file with its output."""
        return self.folder / "log"

    @property
    def run(self) -> Path:
        """The folder of process records."""
        return self.folder / "run"

    @property
    def state(self) -> Path:
        """The folder of the daemons' state."""
        return self.folder / "state"

    @property
    def dev(self) -> Path:
        """The folder of device files that stand for GPUs."""
        return self.folder / "dev"

    @property
    def munge_folder(self) -> Path:
        """The folder of the munge daemon's key, socket and log; munge requires its own."""
        return self.folder / "munge"

    @property
    def munge_socket(self) -> Path:
        """Munge's socket. slurm.conf names it (AuthInfo), so that clients find it through SLURM_CONF."""
        return self.munge_folder / "socket"

    @property
    def mysql_socket(self) -> Path:
        """MariaDB's only listener."""
        return self.folder / "mysql" / "socket"

    @property
    def mysql_temporary(self) -> Path:
        """A temporary folder for this MariaDB: at its start it removes files there that look like its own."""
        return self.state / "mysql-temporary"

    @property
    def restd_socket(self) -> Path:
        """Slurmrestd's unix socket."""
        return self.folder / "restd" / "socket"

    @property
    def restd_url(self) -> str:
        """Slurmrestd's URL."""
        return f"http://{self.address(HUB)}:{self.port('slurmrestd')}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that a client of this cluster needs."""
        path = f"{self.bin}:{PATH}" if self.debian else PATH
        return {"SLURM_CONF": str(self.slurm_conf), "PATH": path}
