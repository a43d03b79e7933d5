"""Where a cluster is: its folder, its number, and the addresses and ports that follow from the number.

Owns: every path, address and port. Refuses to know: what is written there, and who listens.

Two clusters with different numbers and folders share nothing but the machine's packages and the Unix accounts.
"""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = Path("/tmp/towpath-cluster")  # noqa: S108 - short, for unix sockets; refused unless root's own
NUMBERS = range(256)
FIRST_PORT, PORTS_EACH = 17000, 50  # the last one is 29749: below the range that Linux gives to clients

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
HUB = "hub"
PORT_OFFSETS = {"slurmctld": 1, "slurmdbd": 2, "slurmrestd": 3, "cn1": 11, "cn2": 12, "gn1": 21}
NODE_NUMBERS = {"cn1": 11, "cn2": 12, "gn1": 21}
NODES = tuple(NODE_NUMBERS)
GPUS = {"a100": 2, "v100": 2}  # on gn1


@dataclass(frozen=True)
class Layout:
    """One cluster's place on the machine."""

    folder: Path = DEFAULT_FOLDER
    number: int = 0
    debian: Path | None = None  # where its Slurm is from; None: from this machine

    def address(self, host: str) -> str:
        """The loopback address of `hub` (all daemons but slurmd) or of a node.

        The hub has the address that Linux writes on what is sent from it: slurmdbd speaks to
        slurmctld at the address that slurmctld's connection came from.
        """
        return "127.0.0.1" if host == HUB else f"127.77.{self.number}.{NODE_NUMBERS[host]}"

    def port(self, daemon: str) -> int:
        """The TCP port of a daemon; a slurmd goes by its node's name."""
        return FIRST_PORT + self.number * PORTS_EACH + PORT_OFFSETS[daemon]

    @property
    def listeners(self) -> dict[str, tuple[str, int]]:
        """Everything that will listen, by daemon: (address, port)."""
        return {name: (self.address(name if name in NODES else HUB), self.port(name)) for name in PORT_OFFSETS}

    @property
    def cluster(self) -> str:
        """ClusterName, also in the database."""
        return "towpath" if self.number == 0 else f"towpath{self.number}"

    @property
    def cgroup(self) -> str:
        """The name of this cluster's folder in every cgroup hierarchy."""
        return f"towpath-devcluster-{self.number}"

    @property
    def mark(self) -> Path:
        """A file by which the folder is known as a cluster's, to be removed whole; it holds the number."""
        return self.folder / "towpath-devcluster"

    @property
    def etc(self) -> Path:
        """Slurm's configuration; `SLURM_CONF` names a file in it."""
        return self.folder / "etc"

    @property
    def slurm_conf(self) -> Path:
        """What SLURM_CONF is set to."""
        return self.etc / "slurm.conf"

    @property
    def hosts(self) -> Path:
        """The /etc/hosts of every process of the cluster; also the mark by which they are known as its own."""
        return self.etc / "hosts"

    @property
    def associations(self) -> Path:
        """The accounts and users that Slurm is given."""
        return self.etc / "associations.cfg"

    @property
    def jwt_key(self) -> Path:
        """32 random bytes, for slurm's eyes only."""
        return self.etc / "jwt_hs256.key"

    @property
    def bin(self) -> Path:
        """Slurm's commands, where they are not this machine's."""
        return self.folder / "bin"

    @property
    def bin_dir(self) -> str:
        """What a hub on this cluster is told as `bin_dir`; empty: the commands are where this machine has them."""
        return str(self.bin) if self.debian else ""

    @property
    def log(self) -> Path:
        """One file per daemon, and one more for what it says before it has opened that."""
        return self.folder / "log"

    @property
    def run(self) -> Path:
        """Who runs: one record per process."""
        return self.folder / "run"

    @property
    def state(self) -> Path:
        """What the daemons keep."""
        return self.folder / "state"

    @property
    def dev(self) -> Path:
        """Device files that stand for GPUs."""
        return self.folder / "dev"

    @property
    def munge_folder(self) -> Path:
        """The munge daemon's key, socket and log; munge insists on a folder of its own."""
        return self.folder / "munge"

    @property
    def munge_socket(self) -> Path:
        """Named in slurm.conf (AuthInfo), so that every client finds it through SLURM_CONF alone."""
        return self.munge_folder / "socket"

    @property
    def mysql_socket(self) -> Path:
        """MariaDB listens here and nowhere else."""
        return self.folder / "mysql" / "socket"

    @property
    def mysql_temporary(self) -> Path:
        """MariaDB's own temporary folder: one that starts removes what it takes for its own leavings there."""
        return self.state / "mysql-temporary"

    @property
    def restd_socket(self) -> Path:
        """Slurmrestd's unix socket."""
        return self.folder / "restd" / "socket"

    @property
    def restd_url(self) -> str:
        """Slurmrestd's TCP side."""
        return f"http://{self.address(HUB)}:{self.port('slurmrestd')}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client of this cluster needs in its environment."""
        path = f"{self.bin}:{PATH}" if self.debian else PATH
        return {"SLURM_CONF": str(self.slurm_conf), "PATH": path}
