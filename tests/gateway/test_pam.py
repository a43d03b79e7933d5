"""Sign-in with PAM: real libpam, and real accounts that the test creates and removes. Needs root."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.auth import pam
from gateway.auth.kinds.pam import PamConfig
from gateway.auth.pam import PamProof
from gateway.auth.proof import GoneError, UnsureError
from gateway.auth.throttle import WRONG
from portal.site.sign_in import Provider, RefusedError, UnansweredError
from state.records.models import Standing
from tests.hub import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="creating accounts needs root")
OWN_IDS = ("--key", "UID_MIN=47000", "--key", "UID_MAX=47999", "--key", "GID_MIN=47000", "--key", "GID_MAX=47999")
"""Ids that no other test uses."""
SERVICES = Path("/etc/pam.d")
ODD = "".join(chr(code) for code in range(1, 128)) + "äß€𝄞\u00a0\u200d\ufeff"
PLAIN = "auth required pam_unix.so\naccount required pam_unix.so\n"


def shadow(password):
    """Return a hash of this password, from the library that checks it."""
    return subprocess.run(
        ["perl", "-e", "local $/; my $p = <STDIN>; print crypt($p, '$6$saltsalt$')"],
        input=password.encode(),
        capture_output=True,
        check=True,
    ).stdout.decode()


def change(command):
    """Change the machine's accounts, as soon as no other test does so (useradd(8): exit code 1 and 10 for a lock)."""
    done = None

    def tried():
        nonlocal done
        done = subprocess.run(command, capture_output=True, text=True)
        return "cannot lock" not in done.stderr

    eventually(tried, what="the lock of the accounts")
    assert done.returncode == 0, (command[0], done.stderr)


class Machine:
    """Creates accounts and PAM services with unique names."""

    def __init__(self):
        self.made = []
        self.files = []
        self.prefix = f"tp{os.getpid()}"

    def account(self, kind, password="right", *more):
        name = f"{self.prefix}{kind}"
        command = ["useradd", *OWN_IDS, "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh"]
        change([*command, "--password", shadow(password), *more, name])
        self.made.append(["userdel", name])
        return name

    def group(self, kind, *members):
        name = f"{self.prefix}{kind}"
        change(["groupadd", *OWN_IDS[4:], name])
        self.made.append(["groupdel", name])
        for member in members:
            change(["usermod", "-aG", name, member])
        return name

    def service(self, kind, text):
        path = SERVICES / f"towpath-test-{self.prefix}-{kind}"
        path.write_text(text)
        self.files.append(path)
        return path.name

    def remove(self):
        for command in reversed(self.made):
            change(command)
        for path in self.files:
            path.unlink()


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    try:
        made.alice = made.account("alice", "right")
        made.group("staff", made.alice)
        made.plain = made.service("plain", PLAIN)
        yield made
    finally:
        made.remove()


@pytest.fixture
def script(tmp_path):
    """A program that a PAM module runs."""

    def write(text):
        path = tmp_path / "module"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


def sign_in(service, name, password, **config):
    """Sign in with the provider: return the proven name and groups, or raise its refusal."""

    async def main():
        proof = PamProof(Provider(name="pam", title=""), PamConfig(service=service, **config), str)
        request = SimpleNamespace(scope={"state": {"address": "192.0.2.7"}})
        return await proof.prove({"username": name, "password": password}, request)

    return asyncio.run(main())


def refused(service, name, password, error=RefusedError, **config):
    with pytest.raises(error) as caught:
        sign_in(service, name, password, **config)
    assert type(caught.value) is error
    return str(caught.value)


def test_the_right_password_returns_the_account_with_its_unix_groups(machine):
    proven = sign_in(machine.plain, machine.alice, "right")
    assert proven.name == machine.alice
    assert set(proven.groups) == {machine.alice, f"{machine.prefix}staff"}
    assert sign_in(machine.plain, machine.alice, "right", groups=False).groups is None


@pytest.mark.parametrize("password", ["wrong", "", "Right", "right ", "right\0", "right\0x", "r" * 2000, ODD])
def test_any_other_password_is_rejected(machine, password):
    assert refused(machine.plain, machine.alice, password) == WRONG


@pytest.mark.parametrize("name", ["nobody-of-that-name", "", "-", "alice\0", "$(id)", "%s%n"])
def test_a_name_without_an_account_gets_the_same_message(machine, name):
    assert refused(machine.plain, name, "right") == WRONG


