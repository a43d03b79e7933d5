"""The hub's own authority: its files, its certificates, and the seal of job records."""

import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from batch.authority import Authority, AuthorityError, SealError, ensure, seal, seal_key, unseal
from batch.starter import tls_connection
from state.config.addresses import report_names
from state.config.tables import Config, GatewayConfig
from state.names import GATEWAY_NAME
from state.sealing.private_files import PrivateFileError

CONFIG = Config(gateway=GatewayConfig(report_host="10.1.2.3", internal_url="https://hub.example.org:8443/x"))
GATEWAY = ["tls/authority.pem", "tls/gateway.pem", "tls/reports.pem"]
AUTHORITY = ["authority.key", "authority.pem", "seal.key", "ssh_user_ca"]
ALL = [*(f"authority/{name}" for name in AUTHORITY), *GATEWAY]
ATTEMPT = "a" * 32
KEY = bytes(range(32))


def later(**span):
    return lambda: datetime.now(UTC) + timedelta(**span)


def read(data_dir, name):
    return x509.load_pem_x509_certificate((data_dir / name).read_bytes())


def names(certificate):
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_missing_files_are_created_once_and_are_private(tmp_path):
    assert ensure(tmp_path, CONFIG) == ALL
    before = {name: (tmp_path / name).read_bytes() for name in ALL}
    assert ensure(tmp_path, CONFIG) == []
    assert before == {name: (tmp_path / name).read_bytes() for name in ALL}
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("tls", "authority")} == {0o700}
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ALL} == {0o600}
    assert len(seal_key(tmp_path)) == 32


def test_each_certificate_has_one_use_and_the_names_it_needs(tmp_path):
    ensure(tmp_path, CONFIG)
    uses = {"tls/gateway.pem": ExtendedKeyUsageOID.CLIENT_AUTH, "tls/reports.pem": ExtendedKeyUsageOID.SERVER_AUTH}
    for name, use in uses.items():
        found = read(tmp_path, name).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(found) == [use]
    assert names(read(tmp_path, "tls/gateway.pem")) == {"gateway.towpath.internal"}
    assert names(read(tmp_path, "tls/reports.pem")) == {
        "reports.towpath.internal",
        "hub.example.org",
        "10.1.2.3",
        "127.0.0.1",
    }
    passport = Authority.load(tmp_path).passport(ATTEMPT)
    assert passport.name == f"{ATTEMPT}.towpath.internal"
    assert names(x509.load_pem_x509_certificate(passport.certificate.encode())) == {passport.name}
    assert passport.key not in repr(passport)


def test_a_listener_on_all_addresses_has_the_hosts_names():
    found = report_names(Config(gateway=GatewayConfig(host="0.0.0.0")), ("hub.example.org",))
    assert {"127.0.0.1", "hub.example.org"} <= set(found)
    assert not {"0.0.0.0", ""} & set(found)


def test_a_long_job_gets_a_certificate_that_lasts(tmp_path):
    ensure(tmp_path, CONFIG)
    passport = Authority.load(tmp_path).passport(ATTEMPT, walltime=900 * 86400)
    end = x509.load_pem_x509_certificate(passport.certificate.encode()).not_valid_after_utc
    assert end > datetime.now(UTC) + timedelta(days=900)


@pytest.mark.parametrize(("days", "made"), [(200, []), (300, ["tls/gateway.pem", "tls/reports.pem"])])
def test_certificates_are_renewed_in_the_last_third_of_their_lifetime(tmp_path, days, made):
    ensure(tmp_path, CONFIG)
    assert ensure(tmp_path, CONFIG, clock=later(days=days)) == made


def test_an_old_authority_is_renewed_with_the_same_key_and_name(tmp_path):
    ensure(tmp_path, CONFIG)
    old, key = read(tmp_path, "authority/authority.pem"), (tmp_path / "authority" / "authority.key").read_bytes()
    clock = later(days=3000)
    assert ensure(tmp_path, CONFIG, clock=clock) == ["authority/authority.pem", *GATEWAY]
    new = read(tmp_path, "authority/authority.pem")
    assert (new.subject, new.public_key(), (tmp_path / "authority" / "authority.key").read_bytes()) == (
        old.subject,
        old.public_key(),
        key,
    )
    read(tmp_path, "tls/gateway.pem").verify_directly_issued_by(old)  # what running jobs were given
    assert new.not_valid_after_utc > old.not_valid_after_utc


def test_another_name_of_the_hub_gives_its_listener_another_certificate(tmp_path):
    ensure(tmp_path, CONFIG)
    moved = Config(gateway=GatewayConfig(report_host="10.9.9.9"))
    assert ensure(tmp_path, moved) == ["tls/reports.pem"]


@pytest.mark.parametrize("lost", ALL)
def test_a_crash_that_left_out_a_file_is_repaired(tmp_path, lost):
    ensure(tmp_path, CONFIG)
    (tmp_path / lost).unlink()
    (tmp_path / f"{lost}.new").write_text("half")
    assert lost in ensure(tmp_path, CONFIG)
    authority_ = Authority.load(tmp_path)
    for name in ("tls/gateway.pem", "tls/reports.pem"):
        assert authority_.signed(read(tmp_path, name))


