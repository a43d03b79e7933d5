"""How the hub proves to a host that it may act as an account, on a real sshd."""

import os
import shutil
import signal
import subprocess
import time

import asyncssh
import pytest

from batch.authority.ssh import SSH_USER_CA, ensure_ssh_authority
from batch.ssh.credentials import Agent, CommandCertificates, HubCertificates, KeyFile, hub_authority
from batch.ssh.errors import AccessDeniedError, CredentialsError
from batch.ssh.keys import Authority, FreshKey, Login
from state.sealing.private_files import PrivateFileError
from tests.batch.launchers.ssh.jobs import opened
from tests.batch.launchers.ssh.making import AUTHORITY, config_of, connections_of, new_authority
from tests.conftest import run


def connect(pool, credentials, account="alice", command="id -un", host="gpu1"):
    async def body():
        connections = connections_of(pool, config_of(pool), credentials=credentials)
        try:
            return (await connections.run(host, account, command, seconds=30)).out.decode().strip()
        finally:
            await connections.close()

    return run(body())


def hub(*, seconds=120, clock=time.time, authority=AUTHORITY):
    return HubCertificates(Authority(authority), hub="tests", seconds=seconds, clock=clock)


def test_a_certificate_lets_the_hub_in_as_its_account_and_sshd_logs_for_whom(pool, gpu1):
    assert connect(pool, hub()) == "alice"
    assert connect(pool, hub(), "bob") == "bob"
    assert 'Accepted certificate ID "towpath tests bob' in gpu1.log.read_text()


def test_a_certificate_is_refused_late_and_early_and_from_another_authority(pool):
    hour = 3600
    for clock in (lambda: time.time() - hour, lambda: time.time() + hour):
        with pytest.raises((AccessDeniedError, CredentialsError)):
            connect(pool, hub(clock=clock))
    with pytest.raises(AccessDeniedError):
        connect(pool, hub(authority=new_authority()))


class Fixed:
    """Credentials that hold one certificate, as a thief would."""

    authority = ""

    def __init__(self, key, text, account):
        self.key, self.text, self.account = key, text, account

    async def login(self, account, *, forwarding=False):
        return Login([(self.key._key, asyncssh.import_certificate(self.text))])


def stolen(*, account="alice", seconds=120, now=None):
    key = FreshKey()
    text = Authority(AUTHORITY).sign(
        key.public_line, account, key_id="stolen", now=time.time() if now is None else now, seconds=seconds
    )
    return Fixed(key, text, account)


def test_sshd_itself_refuses_a_certificate_that_is_late_or_for_another_account(pool):
    assert connect(pool, stolen()) == "alice"
    for account in ("bob", "root", "towpath-monitor"):
        with pytest.raises(AccessDeniedError):
            connect(pool, stolen(), account)
    with pytest.raises(AccessDeniedError):
        connect(pool, stolen(now=time.time() - 3600, seconds=300))


def test_a_certificate_is_good_for_commands_alone(pool, gpu1):
    """No terminal, no forwarding of ports, sockets, agents or X11, no ~/.ssh/rc."""
    (gpu1.homes / "alice" / ".ssh").mkdir(exist_ok=True)
    (gpu1.homes / "alice" / ".ssh" / "rc").write_text("echo rc was run\n")

    async def body():
        credentials = stolen()
        login = await credentials.login("alice")
        host = pool.hosts["gpu1"]
        connection = await asyncssh.connect(
            host.address, host.port, config=None, username="alice", known_hosts=str(pool.known_hosts),
            host_key_alias="gpu1", **login.options,
        )  # fmt: skip
        async with connection:
            assert (await connection.run("echo here")).stdout == "here\n"
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("127.0.0.1", host.port)
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_unix_connection("/run/towpath.sock")
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 1)
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.run("tty", term_type="xterm")

    run(body())


def test_no_private_key_of_a_certificate_is_ever_on_a_disk(pool, tmp_path):
    """What is written while the hub connects: strace would show each file; none but the authority's key holds one."""
    ensure_ssh_authority(tmp_path)
    trace = tmp_path / "trace"
    opened_files = []
    real = os.open

    def noted(path, flags, *more, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            opened_files.append(str(path))
        return real(path, flags, *more, **options)

    os.open = noted
    try:
        assert connect(pool, hub()) == "alice"
    finally:
        os.open = real
    assert [path for path in opened_files if not path.startswith("/dev/")] == []
    assert not trace.exists()
    assert "PRIVATE" not in repr(FreshKey())


def test_the_authoritys_key_must_be_private(tmp_path):
    with pytest.raises(CredentialsError, match="no SSH authority yet"):
        hub_authority(tmp_path)
    ensure_ssh_authority(tmp_path)
    key = tmp_path / SSH_USER_CA
    assert key.stat().st_mode & 0o777 == 0o600
    assert hub_authority(tmp_path).public_line.split()[:2] == (tmp_path / f"{SSH_USER_CA}.pub").read_text().split()[:2]
    before = key.read_bytes()
    assert ensure_ssh_authority(tmp_path) == []
    assert key.read_bytes() == before
    key.chmod(0o640)
    with pytest.raises(PrivateFileError):
        hub_authority(tmp_path)
    assert AUTHORITY.decode() not in repr(Authority(AUTHORITY))


def site_key(tmp_path, host, *users):
    """A key that these users' accounts accept."""
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    for user in users:
        folder = host.homes / user / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        keys = folder / "authorized_keys"
        shutil.copy(path.with_suffix(".pub"), keys)
        for one in (folder, keys):
            shutil.chown(one, user, user)
        keys.chmod(0o600)
    return path


def test_a_sites_key_lets_the_hub_in_where_it_is_accepted(pool, gpu1, tmp_path):
    path = site_key(tmp_path, gpu1, "alice")
    assert connect(pool, KeyFile(path)) == "alice"
    with pytest.raises(AccessDeniedError):
        connect(pool, KeyFile(path), "bob")
    path.chmod(0o644)
    with pytest.raises(CredentialsError, match="0600"):
        connect(pool, KeyFile(path))
    path.unlink()
    with pytest.raises(CredentialsError, match="no key"):
        connect(pool, KeyFile(path))
    path.write_text("nonsense")
    path.chmod(0o600)
    with pytest.raises(CredentialsError, match="cannot be read"):
        connect(pool, KeyFile(path))


def test_an_agent_lets_the_hub_in(pool, gpu1, tmp_path, short_folder):
    path = site_key(tmp_path, gpu1, "alice")
    where = short_folder / "agent.sock"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(where)], stdout=subprocess.DEVNULL)
    try:
        while not where.exists():
            time.sleep(0.01)
        subprocess.run(["ssh-add", "-q", str(path)], check=True, env={**os.environ, "SSH_AUTH_SOCK": str(where)})
        assert connect(pool, Agent(str(where))) == "alice"
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait()
    with pytest.raises(CredentialsError, match="does not answer"):
        connect(pool, Agent(str(where)))


