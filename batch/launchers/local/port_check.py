"""Whether apps that listen on a port can be started on this machine: each needs a network of its own."""

import subprocess
import sys
from typing import Final

from state.config.tables import ClusterConfig, Config
from state.offer.app_ports import isolated_on

PROBE: Final = "from batch.starter.namespaces import leave_network; leave_network()"
PROBE_SECONDS: Final = 20.0


def port_fault(config: Config, cluster: ClusterConfig) -> str:
    """Return why profiles of this cluster that need it cannot be started; `""`: they can, or there are none."""
    profiles = isolated_on(config, cluster.name)
    if not profiles:
        return ""
    probe = subprocess.run(  # noqa: S603 - our own interpreter and our own module
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False, timeout=PROBE_SECONDS
    )
    if probe.returncode == 0:
        return ""
    last = (probe.stderr.strip().splitlines() or ["the probe said nothing"])[-1]
    names = ", ".join(profile.name for profile in profiles)
    return (
        f"This machine does not let the hub give an app a network of its own ({last}). Profiles that need it: {names}."
        " Allow user namespaces, make their commands name {socket}, or set shared_node_port = true."
    )
