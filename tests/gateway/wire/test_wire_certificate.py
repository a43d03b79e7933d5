"""A server's certificate in files: what is loaded, and what a bad renewal leaves in use."""

import asyncio
import ssl

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.wire.certificate import Certificate, CertificateError, load
from tests.conftest import run, until
from tests.ldap_server import certificate


@pytest.fixture
def files(tmp_path):
    """Two certificates with their keys: `one` and `two`."""
    certificate(tmp_path, "one")
    certificate(tmp_path, "two")
    return tmp_path


def shown_by(context, folder):
    """The certificate that a handshake with this context shows, in DER."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server)
    there = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return here.getpeercert(binary_form=True)


def der(folder, name):
    return ssl.PEM_cert_to_DER_cert((folder / f"{name}.pem").read_text())


def test_certificate_and_key_come_from_one_file_or_two(files):
    both = files / "both.pem"
    both.write_bytes((files / "one.key").read_bytes() + (files / "one.pem").read_bytes())
    for certificate_file, key in ((files / "one.pem", files / "one.key"), (both, None)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load(context, certificate_file, key)
        assert shown_by(context, files) == der(files, "one")


def test_files_that_cannot_be_used_are_named_and_leave_the_context_as_it_was(files, capfd):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(context, files / "one.pem", files / "one.key")
    key = serialization.load_pem_private_key((files / "two.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    (files / "locked.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    (files / "empty").write_bytes(b"")
    (files / "cut.pem").write_bytes((files / "two.pem").read_bytes()[:300])
    for pair, words in (
        (("two.pem", "one.key"), "is not the key of the certificate in"),
        (("two.pem", "locked.key"), "encrypted"),
        (("empty", "two.key"), "do not hold a certificate"),
        (("two.pem", "empty"), "do not hold a certificate"),
        (("cut.pem", "two.key"), "do not hold a certificate"),
        (("two.pem", "missing"), "missing cannot be read: No such file"),
        (("missing", "two.key"), "missing cannot be read: No such file"),
        ((".", "two.key"), "cannot be read: Is a directory"),
    ):
        with pytest.raises(CertificateError, match=words):
            load(context, *(files / name for name in pair))
        assert shown_by(context, files) == der(files, "one"), pair
    assert capfd.readouterr() == ("", ""), "no prompt for a password"


def test_renewed_files_are_used_and_half_renewed_ones_are_not(files, caplog):
    """A renewal writes two files. Between the two they do not belong together."""
    here, key = files / "server.pem", files / "server.key"

    def put(target, source):
        (files / "new").write_bytes((files / source).read_bytes())
        (files / "new").rename(target)

    async def main():
        put(here, "one.pem")
        put(key, "one.key")
        served = Certificate(here, key)
        await served.open(look_seconds=0.01)
        put(here, "two.pem")
        await until(lambda: "is not the key of the certificate" in caplog.text)
        assert shown_by(served.context, files) == der(files, "one")
        put(key, "two.key")
        await until(lambda: shown_by(served.context, files) == der(files, "two"))
        here.unlink()
        await until(lambda: "cannot be read" in caplog.text)
        assert shown_by(served.context, files) == der(files, "two")
        served.close()
        await asyncio.sleep(0)

    with caplog.at_level("INFO"):
        run(main())
    assert caplog.text.count("is not the key of the certificate") == 1, "it is logged once"


def test_old_versions_of_tls_are_refused(files):
    assert Certificate(files / "one.pem", None).context.minimum_version is ssl.TLSVersion.TLSv1_2
