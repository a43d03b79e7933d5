"""Keys, certificates and known hosts, as asyncssh has them: half of the one door to it.

Owns what may be logged in with, and which host keys are trusted.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncssh
from asyncssh.public_key import CERT_TYPE_USER, SSHOpenSSHCertificate

from batch.ssh.errors import CredentialsError

KEY_TYPE: Final = "ssh-ed25519"
CLOCK_SKEW: Final = 60
"""Certificates are valid from so many seconds ago, for hosts whose clocks are slow."""


class Login:
    """What a connection authenticates with. Made by the functions of this module, opaque to others."""

    def __init__(self, keys: Sequence[Any], close: Callable[[], None] | None = None) -> None:
        """`keys` are asyncssh's, and never empty: it would look for some in ~/.ssh."""
        self.options: dict[str, Any] = {"client_keys": list(keys), "agent_path": None}
        self._close = close

    def close(self) -> None:
        """Let go of the agent, when the connection has been made."""
        if self._close is not None:
            self._close()

    def __repr__(self) -> str:
        return "Login()"


class FreshKey:
    """A private key that exists in memory only."""

    def __init__(self) -> None:
        self._key = asyncssh.generate_private_key(KEY_TYPE)

    @property
    def public_line(self) -> str:
        """The public key as OpenSSH writes it."""
        return self._key.export_public_key().decode().strip()

    def login(self, certificate: str, account: str) -> Login:
        """Log in with this key and a certificate for it.

        Raises CredentialsError for a certificate that is not for this key, not a user's, or not for this account.
        """
        try:
            cert = asyncssh.import_certificate(certificate.strip())
        except (asyncssh.KeyImportError, ValueError) as error:
            raise CredentialsError(f"The certificate cannot be read: {error}.") from error
        wrong = _certificate_fault(cert, self._key, account)
        if wrong:
            raise CredentialsError(wrong)
        return Login([(self._key, cert)])

    def __repr__(self) -> str:
        return "FreshKey()"


def _certificate_fault(cert: asyncssh.SSHCertificate, key: asyncssh.SSHKey, account: str) -> str:
    """Why a certificate is not used; `""`: it is. One without principals would be good for every account."""
    if not isinstance(cert, SSHOpenSSHCertificate) or cert.key.public_data != key.public_data:
        return "The certificate is for another key than the one that it was requested for."
    if account not in cert.principals:
        return f"The certificate is not for the account {account}."
    try:
        cert.validate(CERT_TYPE_USER, account)
    except ValueError as error:
        return f"The certificate cannot be used for {account}: {error}."
    return ""


class Authority:
    """A certificate authority for users, as sshd's TrustedUserCAKeys trusts it."""

    def __init__(self, text: bytes) -> None:
        """`text`: the private key. Raises CredentialsError."""
        self._key = _private_key(text, "The key of the hub's SSH authority")

    @property
    def public_line(self) -> str:
        """The public key, for the file that TrustedUserCAKeys names."""
        return self._key.export_public_key().decode().strip()

    def sign(self, public_line: str, account: str, *, key_id: str, now: float, seconds: int) -> str:
        """A certificate for one account, good for so many seconds, for commands alone."""
        cert = self._key.generate_user_certificate(
            asyncssh.import_public_key(public_line),
            key_id,
            principals=[account],
            valid_after=int(now) - CLOCK_SKEW,
            valid_before=int(now) + seconds,
            permit_x11_forwarding=False,
            permit_agent_forwarding=False,
            permit_port_forwarding=False,
            permit_pty=False,
            permit_user_rc=False,
        )
        return cert.export_certificate().decode().strip()

    def __repr__(self) -> str:
        return "Authority()"


def login_with_key(text: bytes) -> Login:
    """Log in with a private key that hosts know. Raises CredentialsError."""
    return Login([_private_key(text, "The SSH key")])


async def login_with_agent(socket_path: str) -> Login:
    """Log in with the keys of an agent. Raises CredentialsError for one that does not answer or has no key."""
    try:
        agent = await asyncssh.connect_agent(socket_path)
        keys = await agent.get_keys()
    except (OSError, ValueError) as error:
        message = f"The SSH agent at {socket_path} does not answer."
        raise CredentialsError(message, transient=True) from error
    if not keys:
        agent.close()
        raise CredentialsError(f"The SSH agent at {socket_path} has no keys.", transient=True)
    return Login(keys, agent.close)


def _private_key(text: bytes, what: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(text)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        raise CredentialsError(f"{what} cannot be read: {error}.") from error


class KnownHosts:
    """The host keys and host authorities that are trusted, as known_hosts files have them (sshd(8))."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Raises ValueError for a line that is not one of known_hosts."""
        self._known = asyncssh.SSHKnownHosts()
        for text in texts:
            self._known.load(text)

    def knows(self, name: str, port: int) -> bool:
        """Whether any key or authority is known for this host."""
        keys, authorities, *_ = self._match(name, port)
        return bool(keys or authorities)

    def _match(self, name: str, port: int) -> Any:
        return self._known.match(name, "", None if port == asyncssh.DEFAULT_PORT else port)

    def of(self, name: str, port: int) -> Any:
        """The lookup that asyncssh asks. By the host's name alone: an address is nothing that an admin has named."""
        found = self._match(name, port)
        return lambda _host, _address, _port: found
