"""A host of the cluster: a name, an /etc/hosts and control groups of its own, on the machine's network.

Owns: the command line that puts a process there. Refuses to know: which process.

Each process gets a UTS and a mount namespace (unshare(1)); the network stays the machine's, since every host has a
loopback address. For it the cluster's folder of each control group hierarchy is the whole hierarchy: so two clusters
with nodes of the same names do not meet there, and all is gone when that folder is.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.devcluster.layout import Layout


def inside(layout: Layout, host: str, argv: Sequence[str], *, binds: Mapping[Path, Path], user: str = "") -> list[str]:
    """`argv` as a process on `host`; `binds` maps folders to the places where the process is to see them."""
    # What is submitted by slurmrestd has its umask, which must not be that of whoever started the cluster.
    steps = ["set -e", "umask 022", "cd /", f"hostname {shlex.quote(host)}"]
    for source, target in {layout.hosts: Path("/etc/hosts"), **binds}.items():  # /usr, if at all, comes last
        steps.append(f"mount --bind {shlex.quote(str(source))} {shlex.quote(str(target))}")
    become = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
    script = "\n".join([*steps, 'exec "$@"'])
    return [
        *("unshare", "--uts", "--mount", "--propagation", "private"),
        *("/bin/sh", "-c", script, "sh", *become, *argv),
    ]