def test_nothing_of_the_hubs_own_account_is_used(pool, gpu1, tmp_path, monkeypatch):
    """Neither its agent nor its keys, its configuration or its known hosts."""
    path = site_key(tmp_path, gpu1, "alice")
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(path, home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "config").write_text("Host *\n  User bob\n  Port 1\n  ProxyCommand /bin/false\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "none"))
    assert connect(pool, hub()) == "alice"
    with pytest.raises(AccessDeniedError):
        connect(pool, hub(authority=new_authority()))


SIGN = """#!/bin/sh
# What step-ca or Vault would do, with the hub's tests' authority.
cd "$(mktemp -d)" || exit 1
trap 'rm -r "$PWD"' EXIT
cat >key.pub
ssh-keygen -q -s {ca} -I command -n "{names}" -V "+${{TOWPATH_SSH_SECONDS}}s" {options} key.pub && cat key-cert.pub
"""


@pytest.fixture
def signer(tmp_path):
    """Writes a command that signs with the authority that the hosts trust."""
    ca = tmp_path / "ca"
    ca.write_bytes(AUTHORITY)
    ca.chmod(0o600)

    def write(text=SIGN, *, names="$TOWPATH_SSH_ACCOUNT", options=""):
        path = tmp_path / "sign"
        path.write_text(text.format(ca=ca, names=names, options=options))
        path.chmod(0o755)
        return CommandCertificates([str(path)], seconds=120, timeout=10)

    return write


def test_a_command_of_the_sites_signs_for_one_account(pool, signer):
    assert connect(pool, signer()) == "alice"
    assert connect(pool, signer(), "bob") == "bob"
    assert connect(pool, signer(names="$TOWPATH_SSH_ACCOUNT,$TOWPATH_SSH_ACCOUNT@example.edu")) == "alice"


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        ("bob", "", "not for the account alice"),
        ("$TOWPATH_SSH_ACCOUNT", "-h", "cannot be used for alice"),
        ("$TOWPATH_SSH_ACCOUNT", "-V 20200101:20210101", "cannot be used for alice"),
    ],
)
def test_a_certificate_for_another_request_is_not_used(pool, signer, names, options, words):
    with pytest.raises(CredentialsError, match=words):
        connect(pool, signer(names=names, options=options))


def test_a_certificate_without_principals_which_is_good_for_every_account_is_not_used(pool, signer):
    with pytest.raises(CredentialsError, match="not for the account alice"):
        connect(pool, signer(SIGN.replace('-n "{names}"', "")))


def test_a_certificate_for_another_key_is_not_used(pool, signer):
    script = SIGN.replace("cat >key.pub", "cat >/dev/null; ssh-keygen -q -t ed25519 -N '' -f key")
    with pytest.raises(CredentialsError, match="another key"):
        connect(pool, signer(script))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho the token has expired >&2; exit 3\n", "failed .exit code 3"),
        ("#!/bin/sh\necho nonsense\n", "cannot be read"),
        ("#!/bin/sh\n", "cannot be read"),
        ("#!/bin/sh\nyes\n", "within 1 seconds"),
        ("#!/bin/sh\nsleep 60\n", "within 1 seconds"),
    ],
)
def test_a_failing_command_is_reported(pool, tmp_path, script, words):
    path = tmp_path / "sign"
    path.write_text(script)
    path.chmod(0o755)
    with pytest.raises(CredentialsError, match=words):
        connect(pool, CommandCertificates([str(path)], seconds=120, timeout=1))
    with pytest.raises(CredentialsError, match="cannot be run"):
        connect(pool, CommandCertificates([str(tmp_path / "none")], seconds=120, timeout=1))


def test_the_check_says_which_lines_sshd_lacks(pool, gpu1):
    async def body():
        gpu1.configure("TrustedUserCAKeys none")
        gpu1.restart_sshd()
        async with opened(pool) as launcher:
            one = next(part for part in await launcher.check() if part.part == "host gpu1")
            line = Authority(AUTHORITY).public_line
            assert not one.good
            for words in (
                line,
                "TrustedUserCAKeys /etc/ssh/towpath_user_ca.pub",
                "useradd --system",
                "towpath-monitor",
            ):
                assert words in one.text
            other = next(part for part in await launcher.check() if part.part == "host gpu2")
            assert other.good

    run(body())
