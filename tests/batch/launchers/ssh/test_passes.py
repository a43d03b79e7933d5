"""The passes with which gateways reach apps: what their certificates say, and for whom they are made."""

import time

import asyncssh
import pytest
from cryptography.hazmat.primitives import serialization
from msgspec.structs import replace

from batch.contract import LauncherContext, LauncherError, SshLogins
from batch.launchers.ssh.factory import open_ssh
from batch.launchers.ssh.hosts import Hosts
from batch.launchers.ssh.kind import SshConfig, SshHostConfig, SshJumpConfig
from batch.launchers.ssh.native_id import Place
from batch.launchers.ssh.passes import PASS_SECONDS, PassMaker
from batch.ssh.connections import Jump
from batch.ssh.credentials import CommandCertificates, HubCertificates, KeyFile
from batch.ssh.door import Target
from batch.ssh.host_keys import HostKeyFiles
from batch.ssh.keys import Authority
from state.config.tables import ClusterConfig
from state.errors import ConfigError
from state.records.models import JobRef
from state.records.readiness import route_of
from tests.batch.launchers.ssh.jobs import end, opened, placed, spec_of, start, until_view
from tests.batch.launchers.ssh.making import AUTHORITY, config_of, connections_of
from tests.conftest import run

GATEWAY = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
PUBLIC = " ".join(GATEWAY.export_public_key().decode().split()[:2])


@pytest.fixture
def gpu1(pool):
    return pool.hosts["gpu1"]


def hub():
    return HubCertificates(Authority(AUTHORITY), hub="tests", seconds=120)


def maker(pool, *, credentials=None, **more):
    return PassMaker(config_of(pool, **more), credentials or hub(), HostKeyFiles([pool.known_hosts]).read)


def read(certificate):
    return serialization.load_ssh_public_identity(certificate.encode())


def test_a_certificate_is_for_one_account_one_key_and_forwarding_alone(pool, gpu1):
    made = run(maker(pool).make(Place(account="alice", host="gpu1"), PUBLIC))
    (hop,) = made.hops
    assert (hop.name, hop.address, hop.port, hop.user) == ("gpu1", gpu1.address, gpu1.port, "alice")
    assert hop.host_keys == (f"* {gpu1.public_key}",)
    certificate = read(hop.certificate)
    certificate.verify_cert_signature()
    assert certificate.valid_principals == [b"alice"]
    assert certificate.critical_options == {b"force-command": b"/bin/false"}
    assert set(certificate.extensions) == {b"permit-port-forwarding"}
    assert (
        certificate.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
        == PUBLIC
    )
    assert certificate.valid_before == made.expires
    assert made.expires - time.time() == pytest.approx(PASS_SECONDS, abs=30)


def test_a_jump_host_has_a_certificate_for_its_own_account(pool):
    jump = SshJumpConfig(name="gpu2", address=pool.hosts["gpu2"].address, port=pool.hosts["gpu2"].port, user="bob")
    made = run(maker(pool, jump=jump).make(Place(account="alice", host="gpu1"), PUBLIC))
    assert [(hop.name, hop.user) for hop in made.hops] == [("gpu2", "bob"), ("gpu1", "alice")]
    assert [read(hop.certificate).valid_principals for hop in made.hops] == [[b"bob"], [b"alice"]]


def test_a_sites_command_makes_the_certificate_for_the_gateways_key(pool, tmp_path):
    (tmp_path / "ca").write_bytes(AUTHORITY)
    (tmp_path / "ca").chmod(0o600)
    script = tmp_path / "sign"
    script.write_text(
        "#!/bin/sh\nset -e\ncd $(mktemp -d)\ncat > key.pub\n"
        f'[ "$TOWPATH_SSH_PURPOSE" = forwarding ]\nssh-keygen -q -s {tmp_path}/ca -I x -n "$TOWPATH_SSH_ACCOUNT"'
        " -V +3h -O clear -O permit-port-forwarding -O force-command=/bin/false key.pub\ncat key-cert.pub\n"
    )
    script.chmod(0o700)
    command = CommandCertificates((str(script),), seconds=60, timeout=30)
    made = run(maker(pool, credentials=command).make(Place(account="alice", host="gpu1"), PUBLIC))
    assert set(read(made.hops[0].certificate).extensions) == {b"permit-port-forwarding"}
    assert made.expires - time.time() == pytest.approx(3 * 3600, abs=120)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-n $TOWPATH_SSH_ACCOUNT -O clear -O permit-port-forwarding", "no force-command"),
        ("-n $TOWPATH_SSH_ACCOUNT,bob -O clear -O force-command=/bin/false", "not for the account alice alone"),
        ("-n $TOWPATH_SSH_ACCOUNT -O force-command=/bin/false", "permit-pty"),
    ],
)
def test_a_sites_certificate_that_allows_more_than_forwarding_is_refused(pool, tmp_path, options, message):
    (tmp_path / "ca").write_bytes(AUTHORITY)
    (tmp_path / "ca").chmod(0o600)
    script = tmp_path / "sign"
    script.write_text(
        "#!/bin/sh\nset -e\ncd $(mktemp -d)\ncat > key.pub\n"
        f"ssh-keygen -q -s {tmp_path}/ca -I x {options} -V +3h key.pub\ncat key-cert.pub\n"
    )
    script.chmod(0o700)
    command = CommandCertificates((str(script),), seconds=60, timeout=30)
    with pytest.raises(LauncherError) as caught:
        run(maker(pool, credentials=command).make(Place(account="alice", host="gpu1"), PUBLIC))
    assert message in str(caught.value.__cause__)


