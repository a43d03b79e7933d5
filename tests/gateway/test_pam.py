"""Sign-in by PAM: real libpam, real accounts of this machine, made for the test and removed with it. Needs root."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.auth import pam
from gateway.auth.pam import PamProof
from gateway.auth.proof import GoneError, UnsureError
from gateway.auth.throttle import WRONG
from portal.site.sign_in import Provider, RefusedError, UnansweredError
from state.config.tables import PamConfig
from state.records.models import Standing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes accounts: needs root")
OWN_IDS = ("--key", "UID_MIN=47000", "--key", "UID_MAX=47999", "--key", "GID_MIN=47000", "--key", "GID_MAX=47999")
"""Numbers that no other test's accounts get."""
SERVICES = Path("/etc/pam.d")
ODD = "".join(chr(code) for code in range(1, 128)) + "äß€𝄞\u00a0\u200d\ufeff"
PLAIN = "auth required pam_unix.so\naccount required pam_unix.so\n"


def shadow(password):
    """A hash of this password, by the library that reads it."""
    return subprocess.run(
        ["perl", "-e", "local $/; my $p = <STDIN>; print crypt($p, '$6$saltsalt$')"],
        input=password.encode(),
        capture_output=True,
        check=True,
    ).stdout.decode()


class Machine:
    """Accounts and services with names of their own."""

    def __init__(self):
        self.made = []
        self.files = []
        self.word = f"tp{os.getpid()}"

    def account(self, kind, password="right", *more):
        name = f"{self.word}{kind}"
        command = ["useradd", *OWN_IDS, "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh"]
        subprocess.run([*command, "--password", shadow(password), *more, name], check=True, capture_output=True)
        self.made.append(["userdel", name])
        return name

    def group(self, kind, *members):
        name = f"{self.word}{kind}"
        subprocess.run(["groupadd", *OWN_IDS[4:], name], check=True, capture_output=True)
        self.made.append(["groupdel", name])
        for member in members:
            subprocess.run(["usermod", "-aG", name, member], check=True, capture_output=True)
        return name

    def service(self, kind, text):
        path = SERVICES / f"towpath-test-{self.word}-{kind}"
        path.write_text(text)
        self.files.append(path)
        return path.name

    def remove(self):
        for command in reversed(self.made):
            subprocess.run(command, check=True, capture_output=True)
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
    """A program that a PAM module starts."""

    def write(text):
        path = tmp_path / "module"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


def sign_in(service, name, password, **config):
    """What the provider says: the name and groups that it proved, or its refusal."""

    async def main():
        proof = PamProof(Provider(name="pam", title=""), PamConfig(service=service, **config), str)
        request = SimpleNamespace(scope={"state": {"address": "192.0.2.7"}})
        return await proof.prove({"name": name, "password": password}, request)

    return asyncio.run(main())


def refused(service, name, password, error=RefusedError, **config):
    with pytest.raises(error) as caught:
        sign_in(service, name, password, **config)
    assert type(caught.value) is error
    return str(caught.value)


def test_the_right_password_proves_the_account_with_its_unix_groups(machine):
    proven = sign_in(machine.plain, machine.alice, "right")
    assert proven.name == machine.alice
    assert set(proven.groups) == {machine.alice, f"{machine.word}staff"}
    assert sign_in(machine.plain, machine.alice, "right", groups=False).groups is None


@pytest.mark.parametrize("password", ["wrong", "", "Right", "right ", "right\0", "right\0x", "r" * 2000, ODD])
def test_any_other_password_is_wrong(machine, password):
    assert refused(machine.plain, machine.alice, password) == WRONG


@pytest.mark.parametrize("name", ["nobody-of-that-name", "", "-", "alice\0", "$(id)", "%s%n"])
def test_a_name_without_an_account_is_refused_in_the_same_words(machine, name):
    assert refused(machine.plain, name, "right") == WRONG


def test_a_password_with_every_odd_character_is_taken_as_it_is(machine):
    odd = machine.account("odd", ODD)
    assert sign_in(machine.plain, odd, ODD).name == odd
    assert refused(machine.plain, odd, ODD[:-1]) == WRONG
    quoted = machine.account("quoted", "\"'; {}$(x)`y`\\ %s")
    assert sign_in(machine.plain, quoted, "\"'; {}$(x)`y`\\ %s").name == quoted


def test_the_account_phase_is_asked_too(machine):
    expired = machine.account("gone", "right", "--expiredate", "2020-01-01")
    assert "expired" in refused(machine.plain, expired, "right")
    assert refused(machine.plain, expired, "wrong") == WRONG
    stale = machine.account("stale")
    subprocess.run(["chage", "--lastday", "0", stale], check=True)
    assert "change it first" in refused(machine.plain, stale, "right")


def test_a_locked_account_and_one_without_a_password_are_refused(machine):
    locked = machine.account("locked")
    subprocess.run(["usermod", "--lock", locked], check=True)
    assert refused(machine.plain, locked, "right") == WRONG
    empty = machine.account("empty")
    subprocess.run(["passwd", "--delete", empty], check=True, capture_output=True)
    for password in ("", "right"):
        assert refused(machine.plain, empty, password) == WRONG


def test_accounts_of_the_system_do_not_sign_in(machine):
    system = machine.account("sys", "right", "--uid", "901")
    assert "account of the system" in refused(machine.plain, system, "right")
    assert sign_in(machine.plain, system, "right", least_uid=900).name == system
    permits = machine.service("permits", "auth required pam_permit.so\naccount required pam_permit.so\n")
    assert "account of the system" in refused(permits, "root", "any")
    assert "no Unix account" in refused(permits, "nobody-of-that-name", "any")


