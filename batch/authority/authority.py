"""The hub's own certificate authority, with which gateways and jobs authenticate each other.

Only the controller creates it, in `<data dir>/authority/` (0700, every file 0600):

    authority.key   the private key
    authority.pem   its certificate, for 10 years
    seal.key        32 random bytes: the seal of job records and of invitations
    ssh_user_ca     the key of the hub's SSH authority (`batch.authority.ssh`), and its .pub
    lock            held while files are created

A gateway's certificates are in `<data dir>/tls/` of the gateway (0700, every file 0600):

    authority.pem   the authority's certificate
    gateway.pem     the gateway's client certificate and key, for the name gateway.towpath.internal
    reports.pem     certificate and key of the listener for jobs' reports
    lock

`towpath serve` runs controller and gateway on one data directory, and the controller writes both folders. Any other
gateway joins (`batch.authority.joining`). A renewed authority keeps its key, so that running jobs keep trusting the
hub. Source: RFC 5280.
"""

import secrets
import socket
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from batch.authority.certificates import (
    Clock,
    alternative_names,
    builder,
    certificate_pem,
    general,
    key_pem,
    lasts,
    named,
    now,
    usage,
)
from batch.authority.ssh import ensure_ssh_authority
from batch.contract import Passport
from state.config.addresses import report_names
from state.config.tables import Config
from state.errors import TowpathError
from state.names import GATEWAY_NAME, node_name
from state.sealing.box import KEY_BYTES
from state.sealing.private_files import is_private_file, locked_folder, make_private_folder, write_private_file

AUTHORITY_LIFE: Final = timedelta(days=3650)
GATEWAY_LIFE: Final = timedelta(days=365)
"""Lifetime of a gateway's two certificates."""
JOB_LIFE: Final = timedelta(days=400)
"""Lifetime of a job's certificate, unless its time limit is longer."""


class AuthorityError(TowpathError):
    """The hub's certificates cannot be used or created. The text is for the admin."""


def authority_folder(data_dir: Path) -> Path:
    """Return where the authority's files are."""
    return data_dir / "authority"


def gateway_folder(data_dir: Path) -> Path:
    """Return where a gateway's certificates are."""
    return data_dir / "tls"


