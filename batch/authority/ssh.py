"""The hub's SSH authority, which signs the certificates that log in to SSH hosts (`batch.ssh.credentials`).

Owns two files beside the authority's: `ssh_user_ca`, the private key in OpenSSH's format, and `ssh_user_ca.pub`, what
sshd's TrustedUserCAKeys trusts. Does not sign.
"""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from state.sealing.private_files import is_private_file, write_private_file

SSH_USER_CA: Final = "ssh_user_ca"


def ensure_ssh_authority(folder: Path) -> list[str]:
    """Make the files if there are none; the caller holds the folder's lock. Returns those that were made."""
    if is_private_file(folder / SSH_USER_CA):
        return []
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_private_file(folder / f"{SSH_USER_CA}.pub", public + b" towpath\n")
    write_private_file(folder / SSH_USER_CA, private)  # the last one, so that there is never one without its other
    return [SSH_USER_CA]
