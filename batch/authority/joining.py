"""The controller's side of joining: invitations, answers, and certificates for joined gateways.

What is exchanged, and why: `state.records.joining`. A gateway's request proves that it has the private key, and its
current certificate proves that it has joined. So a new certificate needs no secret, and is useless to others.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from batch.authority.authority import (
    GATEWAY_LIFE,
    Authority,
    AuthorityError,
    authority_folder,
    ensure_authority,
    gateway_folder,
    has_authority,
)
from batch.authority.certificates import Clock, alternative_names, lasts, now
from batch.authority.seal import seal_key
from batch.authority.ssh import SSH_USER_CA
from state.joining import open_invitation, open_request, seal_answer, seal_invitation
from state.names import GATEWAY_NAME, INTERNAL_DOMAIN, REPORTS_NAME
from state.records.joining import (
    GATEWAY_ID_LENGTH,
    GatewayCertificates,
    Invitation,
    JoinAnswer,
    JoinRequest,
    JoinToken,
    RenewedCertificates,
    Role,
)
from state.sealing.box import SealError
from state.sealing.private_files import is_private_file, locked_folder, make_private_folder, write_private_file
from state.store.joining import Joining

log = logging.getLogger("towpath.controller")

NAMES_MAX: Final = 32
EXPIRED_FOR: Final = timedelta(days=30)
"""How long an expired certificate of a gateway still proves that the gateway has joined."""
CONTROLLER_FILES: Final = ("authority.key", "authority.pem", "seal.key", SSH_USER_CA, f"{SSH_USER_CA}.pub")


async def claim(store: Joining, data_dir: Path) -> list[str]:
    """Make sure that this data directory has the hub's one authority. Create it if the hub has none yet.

    Returns the created files. Raises AuthorityError if the hub has another one.
    """
    registered = await store.authority()
    if registered is not None and not has_authority(data_dir):
        raise AuthorityError(
            "This hub's certificate authority belongs to a controller with another data directory."
            " There, run: towpath controller invite --role controller; here, run: towpath controller join"
        )
    made = ensure_authority(data_dir)
    authority = Authority.load(data_dir)
    registered = await store.claim_authority(authority.pem)
    if not authority.is_same(registered):
        raise AuthorityError(
            f"This hub has another certificate authority than {authority_folder(data_dir)}. Two controllers with"
            " different data directories created one each. On the other: towpath controller invite --role controller;"
            " here, run: towpath controller join --replace"
        )
    if registered != authority.pem:
        await store.renew_authority(authority.pem)
    return made


async def invite(
    store: Joining, data_dir: Path, role: Role, *, lifetime: float, clock: Callable[[], float] = time.time
) -> JoinToken:
    """Return a token that lets one gateway or controller join within `lifetime` seconds."""
    token = JoinToken.new()
    invitation = Invitation(role=role, key=token.key, expires=clock() + lifetime)
    await store.invite(token.id, seal_invitation(invitation, token.id, key=seal_key(data_dir)), lifetime=lifetime)
    return token


async def answer(store: Joining, data_dir: Path, token_id: str, *, clock: Callable[[], float] = time.time) -> None:
    """Answer the request that was made with a token, if there is one."""
    sealed = await store.request(token_id)
    if sealed is None:
        return
    invitation = await _invitation(store, data_dir, token_id, clock())
    if invitation is None:
        log.warning("Join refused token=%s reason=unknown-token", token_id)
        await store.refuse(token_id)
        return
    token = JoinToken(id=token_id, key=invitation.key)
    try:
        request = open_request(sealed, token)
    except (SealError, msgspec.DecodeError):
        log.warning("Join refused token=%s reason=wrong-key", token_id)  # the token stays valid
        return
    try:
        reply = admit(data_dir, invitation.role, request)
    except AuthorityError as error:
        reply = JoinAnswer(refusal=str(error))
    if await store.answer(token_id, seal_answer(reply, token)):
        outcome = f"refused: {reply.refusal}" if reply.refusal else "admitted"
        log.info("Join answered token=%s role=%s host=%s outcome=%s", token_id, request.role, request.host, outcome)


def admit(data_dir: Path, role: Role, request: JoinRequest) -> JoinAnswer:
    """Return what this request is given under an invitation for `role`. Raises AuthorityError."""
    if request.role != role:
        raise AuthorityError(f"This token is for a {role}. Create one with: towpath controller invite --role {role}")
    authority = Authority.load(data_dir)
    if role == "controller":
        folder = authority_folder(data_dir)
        return JoinAnswer(files={name: (folder / name).read_bytes() for name in CONTROLLER_FILES})
    gateway, reports = signed(authority, request.gateway_request, request.reports_request)
    return JoinAnswer(authority=authority.pem.decode(), gateway=gateway, reports=reports)


def signed(authority: Authority, gateway_request: str, reports_request: str, *, clock: Clock = now) -> tuple[str, str]:
    """Return both certificates of a gateway (PEM), for its requests (PEM). Raises AuthorityError."""
    gateway, reports = _request(gateway_request), _request(reports_request)
    key = gateway.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or reports.public_key() != key:
        raise AuthorityError("A gateway's two requests must be for one elliptic-curve key.")
    names = alternative_names(reports)
    ours = [name for name in names if name.lower().rstrip(".").endswith(INTERNAL_DOMAIN)]
    if ours != [REPORTS_NAME] or len(names) > NAMES_MAX:
        raise AuthorityError("A gateway may not have a certificate for these names.")
    return (
        authority.sign(key, (GATEWAY_NAME,), ExtendedKeyUsageOID.CLIENT_AUTH, GATEWAY_LIFE, clock=clock).decode(),
        authority.sign(key, names, ExtendedKeyUsageOID.SERVER_AUTH, GATEWAY_LIFE, clock=clock).decode(),
    )


def renewal(authority: Authority, held: GatewayCertificates, *, clock: Clock = now) -> RenewedCertificates | None:
    """Return new certificates for a gateway that needs some, or None.

    Raises AuthorityError if what it has published does not prove that it has joined.
    """
    gateway, reports = _certificate(held.gateway), _certificate(held.reports)
    requested = _request(held.reports_request)
    _check_joined(authority, held, gateway, clock)
    good = lasts(gateway, clock) and lasts(reports, clock) and authority.signed(reports)
    if good and alternative_names(reports) == alternative_names(requested):
        return None
    fresh, listener = signed(authority, held.gateway_request, held.reports_request, clock=clock)
    return RenewedCertificates(authority=authority.pem.decode(), gateway=fresh, reports=listener)


async def ssh_key(store: Joining, data_dir: Path, gateway_id: str, *, clock: Clock = now) -> str:
    """Return the public key of a gateway, as OpenSSH writes it. Raises AuthorityError if it has not joined.

    The gateway that shares this data directory (`towpath serve`) need not join.
    """
    authority = Authority.load(data_dir)
    own = gateway_folder(data_dir) / "gateway.pem"
    if is_private_file(own):
        gateway = _certificate(own.read_text())
        if _id_of(gateway) == gateway_id and authority.signed(gateway):
            return _ssh_line(gateway)
    held = (await store.joined()).get(gateway_id)
    if held is None:
        raise AuthorityError("This gateway has not joined the hub.")
    gateway = _certificate(held.gateway)
    _check_joined(authority, held, gateway, clock)
    if _id_of(gateway) != gateway_id:
        raise AuthorityError("This gateway's certificate does not prove that it has joined.")
    return _ssh_line(gateway)


def _ssh_line(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _id_of(certificate: x509.Certificate) -> str:
    """Return the id of the gateway that has this certificate: the digest of its public key."""
    key = certificate.public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:GATEWAY_ID_LENGTH]


def _check_joined(authority: Authority, held: GatewayCertificates, gateway: x509.Certificate, clock: Clock) -> None:
    if (
        not authority.signed(gateway)
        or ExtendedKeyUsageOID.CLIENT_AUTH not in _uses(gateway)
        or alternative_names(gateway) != (GATEWAY_NAME,)
        or clock() - gateway.not_valid_after_utc > EXPIRED_FOR
        or _request(held.gateway_request).public_key() != gateway.public_key()
    ):
        raise AuthorityError("This gateway's certificate does not prove that it has joined.")


async def renew(store: Joining, data_dir: Path, gateway_ids: set[str] | None = None, *, clock: Clock = now) -> None:
    """Publish new certificates for all gateways that need some; `gateway_ids`: only for these."""
    joined = await store.joined()
    if gateway_ids is not None:
        joined = {gateway_id: held for gateway_id, held in joined.items() if gateway_id in gateway_ids}
    if not joined:
        return
    authority = Authority.load(data_dir)
    for gateway_id, held in joined.items():
        try:
            renewed = renewal(authority, held, clock=clock)
        except AuthorityError as error:
            log.warning("Gateway certificate not renewed gateway=%s host=%s reason=%s", gateway_id, held.host, error)
            continue
        if renewed is not None:
            await store.renew(gateway_id, renewed)
            log.info("Gateway certificate renewed gateway=%s host=%s", gateway_id, held.host)


def adopt(data_dir: Path, joined: JoinAnswer, *, replace: bool) -> None:
    """Store the authority's files that a controller has received.

    Raises AuthorityError if there is another authority.
    """
    folder = authority_folder(data_dir)
    make_private_folder(folder)
    with locked_folder(folder):
        own = folder / "authority.key"
        if own.exists() and own.read_bytes() != joined.files["authority.key"] and not replace:
            raise AuthorityError(
                f"{folder} has another authority. If it is replaced, jobs that trust it cannot be reached."
                " To replace it anyway, add --replace."
            )
        for name in CONTROLLER_FILES:
            write_private_file(folder / name, joined.files[name])


async def _invitation(store: Joining, data_dir: Path, token_id: str, at: float) -> Invitation | None:
    """Return the invitation of a token, or None if there is no valid one."""
    sealed = await store.invitation(token_id)
    try:
        found = None if sealed is None else open_invitation(sealed, token_id, key=seal_key(data_dir))
    except (SealError, msgspec.DecodeError):
        return None
    return found if found is not None and found.expires > at else None


def _request(pem: str) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(pem.encode())
    except ValueError as error:
        raise AuthorityError("This is not a certificate request.") from error
    if not request.is_signature_valid:
        raise AuthorityError("This certificate request is not signed by its own key.")
    return request


def _certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise AuthorityError("This is not a certificate.") from error


def _uses(certificate: x509.Certificate) -> tuple[x509.ObjectIdentifier, ...]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return ()