@pytest.mark.parametrize("name", ALL)
def test_a_file_that_others_can_change_is_rejected(tmp_path, name):
    ensure(tmp_path, CONFIG)
    (tmp_path / name).chmod(0o666)
    with pytest.raises(PrivateFileError, match="open to others"):
        ensure(tmp_path, CONFIG)


@pytest.mark.parametrize("name", ALL)
def test_a_link_is_rejected(tmp_path, name):
    ensure(tmp_path, CONFIG)
    path = tmp_path / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PrivateFileError, match="own account"):
        ensure(tmp_path, CONFIG)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_rejected(tmp_path):
    ensure(tmp_path, CONFIG)
    os.chown(tmp_path / "authority" / "authority.key", 65534, 65534)
    with pytest.raises(PrivateFileError, match="own account"):
        Authority.load(tmp_path)


@pytest.mark.parametrize("folder", ["authority", "tls"])
def test_an_open_folder_is_rejected(tmp_path, folder):
    (tmp_path / folder).mkdir(mode=0o755)
    with pytest.raises(PrivateFileError, match="0700"):
        ensure(tmp_path, CONFIG)


def test_invalid_files_are_reported(tmp_path):
    ensure(tmp_path, CONFIG)
    for name in ("authority/authority.key", "tls/gateway.pem"):
        good = (tmp_path / name).read_bytes()
        (tmp_path / name).write_text("rubbish")
        with pytest.raises(AuthorityError, match=r"is not a (private key|certificate)"):
            ensure(tmp_path, CONFIG)
        (tmp_path / name).write_bytes(good)
    (tmp_path / "authority" / "seal.key").write_bytes(b"short")
    with pytest.raises(AuthorityError):
        seal_key(tmp_path)


def test_a_key_of_another_authority_is_detected(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ensure(tmp_path / "a", CONFIG)
    ensure(tmp_path / "b", CONFIG)
    (tmp_path / "a" / "authority" / "authority.key").write_bytes(
        (tmp_path / "b" / "authority" / "authority.key").read_bytes()
    )
    with pytest.raises(AuthorityError, match="do not match"):
        Authority.load(tmp_path / "a")
    assert ensure(tmp_path / "a", CONFIG) == ["authority/authority.pem", *GATEWAY]


def test_two_processes_at_the_same_time_create_one_authority(tmp_path):
    code = (
        "import sys, pathlib; from batch.authority import ensure; from state.config.tables import Config;"
        "sys.stdin.read(); print(*ensure(pathlib.Path(sys.argv[1]), Config()))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for racer in racers:
        racer.stdin.flush()
    made = [racer.communicate()[0].split() for racer in racers]
    assert sorted(name for each in made for name in each) == sorted(ALL)
    authority_ = Authority.load(tmp_path)
    assert all(authority_.signed(read(tmp_path, name)) for name in ("tls/gateway.pem", "tls/reports.pem"))


def test_openssl_accepts_the_files(tmp_path):
    ensure(tmp_path, CONFIG)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tmp_path / "tls" / "authority.pem")
    for name in ("tls/gateway.pem", "tls/reports.pem"):
        context.load_cert_chain(tmp_path / name)


def test_the_command_creates_the_files_and_lists_them(tmp_path):
    for said in ("authority.key", ""):
        result = subprocess.run(
            [sys.executable, "-m", "batch", "tls", "--with-gateway", "--data-dir", tmp_path],
            capture_output=True,
            text=True,
        )
        assert (result.returncode, said in result.stdout) == (0, True), result.stderr
    (tmp_path / "tls").chmod(0o755)
    result = subprocess.run(
        [sys.executable, "-m", "batch", "tls", "--with-gateway", "--data-dir", tmp_path], capture_output=True, text=True
    )
    assert (result.returncode, "0700" in result.stderr, "Traceback" in result.stderr) == (1, True, False)


@given(st.binary(max_size=300), st.text(max_size=40))
def test_a_sealed_record_can_be_opened_and_is_not_readable(record, attempt):
    sealed = seal(KEY, attempt, record)
    assert unseal(KEY, attempt, sealed) == record
    assert len(sealed) == len(record) + 28
    assert seal(KEY, attempt, record) != sealed


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_change_of_a_sealed_record_is_detected(record, data):
    sealed = bytearray(seal(KEY, ATTEMPT, record))
    change = data.draw(st.sampled_from(["bit", "cut", "more", "attempt", "key", "rubbish"]))
    key, attempt = KEY, ATTEMPT
    if change == "bit":
        sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif change == "cut":
        del sealed[data.draw(st.integers(0, len(sealed) - 1)) :]
    elif change == "more":
        sealed += data.draw(st.binary(min_size=1, max_size=9))
    elif change == "attempt":
        attempt = data.draw(st.text(max_size=40).filter(lambda text: text != ATTEMPT))
    elif change == "key":
        key = bytes(reversed(KEY))
    else:
        sealed = bytearray(data.draw(st.binary(max_size=200)))
    with pytest.raises(SealError):
        unseal(key, attempt, bytes(sealed))


def test_the_gateways_name_is_the_one_that_the_starter_expects():
    assert GATEWAY_NAME == tls_connection.GATEWAY_NAME
