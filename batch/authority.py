"""The hub's own certificate authority: who the gateway is to a job, and who a job is to the gateway.

Owns: the files in `<data dir>/tls/` and every certificate; this side's one door to `cryptography`. Refuses to know
jobs, schedulers and connections: it is given names.

    authority.key   the private key (0600); the controller's alone
    authority.pem   its certificate, for 10 years
    gateway.pem     the gateway's client certificate and key (0600), name gateway.towpath.internal
    reports.pem     certificate and key (0600) of the listener for jobs' reports
    seal.key        32 random bytes (0600): the seal of job records, see `seal`
    lock            held while files are made

A hub has these five files for as long as it lives; what comes near its end is made anew with the same authority's key,
so that jobs that run go on trusting the hub. Sources: RFC 5280, RFC 5116 (AES-GCM).
"""

import contextlib
import fcntl
import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from batch.contract import Passport
from state.config.tables import Config
from state.errors import TowpathError

DOMAIN: Final = "towpath.internal"
GATEWAY_NAME: Final = f"gateway.{DOMAIN}"
REPORTS_NAME: Final = f"reports.{DOMAIN}"
AUTHORITY_LIFE: Final = timedelta(days=3650)
OWN_LIFE: Final = timedelta(days=365)
"""Of the gateway's and the listener's certificates."""
JOB_LIFE: Final = timedelta(days=400)
"""Of a job's certificate, or its walltime, whichever is longer."""
SKEW: Final = timedelta(hours=1)
"""So far may a node's clock be behind."""
RENEW_AT: Final = 3
"""A certificate is made anew when less than this fraction (one in...) of its life is left."""
SEAL_BYTES: Final = 32
NONCE_BYTES: Final = 12
SEAL_LABEL: Final = b"towpath record 1\0"

Clock = Callable[[], datetime]


class AuthorityError(TowpathError):
    """The hub's certificates cannot be used or made: a sentence for the admin."""


class SealError(TowpathError):
    """A sealed record was changed, is another attempt's, or was sealed by another hub."""


def now() -> datetime:
    """The time of certificates."""
    return datetime.now(UTC)


def folder_of(data_dir: Path) -> Path:
    """Where the files are."""
    return data_dir / "tls"


