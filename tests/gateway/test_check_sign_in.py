"""What `towpath check` reports about sign-in providers, and PAM if the hub does not run as root."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.auth import pam_helper
from gateway.auth.kinds.ldap import LdapConfig
from gateway.auth.kinds.pam import PamConfig
from gateway.auth.pam import command
from gateway.commands.sign_in import _probe
from state.config.tables import AuthConfig, ProviderConfig
from tests.conftest import free_port
from tests.gateway.test_pam import PLAIN, Machine
from tests.ldap_server import HUB_DN, HUB_PASSWORD, USERS, Slapd

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="creating accounts needs root")


def rows(kind, table):
    provider = ProviderConfig(name="way", kind=kind, options=table)
    found = asyncio.run(_probe(provider, AuthConfig(provider=(provider,)), "http://127.0.0.1/hub/"))
    return [finding.row(0) for finding in found]


@pytest.fixture(scope="module")
def slapd(tmp_path_factory):
    server = Slapd(tmp_path_factory.mktemp("slapd")).start()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


def test_every_server_of_a_directory_is_checked(slapd):
    config = LdapConfig(
        servers=(slapd.ldaps, slapd.ldap, f"ldaps://127.0.0.1:{free_port()}"),
        ca_file=str(slapd.ca),
        bind_dn=HUB_DN,
        bind_password=HUB_PASSWORD,
        user_base=USERS,
    )
    first, second, third = rows("ldap", config)
    assert first.startswith(f"ok    sign-in way  {slapd.ldaps} answers; the hub can bind as {HUB_DN}")
    assert second.startswith("ok")
    assert third.startswith("FAIL")
    assert "cannot be reached" in third
    for wrong, message in (
        ({"bind_password": "wrong"}, "hub's own name and password"),
        ({"ca_file": ""}, "is not trusted"),
        ({"user_filter": "(uid={name})(x"}, ""),
        ({"user_base": "ou=nowhere,dc=example,dc=edu"}, "there is no entry ou=nowhere"),
        ({"groups": "search", "group_base": "ou=nobody,dc=example,dc=edu"}, "there is no entry ou=nobody"),
    ):
        found = rows("ldap", replace(config, servers=(slapd.ldaps,), **wrong))
        assert found[0].startswith("FAIL")
        assert message in found[0]


@pytest.mark.parametrize(
    ("tls", "message"), [("unverified", "WITHOUT CHECKING ITS CERTIFICATE"), ("none", "WITHOUT TLS")]
)
def test_tls_settings_that_expose_passwords_are_warned_about(slapd, tls, message):
    config = LdapConfig(servers=(slapd.ldap,), tls=tls, bind_dn=HUB_DN, bind_password=HUB_PASSWORD, user_base=USERS)
    warning, answer = rows("ldap", config)
    assert warning.startswith("WARN")
    assert message in warning
    assert answer.startswith("ok")


def test_a_missing_pam_service_is_a_failure():
    (row,) = rows("pam", PamConfig(service="towpath-no-such-service"))
    assert row.startswith("FAIL")
    assert "/etc/pam.d/towpath-no-such-service" in row


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    try:
        made.alice, made.hub = made.account("sudoalice"), made.account("sudohub", "hubs-own")
        made.plain = made.service("sudo", PLAIN)
        yield made
    finally:
        made.remove()


def ask(argv, account, name, password):
    """Run the helper as this account and return its answer."""
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=account, group=account, cwd="/"
    )
    asked = {"name": name, "password": password, "address": "", "seconds": 20}
    with contextlib.suppress(BrokenPipeError):  # sudo has refused already
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
    answer = process.stdout.read()
    process.communicate()
    return json.loads(answer or "null")


@ROOT
def test_with_sudo_a_hub_without_root_can_check_passwords_and_run_nothing_else(machine):
    argv = command(PamConfig(service=machine.plain, sudo=True))
    rule = Path(f"/etc/sudoers.d/{machine.prefix}")
    rule.write_text(
        f"Defaults:{machine.hub} env_reset, !requiretty, !use_pty, !pam_session\n"
        f"{machine.hub} ALL = (root) NOPASSWD: {' '.join(argv[3:])}\n"
    )
    rule.chmod(0o440)
    machine.files.append(rule)
    assert ask(argv, machine.hub, machine.alice, "right")["name"] == machine.alice
    assert ask(argv, machine.hub, machine.alice, "wrong") == {"verdict": "no"}
    for other in ([*argv[:-1], "login"], [*argv, "more"], ["sudo", "-n", "--", "id"]):
        assert ask(other, machine.hub, machine.alice, "right") is None


@ROOT
def test_without_root_pam_checks_only_the_own_password(machine, tmp_path_factory):
    folder = Path("/tmp") / machine.prefix
    folder.mkdir(mode=0o755)
    try:
        helper = shutil.copy(pam_helper.__file__, folder)
        Path(helper).chmod(0o644)
        argv = ("/usr/bin/python3", "-I", "-S", helper, machine.plain)
        assert ask(argv, machine.hub, machine.hub, "hubs-own")["name"] == machine.hub
        assert ask(argv, machine.hub, machine.alice, "right")["verdict"] != "yes"
    finally:
        shutil.rmtree(folder)


def test_the_shipped_sudoers_file_is_valid():
    file = Path(__file__).resolve().parents[2] / "deploy/sudoers/towpath-pam"
    visudo = shutil.which("visudo") or "/usr/sbin/visudo"
    done = subprocess.run([visudo, "-c", "-f", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_helper_needs_nothing_but_the_standard_library():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pam_helper; print(*sorted(sys.modules))"
    folder = str(Path(pam_helper.__file__).parent)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, folder], capture_output=True, text=True, check=True)
    assert not {"msgspec", "litestar", "gateway", "state"} & set(done.stdout.split())
