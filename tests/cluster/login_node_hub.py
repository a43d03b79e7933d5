"""A hub that reaches Slurm over login nodes alone, as in a container: it has no rights, no Slurm and no users' accounts."""

import os
import shlex
import shutil
import tempfile
from pathlib import Path

from tests.accounts import account, program
from tests.cluster.faulty import FaultyHub
from tests.sshd import MONITOR, Pool

ACCOUNT = "towpath-restd"  # an account of the cluster's with no rights of its own

TABLE = """
[cluster.slurm.ssh]
known_hosts = ["{known_hosts}"]
monitor_user = "{monitor}"
connect_seconds = 2
{nodes}
"""
CONTAINER = """
set -e
mount --bind {passwd} /etc/passwd
mount --bind {group} /etc/group
mount -t tmpfs tmpfs {etc}
mount -t tmpfs tmpfs {munge}
exec setpriv --reuid={uid} --regid={gid} --clear-groups --no-new-privs -- "$@"
"""


def login_nodes_table(pool: Pool) -> str:
    """Return `[cluster.slurm.ssh]` for a pool."""
    tables = (
        host.table().replace("[[cluster.ssh.host]]", "[[cluster.slurm.ssh.login_node]]") for host in pool.hosts.values()
    )
    return TABLE.format(known_hosts=pool.known_hosts, monitor=MONITOR, nodes="\n".join(tables))


class LoginNodeHub(FaultyHub):
    """`towpath serve` in a mount namespace in which neither Slurm's configuration, nor munge, nor the users exist."""

    def __init__(self, slurm, pool: Pool, **more) -> None:
        folder = Path(tempfile.mkdtemp(prefix="towpath-login-", dir="/tmp"))  # short, and open to the hub's account
        folder.chmod(0o711)
        super().__init__(folder, slurm, **more)
        self.pool = pool
        self.argv, self.more = program()
        head, rest = self.config.read_text().split("[[profile]]", 1)
        head = head.replace('client = "cli"\nsubmit_as = "setuid"\n', 'client = "ssh"\n')
        self.config.write_text(f"{head}{login_nodes_table(pool)}\n[[profile]]{rest}")
        self.config.chmod(0o644)
        self.data_dir.mkdir(mode=0o700)
        os.chown(self.data_dir, account(ACCOUNT).pw_uid, account(ACCOUNT).pw_gid)
        for name in ("passwd", "group"):
            known = [
                line for line in Path("/etc", name).read_text().splitlines() if line.split(":")[0] in ("root", ACCOUNT)
            ]
            (folder / name).write_text("\n".join(known) + "\n")

    def environment(self):
        kept = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
            "HOME": "/nonexistent",
        }
        return {**kept, **self.more, "TOWPATH_TEST_LOGS": os.environ.get("TOWPATH_TEST_LOGS", "")}

    def program(self):
        layout, entry = self.slurm.layout, account(ACCOUNT)
        script = CONTAINER.format(
            passwd=shlex.quote(str(self.folder / "passwd")),
            group=shlex.quote(str(self.folder / "group")),
            etc=layout.etc,
            munge=layout.munge_folder,
            uid=entry.pw_uid,
            gid=entry.pw_gid,
        )
        return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *self.argv]

    def start(self, *args):
        """Start the hub; then let the nodes trust its authority, as an admin does."""
        super().start(*args)
        self.pool.trust((self.data_dir / "authority" / "ssh_user_ca.pub").read_text().strip())
        return self

    def stop(self, *args) -> None:
        super().stop(*args)
        shutil.rmtree(self.folder)
