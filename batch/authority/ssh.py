"""The hub's SSH authority, which signs the certificates that log in to SSH hosts (`batch.ssh.credentials`).

Owns two files next to the authority's: `ssh_user_ca`, the private key in OpenSSH's format, and `ssh_user_ca.pub`, for
sshd's TrustedUserCAKeys. Does not sign. Source: OpenSSH, PROTOCOL.certkeys.
"""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from state.errors import TowpathError
from state.sealing.private_files import is_private_file, write_private_file

SSH_USER_CA: Final = "ssh_user_ca"


def expires(certificate: str) -> float:
    """Return when an SSH certificate expires (seconds since the epoch). Raises TowpathError."""
    try:
        found = serialization.load_ssh_public_identity(certificate.encode())
    except ValueError as error:
        raise TowpathError("This is not an SSH certificate.") from error
    if not isinstance(found, serialization.SSHCertificate):
        raise TowpathError("This is a public key, not a certificate.")
    return float(found.valid_before)


def ensure_ssh_authority(folder: Path) -> list[str]:
    """Create the files if they are missing; the caller holds the folder's lock. Returns the created ones."""
    if is_private_file(folder / SSH_USER_CA):
        return []
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_private_file(folder / f"{SSH_USER_CA}.pub", public + b" towpath\n")
    write_private_file(folder / SSH_USER_CA, private)  # last, so that it never exists without the public key
    return [SSH_USER_CA]
