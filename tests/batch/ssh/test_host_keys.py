"""Whom the hub connects to: only hosts whose key, or whose authority, an admin has written down."""

import subprocess

import pytest

from batch.ssh.errors import HostKeyError
from tests.batch.launchers.ssh.jobs import opened, placed, spec_of
from tests.batch.launchers.ssh.making import config_of, connections_of
from tests.conftest import run


def connect(pool, text=None, host="gpu1"):
    """Connect to a host with these known hosts; what it printed. None: with the file as it is."""

    async def body():
        if text is not None:
            pool.known_hosts.write_text(text)
        config = config_of(pool)
        connections = connections_of(pool, config)
        try:
            return (await connections.run(host, "alice", "echo here", seconds=30)).out
        finally:
            await connections.close()

    return run(body())


def refused(pool, text):
    before = pool.known_hosts
    with pytest.raises(HostKeyError) as caught:
        connect(pool, text)
    assert before.read_text() == text  # nothing is trusted on first use
    return caught.value


def other_key(tmp_path, name="other"):
    path = tmp_path / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path, " ".join(path.with_suffix(".pub").read_text().split()[:2])


def test_a_known_key_is_accepted_plain_and_hashed(pool, gpu1):
    assert connect(pool, gpu1.known_hosts_line) == b"here\n"
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(pool.known_hosts)], check=True)
    hashed = pool.known_hosts.read_text()
    assert hashed.startswith("|1|")
    assert "gpu1" not in hashed
    assert connect(pool) == b"here\n"


def test_an_unknown_host_is_refused_with_the_key_that_it_showed(pool, gpu1):
    for text in ("", f"[gpu9]:{gpu1.port} {gpu1.public_key}\n", f"{gpu1.address} {gpu1.public_key}\n"):
        error = refused(pool, text)
        assert not error.changed
        assert error.public_key == gpu1.public_key
        shown = subprocess.run(["ssh-keygen", "-lf", str(gpu1.folder / "hostkey.pub")], capture_output=True, text=True)
        assert error.fingerprint == shown.stdout.split()[1]


def test_another_key_than_the_known_one_is_refused(pool, gpu1, tmp_path):
    _, other = other_key(tmp_path)
    error = refused(pool, f"[gpu1]:{gpu1.port} {other}\n")
    assert error.changed
    assert error.public_key == gpu1.public_key


def test_a_revoked_key_is_refused(pool, gpu1):
    assert refused(pool, f"{gpu1.known_hosts_line}@revoked * {gpu1.public_key}\n").changed


def certified(pool, gpu1, tmp_path, *, names="gpu1", ca=None, options=()):
    """Give the host a certificate of a host authority; the authority's line for known_hosts."""
    path, line = other_key(tmp_path, ca or "ca")
    certificate = gpu1.folder / "hostkey-cert.pub"
    certificate.unlink(missing_ok=True)
    subprocess.run(
        [
            "ssh-keygen",
            "-q",
            "-s",
            str(path),
            "-I",
            "host",
            "-h",
            "-n",
            names,
            *options,
            str(gpu1.folder / "hostkey.pub"),
        ],
        check=True,
    )
    gpu1.configure(f"HostCertificate {certificate}")
    gpu1.restart_sshd()
    return f"@cert-authority * {line}\n"


def test_a_host_with_a_certificate_of_a_known_authority_is_accepted(pool, gpu1, tmp_path):
    assert connect(pool, certified(pool, gpu1, tmp_path)) == b"here\n"


@pytest.mark.parametrize(
    ("names", "options"), [("gpu2", ()), ("gpu1", ("-V", "20200101:20210101"))], ids=["another-host", "expired"]
)
def test_a_hosts_certificate_for_another_name_or_time_is_refused(pool, gpu1, tmp_path, names, options):
    assert refused(pool, certified(pool, gpu1, tmp_path, names=names, options=options)).changed


def test_a_hosts_certificate_of_another_authority_is_refused(pool, gpu1, tmp_path):
    certified(pool, gpu1, tmp_path)
    _, other = other_key(tmp_path, "other-ca")
    assert refused(pool, f"@cert-authority * {other}\n").changed


def test_a_host_that_changes_its_key_is_taken_out_of_the_pool_and_comes_back_when_it_is_trusted(pool, gpu1, caplog):
    async def body():
        pool.write_known_hosts()
        gpu1.new_host_key()
        gpu1.restart_sshd()
        async with opened(pool) as launcher:
            for number in range(3):  # each of them would have found room there
                spec = await placed(launcher, spec_of(("alice", "bob", "carol")[number]))
                assert spec.record.job.native_id.endswith("@gpu2")
            (trouble,) = launcher.troubles()
            assert (trouble.part, trouble.good, trouble.urgent) == ("host gpu1", False, True)
            assert "did not prove its identity" in trouble.text
            assert str(pool.known_hosts) in trouble.text
            assert [part.part for part in await launcher.check() if not part.good] == ["host gpu1"]
            catalog = (await launcher.catalog()).catalog
            assert [one.name for one in catalog.partitions if not one.up] == ["gpu1"]
            pool.write_known_hosts()
            launcher._hosts._connections._hosts.clear()  # not to wait for the back-off
            launcher._pool.forget_load("gpu1")
            catalog = (await launcher.catalog()).catalog
            assert [one.name for one in catalog.partitions if not one.up] == []
            assert launcher.troubles() == []

    run(body())
    loud = [record for record in caplog.records if record.levelname == "ERROR"]
    assert any("host=gpu1" in record.getMessage() for record in loud)


def test_the_check_says_which_line_is_missing(pool, gpu1):
    async def body():
        async with opened(pool) as launcher:
            pool.known_hosts.write_text("")
            one = next(part for part in await launcher.check() if part.part == "host gpu1")
            assert f"[gpu1]:{gpu1.port} {gpu1.public_key}" in one.text
            assert "ssh-keygen -lf" in one.text

    run(body())