def test_nologin_keeps_people_out_and_says_why(machine, tmp_path):
    notice = tmp_path / "nologin"
    text = f"auth required pam_unix.so\naccount required pam_nologin.so file={notice}\naccount required pam_unix.so\n"
    service = machine.service("nologin", text)
    assert sign_in(service, machine.alice, "right").name == machine.alice
    notice.write_text("The cluster is down until Monday.\n")
    assert "down until Monday" in refused(service, machine.alice, "right")
    assert refused(service, machine.alice, "wrong") == WRONG


def test_a_second_question_is_refused_in_words(machine):
    text = "auth required pam_unix.so\nauth required pam_ftp.so\naccount required pam_unix.so\n"
    service = machine.service("twice", text)
    assert "asks for more than a password" in refused(service, machine.alice, "right")


def test_a_service_without_modules_lets_nobody_in(machine):
    absent = machine.service("absent", "auth required pam_no_such_module.so\naccount required pam_permit.so\n")
    assert "could not judge" in refused(absent, machine.alice, "right", UnansweredError)
    assert refused(machine.service("denies", "auth required pam_deny.so\n"), machine.alice, "right") == WRONG


def test_a_module_learns_where_the_person_is(machine, script):
    seen = script('[ "$PAM_RHOST" = 192.0.2.7 ]')
    service = machine.service("rhost", f"auth required pam_exec.so {seen}\naccount required pam_permit.so\n")
    assert sign_in(service, machine.alice, "right").name == machine.alice


def test_a_module_that_crashes_costs_one_sign_in(machine, script):
    service = machine.service("crash", f"auth required pam_exec.so {script('kill -SEGV $PPID; sleep 5')}\n")
    assert f"signal {signal.SIGSEGV.value}" in refused(service, machine.alice, "right", UnansweredError)
    assert sign_in(machine.plain, machine.alice, "right").name == machine.alice


def test_a_module_that_hangs_is_ended_with_all_that_it_started(machine, script, tmp_path):
    pid = tmp_path / "pid"
    service = machine.service("hang", f"auth required pam_exec.so {script(f'echo $$ > {pid}; exec sleep 600')}\n")
    begun = time.monotonic()
    assert "in time" in refused(service, machine.alice, "right", UnansweredError, timeout=0.5)
    assert time.monotonic() - begun < 10
    assert not Path("/proc", pid.read_text().strip()).exists()


def test_a_sign_in_that_is_called_off_leaves_nothing_behind_and_the_password_is_nowhere_to_be_seen(
    machine, script, tmp_path
):
    pid = tmp_path / "pid"
    service = machine.service("slow", f"auth required pam_exec.so {script(f'echo $$ > {pid}; exec sleep 600')}\n")

    async def main():
        asked = {"name": machine.alice, "password": "sesame-open-4711", "address": "", "seconds": 60}
        signing_in = asyncio.create_task(pam.ask(pam.command(PamConfig(service=service)), asked))
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


def test_so_many_helpers_run_at_once_and_the_others_wait(machine, script, tmp_path):
    runs = tmp_path / "runs"
    service = machine.service(
        "many", f"auth required pam_exec.so {script(f'echo >> {runs}; sleep 600')}\naccount required pam_permit.so\n"
    )

    async def main():
        proof = PamProof(Provider(name="pam", title=""), PamConfig(service=service, timeout=60), str)
        request = SimpleNamespace(scope={"state": {"address": ""}})
        fields = {"name": machine.alice, "password": "right"}
        tasks = [asyncio.create_task(proof.prove(fields, request)) for _ in range(pam.WAITING)]
        while not runs.exists() or len(runs.read_text()) < pam.AT_ONCE:
            await asyncio.sleep(0.01)
        with pytest.raises(UnansweredError, match="Very many"):
            await proof.prove(fields, request)
        for task in tasks:
            task.cancel()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in told)
        assert len(runs.read_text()) == pam.AT_ONCE

    asyncio.run(main())


def test_a_wrong_password_holds_no_helper(machine):
    begun = time.monotonic()
    for _ in range(3):
        assert refused(machine.plain, machine.alice, "wrong") == WRONG
    assert time.monotonic() - begun < 4.5  # pam_unix alone would wait about 2 s each


def asked_again(service, name, **config):
    """The groups that PAM says somebody still has, or why they are out, or that nobody could tell."""

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


def test_whoever_is_in_is_looked_at_again_without_their_password(machine):
    leaver = machine.account("leaver")
    assert asked_again(machine.plain, leaver) == {leaver}
    subprocess.run(["usermod", "-aG", f"{machine.word}staff", leaver], check=True)
    assert asked_again(machine.plain, leaver) == {leaver, f"{machine.word}staff"}
    subprocess.run(["chage", "--expiredate", "2020-01-01", leaver], check=True)
    assert asked_again(machine.plain, leaver) is GoneError
    assert asked_again(machine.plain, "nobody-of-that-name") is GoneError


def test_a_machine_that_lets_nobody_in_just_now_puts_nobody_out(machine, tmp_path):
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


def test_nobody_signs_in_by_being_asked_about_again(machine):
    asked = {"name": machine.alice, "again": True, "address": "", "seconds": 20}
    told = asyncio.run(pam.ask(pam.command(PamConfig(service=machine.plain)), asked))
    assert told["verdict"] == "stays"
    with pytest.raises(UnansweredError):
        pam.judged(told | {"why": ""}, PamConfig())
    told = asyncio.run(pam.ask(pam.command(PamConfig(service=machine.plain)), asked | {"again": "yes"}))
    assert told["verdict"] == "fault"
