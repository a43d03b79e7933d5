"""How a gateway or another controller joins: one authority, one-time tokens, no secret in the store."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from batch.authority import Authority, AuthorityError, ensure_authority
from batch.authority import joining as admission
from batch.authority.authority import GATEWAY_LIFE
from batch.controller.joins import answer_joins
from gateway.joining.certificates import CertificateKeeper, join, wait_for_certificates
from gateway.joining.keys import GatewayKey, expiry, published
from state.config.tables import Config, GatewayConfig
from state.errors import TowpathError
from state.joining import ask_to_join
from state.names import GATEWAY_NAME, REPORTS_NAME
from state.records.joining import JoinRequest, JoinToken, JoinTokenError, RenewedCertificates
from state.store.all import Store
from tests.conftest import run, until

CONFIG = Config(gateway=GatewayConfig(report_host="10.1.2.3"))
NAMES = (REPORTS_NAME, "10.1.2.3", "127.0.0.1")


@pytest.fixture
def place(tmp_path, store_url):
    """A controller's data directory with an authority, a gateway's without, and a way to use both with a store."""
    controller, gateway = tmp_path / "controller", tmp_path / "gateway"
    controller.mkdir(mode=0o700)
    gateway.mkdir(mode=0o700)

    def on(body, *, leader=True):
        async def main():
            store = await Store.open(store_url)
            ensure_authority(controller)
            task = asyncio.create_task(answer_joins(store.joining, controller)) if leader else None
            try:
                return await body(store.joining)
            finally:
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                await store.close()

        return run(main())

    return controller, gateway, on


def request_of(key, *, role="gateway", names=NAMES):
    return JoinRequest(
        role=role, host="edge1", gateway_request=key.request((GATEWAY_NAME,)), reports_request=key.request(names)
    )


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def names_of(found):
    return [str(name.value) for name in found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


def later(**span):
    return lambda: datetime.now(UTC) + timedelta(**span)


def test_a_gateway_joins_with_a_token_and_has_its_own_key(place):
    controller, gateway, on = place

    async def body(store):
        token = await admission.invite(store, controller, "gateway", lifetime=60)
        await join(store, JoinToken.parse(token.text()), CONFIG, gateway)

    on(body)
    authority = Authority.load(controller)
    folder = gateway / "tls"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert (folder / "authority.pem").read_bytes() == authority.pem
    own, reports = certificate(folder / "gateway.pem"), certificate(folder / "reports.pem")
    assert authority.signed(own)
    assert authority.signed(reports)
    assert own.public_key() == reports.public_key()
    assert names_of(own) == [GATEWAY_NAME]
    assert set(NAMES) <= set(names_of(reports))
    uses = [list(one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) for one in (own, reports)]
    assert uses == [[ExtendedKeyUsageOID.CLIENT_AUTH], [ExtendedKeyUsageOID.SERVER_AUTH]]
    assert not (gateway / "authority").exists()


def test_a_token_is_valid_for_one_join(place):
    controller, _, on = place

    async def body(store):
        token = await admission.invite(store, controller, "gateway", lifetime=60)
        await ask_to_join(store, token, request_of(GatewayKey.new()), patience=30)
        with pytest.raises(TowpathError, match="expired or was used"):
            await ask_to_join(store, token, request_of(GatewayKey.new()), patience=30)

    on(body)


def test_only_one_of_two_simultaneous_uses_of_a_token_succeeds(place):
    controller, _, on = place

    async def body(store):
        token = await admission.invite(store, controller, "gateway", lifetime=60)
        keys = [GatewayKey.new() for _ in range(4)]
        asked = [ask_to_join(store, token, request_of(key), patience=2) for key in keys]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1

    on(body)


def test_expired_and_unknown_tokens_are_rejected(place):
    controller, _, on = place

    async def body(store):
        old = await admission.invite(store, controller, "gateway", lifetime=60, clock=lambda: time.time() - 61)
        with pytest.raises(TowpathError, match="does not know this join token"):
            await ask_to_join(store, old, request_of(GatewayKey.new()), patience=30)
        with pytest.raises(TowpathError, match="expired or was used"):
            await ask_to_join(store, JoinToken.new(), request_of(GatewayKey.new()), patience=30)

    on(body)


def test_an_invitation_that_was_put_into_the_store_by_others_is_rejected(place, tmp_path):
    _, _, on = place
    rogue = tmp_path / "rogue"
    rogue.mkdir()
    ensure_authority(rogue)

    async def body(store):
        token = await admission.invite(store, rogue, "controller", lifetime=60)  # sealed with another hub's key
        with pytest.raises(TowpathError, match="does not know this join token"):
            await ask_to_join(store, token, JoinRequest(role="controller", host="x"), patience=30)

    on(body)


def test_without_the_tokens_key_nobody_joins_and_the_token_stays_valid(place):
    controller, _, on = place

    async def body(store):
        token = await admission.invite(store, controller, "gateway", lifetime=60)
        guess = JoinToken(id=token.id, key=bytes(32))
        with pytest.raises(TowpathError, match="No controller answered"):
            await ask_to_join(store, guess, request_of(GatewayKey.new()), patience=1)
        assert await ask_to_join(store, token, request_of(GatewayKey.new()), patience=30)

    on(body)


def test_a_gateways_token_does_not_admit_a_controller_or_the_other_way_round(place):
    controller, _, on = place

    async def body(store):
        for given, asked in (("gateway", "controller"), ("controller", "gateway")):
            token = await admission.invite(store, controller, given, lifetime=60)
            with pytest.raises(TowpathError, match=f"for a {given}"):
                await ask_to_join(store, token, request_of(GatewayKey.new(), role=asked), patience=30)

    on(body)


@pytest.mark.parametrize(
    "names",
    [
        ("hub.example.org",),
        (REPORTS_NAME, f"{'a' * 32}.towpath.internal"),
        (REPORTS_NAME, GATEWAY_NAME),
        (REPORTS_NAME, "Gateway.Towpath.Internal"),
        (REPORTS_NAME, *(f"h{number}.example.org" for number in range(40))),
    ],
)
def test_a_gateway_gets_no_certificate_for_names_of_nodes_or_others(place, names):
    controller, _, on = place

    async def body(store):
        token = await admission.invite(store, controller, "gateway", lifetime=60)
        with pytest.raises(TowpathError, match="may not have a certificate for these names"):
            await ask_to_join(store, token, request_of(GatewayKey.new(), names=names), patience=30)

    on(body)


def test_both_requests_must_be_for_the_key_that_signed_them(place):
    controller, _, on = place
    mine, other = GatewayKey.new(), GatewayKey.new()
    mixed = JoinRequest(
        role="gateway", host="x", gateway_request=mine.request((GATEWAY_NAME,)), reports_request=other.request(NAMES)
    )
    rubbish = JoinRequest(role="gateway", host="x", gateway_request="rubbish", reports_request=mine.request(NAMES))

    async def body(store):
        for request, words in ((mixed, "one elliptic-curve key"), (rubbish, "not a certificate request")):
            token = await admission.invite(store, controller, "gateway", lifetime=60)
            with pytest.raises(TowpathError, match=words):
                await ask_to_join(store, token, request, patience=30)

    on(body)


def test_the_store_never_contains_a_secret(place, valkey):
    controller, gateway, on = place
    seen = []

    async def body(store):
        tokens = [await admission.invite(store, controller, role, lifetime=60) for role in ("gateway", "controller")]
        seen.append(dump(valkey))
        await join(store, tokens[0], CONFIG, gateway)
        seen.append(dump(valkey))
        asked = ask_to_join(store, tokens[1], JoinRequest(role="controller", host="x"), patience=30)
        given = await asked
        await CertificateKeeper(store, CONFIG, gateway).look()
        seen.append(dump(valkey))
        return [
            *(token.key for token in tokens),
            *(token.key.hex().encode() for token in tokens),
            *given.files.values(),
        ]

    secrets = [secret for secret in on(body) if b"BEGIN CERTIFICATE" not in secret]
    folder = controller / "authority"
    secrets += [(folder / name).read_bytes() for name in ("authority.key", "seal.key")]
    whole = b"".join(seen)
    assert b"invitation" in whole
    assert b"PRIVATE KEY" not in whole
    assert not [secret for secret in secrets if (secret[40:80] or secret) in whole]


def dump(server):
    """Return the append-only file: everything that was ever written to the store."""
    return b"".join(path.read_bytes() for path in server.folder.rglob("*.aof"))


def test_certificates_are_renewed_through_the_store_for_the_same_key(place):
    controller, gateway, on = place

    async def body(store):
        token = await admission.invite(store, controller, "gateway", lifetime=60)
        await join(store, token, CONFIG, gateway)
        before = (gateway / "tls" / "gateway.pem").read_bytes()
        keeper = CertificateKeeper(store, CONFIG, gateway)
        assert not await keeper.look()
        await admission.renew(store, controller, clock=later(days=200))
        assert not await keeper.look()  # too early
        await admission.renew(store, controller, clock=later(days=300))
        assert await keeper.look()
        assert not await keeper.look()
        return before

    before = on(body)
    after = (gateway / "tls" / "gateway.pem").read_bytes()
    assert before != after
    assert before[before.index(b"-----BEGIN PRIVATE") :] == after[after.index(b"-----BEGIN PRIVATE") :]
    assert expiry(gateway / "tls") > datetime.now(UTC) + timedelta(days=600)


def test_outdated_certificates_in_the_store_are_ignored(place):
    controller, gateway, on = place

    async def body(store):
        await join(store, await admission.invite(store, controller, "gateway", lifetime=60), CONFIG, gateway)
        keeper = CertificateKeeper(store, CONFIG, gateway)
        await keeper.look()
        await admission.renew(store, controller, clock=later(days=300))
        (gateway_id,) = await store.joined()
        yesterday = await store.renewed(gateway_id)
        assert await keeper.look()
        await admission.renew(store, controller, clock=later(days=600))
        assert await keeper.look()
        await store.renew(gateway_id, yesterday)
        assert not await keeper.look()

    on(body)
    assert expiry(gateway / "tls") > datetime.now(UTC) + timedelta(days=900)


def test_a_running_gateway_uses_a_renewed_certificate(place):
    controller, gateway, on = place

    async def body(store):
        await join(store, await admission.invite(store, controller, "gateway", lifetime=60), CONFIG, gateway)
        keeper = asyncio.create_task(CertificateKeeper(store, CONFIG, gateway).run())
        before = (gateway / "tls" / "gateway.pem").read_bytes()
        await until(store.joined)
        await admission.renew(store, controller, clock=later(days=300))
        await until(lambda: (gateway / "tls" / "gateway.pem").read_bytes() != before)
        keeper.cancel()

    on(body)


def test_another_address_of_the_listener_gives_it_another_certificate(place):
    controller, gateway, on = place
    moved = Config(gateway=GatewayConfig(report_host="10.9.9.9"))

    async def body(store):
        await join(store, await admission.invite(store, controller, "gateway", lifetime=60), CONFIG, gateway)
        keeper = asyncio.create_task(CertificateKeeper(store, moved, gateway).run())
        await until(lambda: "10.9.9.9" in names_of(certificate(gateway / "tls" / "reports.pem")))
        keeper.cancel()

    on(body)


def test_the_certificate_of_a_job_is_never_renewed_as_a_gateways(place, tmp_path):
    """A job has a key and a certificate of the same authority. Publishing them must not make it a gateway."""
    controller, gateway, on = place
    authority = None

    async def body(store):
        await join(store, await admission.invite(store, controller, "gateway", lifetime=60), CONFIG, gateway)

    on(body)
    authority = Authority.load(controller)
    key = GatewayKey.load(gateway / "tls")
    good = published(gateway / "tls", key, host="x", names=NAMES)
    assert admission.renewal(authority, good, clock=later(days=300))

    def changed(**fields):
        return type(good)(**{name: getattr(good, name) for name in good.__struct_fields__} | fields)

    public = key._key.public_key()
    life = GATEWAY_LIFE
    job = authority.sign(public, (f"{'a' * 32}.towpath.internal",), ExtendedKeyUsageOID.SERVER_AUTH, life).decode()
    wrong_use = authority.sign(public, (GATEWAY_NAME,), ExtendedKeyUsageOID.SERVER_AUTH, life).decode()
    wrong_name = authority.sign(public, ("x.towpath.internal",), ExtendedKeyUsageOID.CLIENT_AUTH, life).decode()
    rival = tmp_path / "rival"
    rival.mkdir()
    ensure_authority(rival)
    foreign = Authority.load(rival).sign(public, (GATEWAY_NAME,), ExtendedKeyUsageOID.CLIENT_AUTH, life).decode()
    thief = GatewayKey.new()
    for attack in (
        changed(gateway=job),
        changed(gateway=wrong_use),
        changed(gateway=wrong_name),
        changed(gateway=foreign),
        changed(gateway_request=thief.request((GATEWAY_NAME,)), reports_request=thief.request(NAMES)),
    ):
        with pytest.raises(AuthorityError, match="does not prove"):
            admission.renewal(authority, attack, clock=later(days=300))
    with pytest.raises(AuthorityError, match="does not prove"):  # long after its expiry
        admission.renewal(authority, good, clock=later(days=400))
    assert admission.renewal(authority, good, clock=later(days=380))  # renewed after its expiry
    with pytest.raises(AuthorityError, match="one elliptic-curve key"):
        admission.renewal(authority, changed(reports_request=thief.request(NAMES)), clock=later(days=300))


def test_a_gateway_rejects_certificates_of_another_authority_or_key(place, tmp_path):
    controller, gateway, on = place

    async def body(store):
        await join(store, await admission.invite(store, controller, "gateway", lifetime=60), CONFIG, gateway)

    on(body)
    before = {path.name: path.read_bytes() for path in (gateway / "tls").glob("*.pem")}
    rival = tmp_path / "rival"
    rival.mkdir()
    ensure_authority(rival)
    key = GatewayKey.load(gateway / "tls")
    requests = (key.request((GATEWAY_NAME,)), key.request(NAMES))
    theirs, ours = Authority.load(rival), Authority.load(controller)
    foreign_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    other_key = ours.sign(foreign_key, (GATEWAY_NAME,), ExtendedKeyUsageOID.CLIENT_AUTH, GATEWAY_LIFE).decode()
    gateway_pem, reports_pem = admission.signed(ours, *requests)
    for given, words in (
        ((theirs.pem.decode(), *admission.signed(theirs, *requests)), "another authority"),
        ((ours.pem.decode(), *admission.signed(theirs, *requests)), "not this gateway's"),
        ((ours.pem.decode(), other_key, reports_pem), "not this gateway's"),
        ((ours.pem.decode(), "rubbish", reports_pem), "not a certificate"),
    ):
        with pytest.raises(TowpathError, match=words):
            key.install(gateway / "tls", RenewedCertificates(authority=given[0], gateway=given[1], reports=given[2]))
    assert before == {path.name: path.read_bytes() for path in (gateway / "tls").glob("*.pem")}
    key.install(
        gateway / "tls", RenewedCertificates(authority=ours.pem.decode(), gateway=gateway_pem, reports=reports_pem)
    )


def test_a_hub_has_one_authority_and_a_second_controller_joins_it(place, tmp_path):
    controller, _, on = place
    second = tmp_path / "second"
    second.mkdir()

    async def body(store):
        await admission.claim(store, controller)
        with pytest.raises(AuthorityError, match="towpath controller join"):
            await admission.claim(store, second)
        assert not (second / "authority").exists()
        token = await admission.invite(store, controller, "controller", lifetime=60)
        given = await ask_to_join(store, token, JoinRequest(role="controller", host="b"), patience=30)
        admission.adopt(second, given, replace=False)
        assert await admission.claim(store, second) == []

    on(body)
    files = [{path.name: path.read_bytes() for path in (one / "authority").iterdir()} for one in (controller, second)]
    assert files[0] == files[1]
    assert {path.stat().st_mode & 0o777 for path in (second / "authority").iterdir()} == {0o600}


def test_two_controllers_with_different_authorities_see_which_one_to_replace(place, tmp_path):
    controller, _, on = place
    second = tmp_path / "second"
    second.mkdir()
    ensure_authority(second)

    async def body(store):
        await admission.claim(store, controller)
        with pytest.raises(AuthorityError, match="--replace"):
            await admission.claim(store, second)
        token = await admission.invite(store, controller, "controller", lifetime=60)
        given = await ask_to_join(store, token, JoinRequest(role="controller", host="b"), patience=30)
        with pytest.raises(AuthorityError, match="another authority"):
            admission.adopt(second, given, replace=False)
        admission.adopt(second, given, replace=True)
        assert await admission.claim(store, second) == []

    on(body)


def test_the_authority_is_registered_again_after_a_loss_of_the_store(place, valkey):
    controller, _, on = place

    async def body(store):
        await admission.claim(store, controller)
        valkey.command("FLUSHALL")
        assert await store.authority() is None
        assert await admission.claim(store, controller) == []
        assert await store.authority() == Authority.load(controller).pem

    on(body, leader=False)


@pytest.mark.parametrize(
    "text", ["", "towpath-join", "towpath-join.0011223344556677.ab", "x" * 100, "towpath-join.." + "a" * 64]
)
def test_invalid_tokens_are_reported(text):
    with pytest.raises(JoinTokenError, match="not a join token"):
        JoinToken.parse(text)


def test_the_key_of_a_token_is_not_shown_by_accident():
    token = JoinToken.new()
    assert JoinToken.parse(f" {token.text()}\n") == token
    assert token.key.hex() not in repr(token)


def test_a_gateway_waits_for_its_certificates_and_logs_that_once(place):
    controller, gateway, on = place
    told = []

    async def body(store):
        waiting = asyncio.create_task(wait_for_certificates(gateway, told.append, asyncio.Event()))
        await until(lambda: told)
        assert not waiting.done()
        await join(store, await admission.invite(store, controller, "gateway", lifetime=60), CONFIG, gateway)
        assert await waiting

    on(body)
    assert "towpath controller invite" in told[0]
    assert "towpath gateway join" in told[0]
    assert len(told) == 2


def test_a_waiting_gateway_can_be_ended(place):
    _, gateway, on = place

    async def body(_):
        ending = asyncio.Event()
        waiting = asyncio.create_task(wait_for_certificates(gateway, lambda _: None, ending))
        await asyncio.sleep(0)
        ending.set()
        assert not await waiting

    on(body, leader=False)
