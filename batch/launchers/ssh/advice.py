"""The advice to admins about a host: the problem, and the exact line that fixes it. Pure."""

from collections.abc import Sequence
from typing import Final

from batch.launchers.ssh.answers import HostResources
from batch.launchers.ssh.kind import SshConfig, SshHostConfig
from batch.launchers.ssh.placement import GIB
from batch.ssh.errors import AccessDeniedError, CredentialsError, HostKeyError, SshError

CA_FILE: Final = "/etc/ssh/towpath_user_ca.pub"
DEFAULT_PORT: Final = 22


def trouble_text(error: Exception, host: SshHostConfig, config: SshConfig, *, authority: str, account: str) -> str:
    """What is wrong, and what to do. `authority`: the public key of the hub's SSH authority; `""`: it has none."""
    if isinstance(error, HostKeyError):
        return _host_key(error, host, config)
    if isinstance(error, AccessDeniedError):
        return f"{error} {_access(host, account, authority)}"
    if isinstance(error, (SshError, CredentialsError)):
        return str(error)
    return str(error)


def _host_key(error: HostKeyError, host: SshHostConfig, config: SshConfig) -> str:
    name = host.name if host.port == DEFAULT_PORT else f"[{host.name}]:{host.port}"
    files = ", ".join(config.known_hosts)
    shown = f" It showed {error.fingerprint}." if error.fingerprint else ""
    if error.changed:
        return (
            f"{error}{shown} The host is not used. If it was reinstalled, replace its line in {files};"
            " if not, another machine may answer in its place."
        )
    line = f" Then add to {files}: {name} {error.public_key}" if error.public_key else ""
    return f"{error}{shown} On the host, compare that with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`.{line}"


def _access(host: SshHostConfig, account: str, authority: str) -> str:
    make = f"The account must exist (`useradd --system --shell /bin/sh {account}`)"
    if not authority:
        return f"{make}, and accept the hub's key."
    return (
        f"{make}. On {host.name}, write `{authority}` to {CA_FILE}, add `TrustedUserCAKeys {CA_FILE}` to sshd_config,"
        " reload sshd, and check the clock."
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
