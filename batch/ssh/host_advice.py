"""The advice to admins about a host: the problem, and the exact line that fixes it. Pure."""

from typing import Final

from batch.ssh.errors import AccessDeniedError, HostKeyError
from batch.ssh.settings import SshAddressConfig, SshLoginConfig

CA_FILE: Final = "/etc/ssh/towpath_user_ca.pub"
DEFAULT_PORT: Final = 22


def trouble_text(
    error: Exception, host: SshAddressConfig, config: SshLoginConfig, *, authority: str, account: str
) -> str:
    """What is wrong, and what to do. `authority`: the public key of the hub's SSH authority; `""`: it has none."""
    if isinstance(error, HostKeyError):
        return _host_key(error, host, config)
    if isinstance(error, AccessDeniedError):
        return f"{error} {_access(host, account, authority)}"
    return str(error)


def _host_key(error: HostKeyError, host: SshAddressConfig, config: SshLoginConfig) -> str:
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


def _access(host: SshAddressConfig, account: str, authority: str) -> str:
    make = f"The account must exist (`useradd --system --shell /bin/sh {account}`)"
    if not authority:
        return f"{make}, and accept the hub's key."
    return (
        f"{make}. On {host.name}, write `{authority}` to {CA_FILE}, add `TrustedUserCAKeys {CA_FILE}` to sshd_config,"
        " reload sshd, and check the clock."
    )
