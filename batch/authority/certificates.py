"""Builds certificates and converts them from and to PEM. RFC 5280; requests are PKCS #10 (RFC 2986)."""

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SKEW: Final = timedelta(hours=1)
"""How far a node's clock may be behind."""
RENEW_AT: Final = 3
"""A certificate is renewed when less than this fraction (one in...) of its lifetime is left."""

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the current time for certificates."""
    return datetime.now(UTC)


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime
) -> x509.CertificateBuilder:
    """Return a builder with what all certificates of the hub have in common."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - SKEW)
    )


def named(name: str) -> x509.Name:
    """Return a subject with one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def general(name: str) -> x509.GeneralName:
    """Return a host name or an address in the form for certificates."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)


def alternative_names(holder: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """Return the host names and addresses of a certificate or a request for one."""
    try:
        found = holder.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


def usage(*, sign: bool) -> x509.KeyUsage:
    """Return the key usage of an authority (`sign`) or of a certificate that it issues."""
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


def lasts(certificate: x509.Certificate, clock: Clock) -> bool:
    """Return whether more than a third of the certificate's lifetime is left."""
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - clock() > whole / RENEW_AT


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the private key as PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