def test_a_password_may_contain_any_character(machine):
    odd = machine.account("odd", ODD)
    assert sign_in(machine.plain, odd, ODD).name == odd
    assert refused(machine.plain, odd, ODD[:-1]) == WRONG
    quoted = machine.account("quoted", "\"'; {}$(x)`y`\\ %s")
    assert sign_in(machine.plain, quoted, "\"'; {}$(x)`y`\\ %s").name == quoted


def test_the_account_phase_is_checked(machine):
    expired = machine.account("gone", "right", "--expiredate", "2020-01-01")
    assert "expired" in refused(machine.plain, expired, "right")
    assert refused(machine.plain, expired, "wrong") == WRONG
    stale = machine.account("stale")
    subprocess.run(["chage", "--lastday", "0", stale], check=True)
    assert "Change it first" in refused(machine.plain, stale, "right")


def test_locked_accounts_and_accounts_without_a_password_are_rejected(machine):
    locked = machine.account("locked")
    subprocess.run(["usermod", "--lock", locked], check=True)
    assert refused(machine.plain, locked, "right") == WRONG
    empty = machine.account("empty")
    subprocess.run(["passwd", "--delete", empty], check=True, capture_output=True)
    for password in ("", "right"):
        assert refused(machine.plain, empty, password) == WRONG


def test_system_accounts_cannot_sign_in(machine):
    system = machine.account("sys", "right", "--uid", "901")
    assert "system account" in refused(machine.plain, system, "right")
    assert sign_in(machine.plain, system, "right", min_uid=900).name == system
    permits = machine.service("permits", "auth required pam_permit.so\naccount required pam_permit.so\n")
    assert "system account" in refused(permits, "root", "any")
    assert "no Unix account" in refused(permits, "nobody-of-that-name", "any")


def test_nologin_blocks_sign_in_and_shows_its_message(machine, tmp_path):
    notice = tmp_path / "nologin"
    text = f"auth required pam_unix.so\naccount required pam_nologin.so file={notice}\naccount required pam_unix.so\n"
    service = machine.service("nologin", text)
    assert sign_in(service, machine.alice, "right").name == machine.alice
    notice.write_text("The cluster is down until Monday.\n")
    assert "down until Monday" in refused(service, machine.alice, "right")
    assert refused(service, machine.alice, "wrong") == WRONG


def test_a_second_prompt_is_refused_with_a_message(machine):
    text = "auth required pam_unix.so\nauth required pam_ftp.so\naccount required pam_unix.so\n"
    service = machine.service("twice", text)
    assert "asks for more than a password" in refused(service, machine.alice, "right")


def test_a_service_without_usable_modules_rejects_everyone(machine):
    absent = machine.service("absent", "auth required pam_no_such_module.so\naccount required pam_permit.so\n")
    assert "could not check" in refused(absent, machine.alice, "right", UnansweredError)
    assert refused(machine.service("denies", "auth required pam_deny.so\n"), machine.alice, "right") == WRONG


def test_modules_get_the_address_of_the_client(machine, script):
    seen = script('[ "$PAM_RHOST" = 192.0.2.7 ]')
    service = machine.service("rhost", f"auth required pam_exec.so {seen}\naccount required pam_permit.so\n")
    assert sign_in(service, machine.alice, "right").name == machine.alice


def test_a_module_that_crashes_affects_only_one_sign_in(machine, script):
    service = machine.service("crash", f"auth required pam_exec.so {script('kill -SEGV $PPID; sleep 5')}\n")
    assert f"signal {signal.SIGSEGV.value}" in refused(service, machine.alice, "right", UnansweredError)
    assert sign_in(machine.plain, machine.alice, "right").name == machine.alice


def test_a_module_that_hangs_is_killed_with_everything_it_started(machine, script, tmp_path):
    pid = tmp_path / "pid"
    service = machine.service("hang", f"auth required pam_exec.so {script(f'echo $$ > {pid}; exec sleep 600')}\n")
    begun = time.monotonic()
    assert "in time" in refused(service, machine.alice, "right", UnansweredError, timeout=0.5)
    assert time.monotonic() - begun < 10
    assert not Path("/proc", pid.read_text().strip()).exists()


