"""Keys, certificates and known hosts for asyncssh. Only this module and `batch.ssh.door` import asyncssh.

Owns which credentials are usable, and which host keys are trusted.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncssh
from asyncssh.public_key import CERT_TYPE_USER, SSHOpenSSHCertificate

from batch.ssh.errors import CredentialsError

KEY_TYPE: Final = "ssh-ed25519"
NO_COMMAND: Final = "/bin/false"
"""What runs in place of any command or subsystem that is requested with a certificate for forwarding."""
CLOCK_SKEW: Final = 60
"""How many seconds certificates are backdated, for hosts whose clocks are slow."""

NOT_FORWARDING: Final = ("permit-pty", "permit-agent-forwarding", "permit-X11-forwarding", "permit-user-rc")
"""What a certificate for forwarding must not allow."""


Credential = asyncssh.SSHKey | asyncssh.SSHKeyPair | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]
"""A key, an agent's key, or a key with its certificate."""


class Login:
    """The credentials of a connection. Only functions of this module create them; they are opaque to others."""

    def __init__(self, keys: Sequence[Credential], close: Callable[[], None] | None = None) -> None:
        """`keys` are asyncssh's, and never empty: it would look for some in ~/.ssh."""
        self.options: dict[str, Any] = {"client_keys": list(keys), "agent_path": None}
        self._close = close

    def close(self) -> None:
        """Close the agent after the connection was made."""
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
        """Return the public key as OpenSSH writes it."""
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
    """Return why a certificate is not used; `""`: it is. One without principals would be valid for every account."""
    if not isinstance(cert, SSHOpenSSHCertificate) or cert.key.public_data != key.public_data:
        return "The certificate is for another key than the one that it was requested for."
    if account not in cert.principals:
        return f"The certificate is not for the account {account}."
    try:
        cert.validate(CERT_TYPE_USER, account)
    except ValueError as error:
        return f"The certificate cannot be used for {account}: {error}."
    return ""


def _forwarding_fault(cert: SSHOpenSSHCertificate, account: str) -> str:
    """Return what a certificate allows beyond forwarding as this account; `""`: nothing (ssh-keygen(1))."""
    if list(cert.principals) != [account]:
        return f"The certificate is not for the account {account} alone."
    if not cert.options.get("force-command"):
        return "The certificate has no force-command, so it allows any command."
    allowed = [name for name in NOT_FORWARDING if cert.options.get(name)]
    return f"The certificate has {', '.join(allowed)}, which forwarding does not need." if allowed else ""


def check_forwarding_certificate(certificate: str, public_line: str, account: str) -> None:
    """Raise CredentialsError for a certificate that is not for this key, or allows more than forwarding as `account`.

    A gateway faces the network: with a certificate that allows commands it could act as the account.
    """
    try:
        cert, key = asyncssh.import_certificate(certificate.strip()), asyncssh.import_public_key(public_line)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise CredentialsError(f"The certificate cannot be read: {error}.") from error
    if wrong := _certificate_fault(cert, key, account):
        raise CredentialsError(wrong)
    assert isinstance(cert, SSHOpenSSHCertificate)  # checked above
    if wrong := _forwarding_fault(cert, account):
        raise CredentialsError(wrong)


class Authority:
    """A certificate authority for users, which sshd trusts through TrustedUserCAKeys."""

    def __init__(self, text: bytes) -> None:
        """`text`: the private key. Raises CredentialsError."""
        self._key = _private_key(text, "The key of the hub's SSH authority")

    @property
    def public_line(self) -> str:
        """Return the public key for the file that TrustedUserCAKeys names."""
        return self._key.export_public_key().decode().strip()

    def sign(
        self, public_line: str, account: str, *, key_id: str, now: float, seconds: int, forwarding: bool = False
    ) -> str:
        """Return a certificate for one account that is valid for this many seconds, only for commands or forwarding."""
        cert = self._key.generate_user_certificate(
            asyncssh.import_public_key(public_line),
            key_id,
            principals=[account],
            valid_after=int(now) - CLOCK_SKEW,
            valid_before=int(now) + seconds,
            permit_x11_forwarding=False,
            permit_agent_forwarding=False,
            permit_port_forwarding=forwarding,
            force_command=NO_COMMAND if forwarding else None,
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
    """Log in with the keys of an agent. Raises CredentialsError if it does not answer or has no key."""
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


def _public_line(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])


class KnownHosts:
    """The trusted host keys and host authorities, from known_hosts files (sshd(8))."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Raise ValueError for a line that is not one of known_hosts."""
        self._known = asyncssh.SSHKnownHosts()
        for text in texts:
            self._known.load(text)

    def knows(self, name: str, port: int) -> bool:
        """Return whether any key or authority is known for this host."""
        keys, authorities, *_ = self._match(name, port)
        return bool(keys or authorities)

    def _match(self, name: str, port: int) -> Any:
        return self._known.match(name, "", None if port == asyncssh.DEFAULT_PORT else port)

    def lines(self, name: str, port: int) -> tuple[str, ...]:
        """What is trusted for this host, as lines of known_hosts that apply to any name."""
        keys, authorities, revoked, *_ = self._match(name, port)
        marked = (("", keys), ("@cert-authority ", authorities), ("@revoked ", revoked))
        return tuple(f"{mark}* {_public_line(key)}" for mark, found in marked for key in found)

    def of(self, name: str, port: int) -> Any:
        """Return the lookup function for asyncssh.

        It uses only the host's name, because no admin has named an address.
        """
        found = self._match(name, port)
        return lambda _host, _address, _port: found