class Authority:
    """The authority, with its private key. `ensure_authority` creates its files, `load` reads them."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate
        self.pem = certificate_pem(certificate)

    @classmethod
    def load(cls, data_dir: Path) -> "Authority":
        """Read the authority from its files. Raises AuthorityError if they are missing, unreadable, or do not match."""
        folder = authority_folder(data_dir)
        key = _read_key(folder / "authority.key")
        certificate = _read_certificate(folder / "authority.pem")
        if key is None or certificate is None:
            raise AuthorityError(
                f"There is no certificate authority in {folder}. Start the controller, which creates it."
            )
        if certificate.public_key() != key.public_key():
            raise AuthorityError(
                f"authority.pem and authority.key in {folder} do not match. Restore both from a backup."
            )
        return cls(key, certificate)

    def passport(self, attempt: str, *, walltime: float = 0, clock: Clock = now) -> Passport:
        """Return the credentials of this attempt's job. `walltime`: its time limit in seconds, if known."""
        name = node_name(attempt)
        life = max(JOB_LIFE, timedelta(seconds=walltime) + timedelta(days=1))
        certificate, key = self.issue((name,), ExtendedKeyUsageOID.SERVER_AUTH, life, clock=clock)
        return Passport(name=name, certificate=certificate.decode(), key=key.decode(), authority=self.pem.decode())

    def issue(
        self, names: tuple[str, ...], use: x509.ObjectIdentifier, life: timedelta, *, clock: Clock = now
    ) -> tuple[bytes, bytes]:
        """Return a certificate for these host names and addresses, and its new key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self.sign(key.public_key(), names, use, life, clock=clock), key_pem(key)

    def sign(
        self,
        key: ec.EllipticCurvePublicKey,
        names: tuple[str, ...],
        use: x509.ObjectIdentifier,
        life: timedelta,
        *,
        clock: Clock = now,
    ) -> bytes:
        """Return a certificate (PEM) for a public key. It never outlives the authority's own."""
        begin = clock()
        certificate = (
            builder(named(names[0]), self.certificate.subject, key, begin)
            .not_valid_after(min(begin + life, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName([general(name) for name in names]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate_pem(certificate)

    def signed(self, certificate: x509.Certificate) -> bool:
        """Return whether this authority issued the certificate."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def is_same(self, certificate: bytes) -> bool:
        """Return whether this certificate (PEM) is of this authority: an older or newer one with the same key."""
        try:
            return x509.load_pem_x509_certificate(certificate).public_key() == self._key.public_key()
        except ValueError:
            return False


def has_authority(data_dir: Path) -> bool:
    """Return whether this data directory has an authority's key. Raises PrivateFileError if it is not private."""
    return is_private_file(authority_folder(data_dir) / "authority.key")


def ensure(data_dir: Path, config: Config, *, clock: Clock = now) -> list[str]:
    """Create what is missing or expiring, for a controller and a gateway that share this data directory.

    Returns the created files, as paths in the data directory. Raises as `ensure_authority` does.
    """
    return [*ensure_authority(data_dir, clock=clock), *ensure_gateway(data_dir, config, clock=clock)]


def ensure_authority(data_dir: Path, *, clock: Clock = now) -> list[str]:
    """Create what is missing or expiring of the authority.

    Returns the created files, as paths in the data directory.

    Safe against a crash between any two steps, and two simultaneous processes: the second finds what the first created.
    Raises AuthorityError and PrivateFileError for files that cannot be used.
    """
    folder = authority_folder(data_dir)
    make_private_folder(folder)
    made: list[str] = []
    with locked_folder(folder):
        _ensure_key_and_certificate(folder, made, clock)
        if not is_private_file(folder / "seal.key"):
            write_private_file(folder / "seal.key", secrets.token_bytes(KEY_BYTES))
            made.append("seal.key")
        made += ensure_ssh_authority(folder)
    return [f"{folder.name}/{name}" for name in made]


def ensure_gateway(data_dir: Path, config: Config, *, clock: Clock = now) -> list[str]:
    """Create what is missing or expiring, for a gateway on the controller's own data directory.

    Returns the created files, as paths in the data directory.
    """
    authority = Authority.load(data_dir)
    folder = gateway_folder(data_dir)
    make_private_folder(folder)
    made = []
    with locked_folder(folder):
        if not is_private_file(folder / "authority.pem") or (folder / "authority.pem").read_bytes() != authority.pem:
            write_private_file(folder / "authority.pem", authority.pem)
            made.append("authority.pem")
        own = (
            ("gateway.pem", (GATEWAY_NAME,), ExtendedKeyUsageOID.CLIENT_AUTH),
            (
                "reports.pem",
                report_names(config, (socket.gethostname(), socket.getfqdn())),
                ExtendedKeyUsageOID.SERVER_AUTH,
            ),
        )
        for file, names, use in own:
            if not _serves(folder / file, authority, names, clock):
                write_private_file(folder / file, b"".join(authority.issue(names, use, GATEWAY_LIFE, clock=clock)))
                made.append(file)
    return [f"{folder.name}/{name}" for name in made]


def _ensure_key_and_certificate(folder: Path, made: list[str], clock: Clock) -> None:
    """Create the key first, permanently: a certificate without its key would be useless."""
    key = _read_key(folder / "authority.key")
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_private_file(folder / "authority.key", key_pem(key))
        made.append("authority.key")
    old = _read_certificate(folder / "authority.pem")
    same = old is not None and old.public_key() == key.public_key()
    if old is not None and same and lasts(old, clock):
        return
    # the same subject and key: certificates issued by either are valid under both
    subject = old.subject if old is not None and same else named(f"Towpath hub {secrets.token_hex(4)}")
    begin = clock()
    certificate = (
        builder(subject, subject, key.public_key(), begin)
        .not_valid_after(begin + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private_file(folder / "authority.pem", certificate_pem(certificate))
    made.append("authority.pem")


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    if not is_private_file(path):
        return None
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise AuthorityError(f"{path} is not a private key.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{path} is not an elliptic-curve key of the hub's type.")
    return key


def _read_certificate(path: Path) -> x509.Certificate | None:
    if not is_private_file(path):
        return None
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise AuthorityError(f"{path} is not a certificate. Remove it, and a new one is created.") from error


def _serves(path: Path, authority: Authority, names: tuple[str, ...], clock: Clock) -> bool:
    """Return whether the certificate there is the hub's, for these names, and valid for a while."""
    certificate = _read_certificate(path)
    if certificate is None or not authority.signed(certificate):
        return False
    expected = tuple(str(general(name).value) for name in names)
    return alternative_names(certificate) == expected and lasts(certificate, clock)