def test_a_cancelled_sign_in_leaves_no_process_and_the_password_is_in_no_argument_or_environment(
    machine, script, tmp_path
):
    pid = tmp_path / "pid"
    service = machine.service("slow", f"auth required pam_exec.so {script(f'echo $$ > {pid}; exec sleep 600')}\n")

    async def main():
        asked = {"name": machine.alice, "password": "sesame-open-4711", "address": "", "seconds": 60}
        signing_in = asyncio.create_task(pam.run_helper(pam.command(PamConfig(service=service)), asked))
        while not (pid.exists() and pid.read_text().strip()):
            await asyncio.sleep(0.01)
        for process in Path("/proc").iterdir():
            for file in ("cmdline", "environ"):
                try:
                    assert b"sesame-open-4711" not in (process / file).read_bytes()
                except OSError:
                    continue
        signing_in.cancel()
        with pytest.raises(asyncio.CancelledError):
            await signing_in
        while Path("/proc", pid.read_text().strip()).exists():
            await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_limited_number_of_helpers_run_and_others_wait(machine, script, tmp_path):
    runs = tmp_path / "runs"
    service = machine.service(
        "many", f"auth required pam_exec.so {script(f'echo >> {runs}; sleep 600')}\naccount required pam_permit.so\n"
    )

    async def main():
        proof = PamProof(Provider(name="pam", title=""), PamConfig(service=service, timeout=60), str)
        request = SimpleNamespace(scope={"state": {"address": ""}})
        fields = {"username": machine.alice, "password": "right"}
        tasks = [asyncio.create_task(proof.prove(fields, request)) for _ in range(pam.WAITING)]
        while not runs.exists() or len(runs.read_text()) < pam.AT_ONCE:
            await asyncio.sleep(0.01)
        with pytest.raises(UnansweredError, match="Too many users"):
            await proof.prove(fields, request)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in results)
        assert len(runs.read_text()) == pam.AT_ONCE

    asyncio.run(main())


def test_a_wrong_password_does_not_delay_the_helper(machine):
    begun = time.monotonic()
    for _ in range(3):
        assert refused(machine.plain, machine.alice, "wrong") == WRONG
    assert time.monotonic() - begun < 4.5  # pam_unix alone would wait about 2 s each


def asked_again(service, name, **config):
    """Check a signed-in user again: return the groups, or the type of the error."""

    async def main():
        proof = PamProof(Provider(name="pam", title=""), PamConfig(service=service, **config), str)
        standing = Standing(user=name, session="s", provider="pam", sealed=name, shown=name, began=0.0, checked=0.0)
        try:
            proven, kept = await proof.again(standing)
        except (GoneError, UnsureError) as error:
            return type(error)
        assert kept == name
        assert proven.asks
        return set(proven.groups)

    return asyncio.run(main())


def test_signed_in_users_are_checked_again_without_a_password(machine):
    leaver = machine.account("leaver")
    assert asked_again(machine.plain, leaver) == {leaver}
    subprocess.run(["usermod", "-aG", f"{machine.prefix}staff", leaver], check=True)
    assert asked_again(machine.plain, leaver) == {leaver, f"{machine.prefix}staff"}
    subprocess.run(["chage", "--expiredate", "2020-01-01", leaver], check=True)
    assert asked_again(machine.plain, leaver) is GoneError
    assert asked_again(machine.plain, "nobody-of-that-name") is GoneError


def test_a_temporary_block_of_all_sign_ins_signs_nobody_out(machine, tmp_path):
    notice = tmp_path / "nologin"
    notice.write_text("Maintenance.\n")
    service = machine.service(
        "closed", f"account required pam_nologin.so file={notice}\naccount required pam_unix.so\n"
    )
    assert asked_again(service, machine.alice) is UnsureError
    broken = machine.service("broken", "account required pam_no_such_module.so\n")
    assert asked_again(broken, machine.alice) is UnsureError
    rules = tmp_path / "access.conf"
    rules.write_text("-:ALL:ALL\n")
    shut = machine.service("out", f"account required pam_access.so accessfile={rules}\n")
    assert asked_again(shut, machine.alice) is GoneError


def test_a_check_without_a_password_cannot_be_used_to_sign_in(machine):
    asked = {"name": machine.alice, "again": True, "address": "", "seconds": 20}
    answer = asyncio.run(pam.run_helper(pam.command(PamConfig(service=machine.plain)), asked))
    assert answer["verdict"] == "stays"
    with pytest.raises(UnansweredError):
        pam.interpret(answer | {"why": ""}, PamConfig())
    answer = asyncio.run(pam.run_helper(pam.command(PamConfig(service=machine.plain)), asked | {"again": "yes"}))
    assert answer["verdict"] == "fault"