class Authority:
    """The authority, able to sign. `ensure` makes its files, `load` reads them."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate
        self.pem = _certificate_pem(certificate)

    @classmethod
    def load(cls, data_dir: Path) -> "Authority":
        """From its files. Raises AuthorityError when they are missing, not private, or not of one pair."""
        folder = folder_of(data_dir)
        key = _read_key(folder / "authority.key")
        certificate = _read_certificate(folder / "authority.pem", private=False)
        if key is None or certificate is None:
            raise AuthorityError(f"There is no certificate authority in {folder}. `python -m batch tls` makes it.")
        if certificate.public_key() != key.public_key():
            raise AuthorityError(f"authority.pem and authority.key in {folder} do not belong together.")
        return cls(key, certificate)

    def passport(self, attempt: str, *, walltime: float = 0, clock: Clock = now) -> Passport:
        """What the job of this attempt proves itself with. `walltime`: its seconds, where they are known."""
        name = f"{attempt}.{DOMAIN}"
        life = max(JOB_LIFE, timedelta(seconds=walltime) + timedelta(days=1))
        certificate, key = self.issue((name,), ExtendedKeyUsageOID.SERVER_AUTH, life, clock=clock)
        return Passport(name=name, certificate=certificate.decode(), key=key.decode(), authority=self.pem.decode())

    def issue(
        self, names: tuple[str, ...], usage: x509.ObjectIdentifier, life: timedelta, *, clock: Clock = now
    ) -> tuple[bytes, bytes]:
        """A certificate and its fresh key, as PEM, for these host names and addresses. It never outlives ours."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = clock()
        certificate = (
            _builder(_named(names[0]), self.certificate.subject, key.public_key(), begin)
            .not_valid_after(min(begin + life, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return _certificate_pem(certificate), _key_pem(key)

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether this certificate is ours."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def ensure(data_dir: Path, config: Config, *, clock: Clock = now) -> list[str]:
    """Make what is missing or near its end; the names of the files that were made.

    Safe against a crash between any two steps, and two processes at once: the second finds what the first made.
    Raises AuthorityError for a file that is not private, or cannot be read.
    """
    folder = folder_of(data_dir)
    _private_folder(folder)
    made: list[str] = []
    with _locked(folder):
        _ensure_authority(folder, made, clock)
        authority = Authority.load(data_dir)
        own = (
            ("gateway.pem", (GATEWAY_NAME,), ExtendedKeyUsageOID.CLIENT_AUTH),
            ("reports.pem", report_names(config), ExtendedKeyUsageOID.SERVER_AUTH),
        )
        for file, names, usage in own:
            if not _holds(folder / file, authority, names, clock):
                _write(folder / file, b"".join(authority.issue(names, usage, OWN_LIFE, clock=clock)))
                made.append(file)
        if not _private_file(folder / "seal.key"):
            _write(folder / "seal.key", secrets.token_bytes(SEAL_BYTES))
            made.append("seal.key")
    return made


def _ensure_authority(folder: Path, made: list[str], clock: Clock) -> None:
    """The key first, and for ever: a certificate without its key would be of no use."""
    key = _read_key(folder / "authority.key")
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        _write(folder / "authority.key", _key_pem(key))
        made.append("authority.key")
    old = _read_certificate(folder / "authority.pem", private=False)
    if old is not None and old.public_key() == key.public_key() and _has_long(old, clock):
        return
    # the same subject and key: what the old one vouches for, this one does too, and the other way round
    same = old is not None and old.public_key() == key.public_key()
    subject = old.subject if old is not None and same else _named(f"Towpath hub {secrets.token_hex(4)}")
    begin = clock()
    certificate = (
        _builder(subject, subject, key.public_key(), begin)
        .not_valid_after(begin + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / "authority.pem", _certificate_pem(certificate))
    made.append("authority.pem")


def report_names(config: Config) -> tuple[str, ...]:
    """The names and addresses under which a job may ask for the listener of reports. Pure but for the host's name."""
    gateway = config.gateway
    hosts = [urlsplit(gateway.internal_url).hostname or "", gateway.report_host, gateway.host]
    if {"0.0.0.0", "::", ""} & {gateway.report_host or gateway.host}:
        hosts += ["127.0.0.1", socket.gethostname(), socket.getfqdn()]
    named = [host.strip("[]") for host in hosts]
    return tuple(dict.fromkeys([REPORTS_NAME, *(host for host in named if host not in {"", "0.0.0.0", "::"})]))


# --- the seal of job records --------------------------------------------------------------------------------------


def seal_key(data_dir: Path) -> bytes:
    """The key of `seal`. Raises AuthorityError when it is missing or not private."""
    path = folder_of(data_dir) / "seal.key"
    key = path.read_bytes() if _private_file(path) else b""
    if len(key) != SEAL_BYTES:
        raise AuthorityError(f"There is no seal key in {path.parent}. `python -m batch tls` makes it.")
    return key


def seal(key: bytes, attempt: str, record: bytes) -> bytes:
    """The record so that others can neither read nor change it, nor give it to another attempt (AES-256-GCM).

    28 bytes longer. Random nonces are good for 2^32 records with one key (NIST SP 800-38D, section 8.3).
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, record, SEAL_LABEL + attempt.encode())


def unseal(key: bytes, attempt: str, sealed: bytes) -> bytes:
    """The record. Raises SealError for anything that `seal` did not make with this key for this attempt."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], SEAL_LABEL + attempt.encode())
    except (InvalidTag, ValueError) as error:
        raise SealError("The record was not sealed by this hub for this attempt.") from error


# --- files --------------------------------------------------------------------------------------------------------


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise AuthorityError(f"{folder} must be a folder of the hub's own account with mode 0700.")


def _private_file(path: Path, *, private: bool = True) -> bool:
    """Whether it is there. Raises AuthorityError when it is not a file of ours, or too open to others."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        raise AuthorityError(f"{path} must be a file of the hub's own account.")
    if facts.st_mode & (0o077 if private else 0o022):
        mode = "0600" if private else "0644"
        raise AuthorityError(
            f"{path} is open to others (mode {facts.st_mode & 0o777:04o}); it must be {mode}."
            " Somebody may have read it: remove it, and it is made anew."
        )
    return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(path: Path, data: bytes) -> None:
    """In one step, and on the disk before it has its name: never half a key."""
    temporary = path.with_name(f"{path.name}.new")  # under the lock there is one writer; a crashed one's is replaced
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    temporary.rename(path)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    if not _private_file(path):
        return None
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise AuthorityError(f"{path} is not a private key.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{path} is not a key of the kind that the hub makes.")
    return key


def _read_certificate(path: Path, *, private: bool) -> x509.Certificate | None:
    if not _private_file(path, private=private):
        return None
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise AuthorityError(f"{path} is not a certificate. Remove it, and it is made anew.") from error


def _holds(path: Path, authority: Authority, names: tuple[str, ...], clock: Clock) -> bool:
    """Whether the certificate there is ours, for these names, and good for a while."""
    certificate = _read_certificate(path, private=True)
    if certificate is None or not authority.signed(certificate):
        return False
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(found) == [_general(name) for name in names] and _has_long(certificate, clock)


def _has_long(certificate: x509.Certificate, clock: Clock) -> bool:
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - clock() > whole / RENEW_AT


# --- the parts of a certificate -----------------------------------------------------------------------------------


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - SKEW)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
