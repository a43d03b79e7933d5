"""What `towpath check` says of a host that answers. Pure."""

from collections.abc import Sequence

from batch.launchers.ssh.answers import HostResources
from batch.launchers.ssh.kind import SshHostConfig
from batch.launchers.ssh.placement import GIB


def no_forwarding(host: SshHostConfig) -> str:
    """What is wrong with a host to whose sockets gateways cannot connect."""
    return (
        f"sshd on {host.name} does not let gateways connect to sockets, which the way in ssh needs. In sshd_config, set"
        " `AllowStreamLocalForwarding local`, remove `DisableForwarding`, and reload sshd."
    )


def summary(resources: HostResources, gpus: Sequence[str]) -> tuple[str, bool]:
    """(what a host that answers has and lacks, whether an admin should look at it)."""
    text = f"answers: {machine_text(resources, [*gpus, f'Python {resources.python}'])}"
    lacks = []
    if not resources.systemd:
        lacks.append("No systemd: memory and CPU of servers are not limited.")
    if not resources.sees_all:
        lacks.append(
            "The monitor's account cannot see processes of other accounts (hidepid in /proc): polls cost more."
        )
    if resources.gpu_note:
        lacks.append(f"GPUs are not known: {resources.gpu_note}.")
    return " ".join([text, *lacks]), bool(lacks)


def machine_text(resources: HostResources, more: Sequence[str]) -> str:
    """What a machine has."""
    return f"{', '.join([f'{resources.cores} cores', f'{resources.memory / GIB:.0f} GiB', *more])}."