def test_without_certificates_there_are_no_passes(pool, tmp_path):
    with pytest.raises(LauncherError, match="no certificate with which to reach gpu1"):
        run(maker(pool, credentials=KeyFile(tmp_path / "key")).make(Place(account="alice", host="gpu1"), PUBLIC))
    options = SshConfig(host=(SshHostConfig(name="gpu1"),), credentials="key", key_file="/etc/key")
    cluster = ClusterConfig(name="lab", kind="ssh", way_in="ssh", options=options)
    with pytest.raises(ConfigError, match="set credentials to certificate or command"):
        open_ssh(cluster, LauncherContext(data_dir=tmp_path, seal_key=bytes))


def test_a_server_that_is_reached_by_ssh_reports_its_socket_and_gets_passes(pool, gpu1):
    async def body():
        async with opened(pool, endpoints=frozenset({"ssh-socket"}), passes=maker(pool)) as launcher:
            assert isinstance(launcher, SshLogins)
            spec, ref = await start(launcher, spec_of(host="gpu1", way_in="ssh"))
            seen = await until_view(launcher, spec, lambda view: view.report is not None)
            endpoint = seen.report.endpoint
            assert (endpoint.kind, endpoint.server) == ("ssh-socket", "alice/lab")
            assert endpoint.name == f"{spec.attempt}.towpath.internal"
            assert endpoint.path.endswith(f"/jobs/{spec.attempt}/app.sock")
            assert not gpu1.run("ss", "-Hltnp", check=False).count("python")
            server = replace(spec.record, endpoint=endpoint)
            assert route_of(server, "/").endpoint == endpoint
            made = await launcher.ssh_pass(server, PUBLIC)
            assert (made.hops[-1].name, made.hops[-1].user) == ("gpu1", "alice")
            for native_id in ("bob@gpu1", "root@gpu1", "alice@elsewhere", ""):
                other = replace(server, job=JobRef(cluster="lab", native_id=native_id))
                with pytest.raises(LauncherError):
                    await launcher.ssh_pass(other, PUBLIC)
            await end(launcher, spec)
        async with opened(pool) as launcher:
            with pytest.raises(LauncherError, match="not reached over SSH"):
                await launcher.ssh_pass(server, PUBLIC)

    run(body())


def test_an_app_on_a_port_that_others_can_open_is_refused(pool):
    async def body():
        async with opened(pool, endpoints=frozenset({"ssh-socket"}), passes=maker(pool)) as launcher:
            with pytest.raises(LauncherError, match="cannot be reached over SSH"):
                await placed(launcher, spec_of(command=("app", "{port}"), shared_node_port=True))

    run(body())


def test_check_tries_the_way_in_and_says_which_line_of_sshd_config_it_needs(pool, gpu1):
    async def reports():
        config = config_of(pool)
        hosts = Hosts(config, connections_of(pool, config), authority=Authority(AUTHORITY).public_line, by_ssh=True)
        try:
            return [await hosts.check(host) for host in config.host]
        finally:
            await hosts.close()

    gpu1.configure("AllowStreamLocalForwarding no")
    gpu1.restart_sshd()
    try:
        first, second = run(reports())
    finally:
        gpu1.configure()
        gpu1.restart_sshd()
    assert (first.good, second.good) == (False, True)
    assert "set `AllowStreamLocalForwarding local`" in first.text
    assert all(report.good for report in run(reports()))
    assert not gpu1.run("sh", "-c", "ls -d /tmp/towpath-check-* 2>/dev/null || true").split()


def test_the_hubs_own_commands_go_through_the_jump_host(pool, gpu1):
    async def body():
        gpu2 = pool.hosts["gpu2"]
        before = len(gpu2.log.read_text())
        jump = Jump(target=Target(name="gpu2", address=gpu2.address, port=gpu2.port), user="bob")
        connections = connections_of(pool, config_of(pool), jump=jump)
        try:
            done = await connections.run("gpu1", "alice", "echo $SSH_CONNECTION; id -un", seconds=30)
            assert done.out.split()[-1] == b"alice"
            assert 'ID "towpath tests bob forwarding' in gpu2.log.read_text()[before:]
            gpu2.kill_sshd()
            with pytest.raises(Exception, match=r"gpu2 (cannot be reached|closed)"):
                await connections.run("gpu1", "bob", "true", seconds=30)
        finally:
            await connections.close()
            gpu2.start_sshd()

    run(body())
