"""A host of the cluster: its own name, /etc/hosts and control groups, on the machine's network.

Owns the command line that starts a process there. Does not know which process.

Each process gets a UTS and a mount namespace (unshare(1)). The network stays the machine's, because every host has a
loopback address. In the namespace, the cluster's folder replaces each control group hierarchy. So two clusters whose
nodes have the same names do not interfere, and removing that folder removes everything.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.devcluster.layout import Layout


def inside(layout: Layout, host: str, argv: Sequence[str], *, binds: Mapping[Path, Path], user: str = "") -> list[str]:
    """Return the command line that runs `argv` on `host`; `binds` maps folders to their mount points there."""
    # Jobs from slurmrestd inherit its umask, which must not be the caller's.
    steps = ["set -e", "umask 022", "cd /", f"hostname {shlex.quote(host)}"]
    for source, target in {layout.hosts: Path("/etc/hosts"), **binds}.items():  # /usr, if present, is last
        steps.append(f"mount --bind {shlex.quote(str(source))} {shlex.quote(str(target))}")
    become = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
    script = "\n".join([*steps, 'exec "$@"'])
    return [
        *("unshare", "--uts", "--mount", "--propagation", "private"),
        *("/bin/sh", "-c", script, "sh", *become, *argv),
    ]
