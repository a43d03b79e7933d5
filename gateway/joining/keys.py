"""A gateway's private key: certificate requests for it, and whether certificates are good for it.

The key never leaves this machine. RFC 2986 (requests), RFC 5280 (certificates).
"""

import hashlib
import ipaddress
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from state.errors import TowpathError
from state.names import GATEWAY_NAME
from state.records.joining import GATEWAY_ID_LENGTH, GatewayCertificates, RenewedCertificates
from state.sealing.private_files import is_private_file, locked_folder, make_private_folder, write_private_file

FILES: Final = ("authority.pem", "gateway.pem", "reports.pem")
"""What a gateway has in its folder: the authority's certificate, then its own two, each with the key."""


class GatewayKey:
    """A private key on the curve P-256. `id` is the digest of its public key, in hex."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.id = hashlib.sha256(public).hexdigest()[:GATEWAY_ID_LENGTH]

    @classmethod
    def new(cls) -> "GatewayKey":
        """Return a fresh key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, folder: Path) -> "GatewayKey":
        """Return the key of the gateway whose certificates are in this folder. Raises TowpathError."""
        path = folder / "gateway.pem"
        if not is_private_file(path):
            raise TowpathError(f"There is no {path}.")
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise TowpathError(f"{path} holds no private key.") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TowpathError(f"{path} holds no elliptic-curve key.")
        return cls(key)

    def request(self, names: tuple[str, ...]) -> str:
        """Return a certificate request (PEM) for these host names and addresses."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternative = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        request = builder.add_extension(alternative, critical=False).sign(self._key, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM).decode()

    def install(self, folder: Path, renewed: RenewedCertificates) -> None:
        """Keep these certificates for this key. Raises TowpathError if they are not good for it.

        An authority that is already known stays: a new certificate of its is taken only if it is for the same key.
        """
        make_private_folder(folder)
        with locked_folder(folder):
            authority = _certificate(renewed.authority)
            known = folder / "authority.pem"
            if is_private_file(known) and _certificate(known.read_text()).public_key() != authority.public_key():
                raise TowpathError(f"{known} is of another authority. Remove {folder} to join another hub.")
            for pem in (renewed.gateway, renewed.reports):
                certificate = _certificate(pem)
                if certificate.public_key() != self._key.public_key() or not _signed(certificate, authority):
                    raise TowpathError("The controller has sent certificates that are not this gateway's.")
            key = self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            contents = (renewed.authority.encode(), renewed.gateway.encode() + key, renewed.reports.encode() + key)
            for name, content in zip(FILES, contents, strict=True):
                write_private_file(folder / name, content)


def published(folder: Path, key: GatewayKey, *, host: str, names: tuple[str, ...]) -> GatewayCertificates:
    """Return what a gateway tells the controllers of its certificates. `names`: of its listener for reports."""
    return GatewayCertificates(
        host=host,
        gateway=_leaf(folder / "gateway.pem"),
        reports=_leaf(folder / "reports.pem"),
        gateway_request=key.request((GATEWAY_NAME,)),
        reports_request=key.request(names),
    )


def expiry(folder: Path) -> datetime:
    """Return when the first of the gateway's certificates expires. Raises TowpathError."""
    return min(end_of((folder / name).read_text()) for name in FILES)


def end_of(pem: str) -> datetime:
    """Return when a certificate expires. Raises TowpathError."""
    return _certificate(pem).not_valid_after_utc


def _leaf(path: Path) -> str:
    certificate = _certificate(path.read_text())
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise TowpathError("This is not a certificate.") from error


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)
