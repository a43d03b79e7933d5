"""A hub without root starts servers as its users by real sudo, with the sudoers file that comes with it."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from batch.contract import JobState, LauncherError
from batch.launchers.local import become
from batch.launchers.local.become import HELPER, Become, rule_of
from batch.launchers.local.kind import LocalConfig
from deploy.devcluster.users import RESTD
from tests.batch.launchers.local.making import HOMES, users_maker
from tests.batch.launchers.ssh.jobs import end, spec_of, start, until_view
from tests.batch.launchers.ssh.test_starts import app_of
from tests.conftest import run

READY = Path(__file__).parents[2] / "deploy/sudoers/towpath-run"
HUB = RESTD
"""An account without rights of its own."""


@pytest.fixture
def helper(users, monkeypatch):
    """The file that sudo runs, where every user can read it."""
    path = users / "towpath_run.py"
    path.write_text(HELPER.read_text())
    monkeypatch.setattr(become, "HELPER", path)
    return path


@pytest.fixture
def sudoers(helper):
    """The sudoers file, adapted to this machine."""
    text = READY.read_text().replace("TOWPATH_HUB = towpath", f"TOWPATH_HUB = {HUB}").replace("%users", "alice, bob")
    text = text.replace(
        "/usr/bin/python3 -I -S /opt/towpath/lib/python3.11/site-packages/batch/launchers/local/towpath_run.py",
        rule_of(Become(LocalConfig(run_as="user", become="sudo"), "lab").command("-")),
    )
    assert str(helper) in text
    path = Path(f"/etc/sudoers.d/towpath-tests-run-{os.getpid()}")
    path.touch(mode=0o440)
    try:
        path.write_text(text)
        yield path
    finally:
        path.unlink()


@pytest.fixture
def as_hub(monkeypatch):
    """Run sudo as the hub's account, in place of root."""
    real = Become.command
    monkeypatch.setattr(Become, "command", lambda self, name: [*as_account(), *real(self, name)])


def as_account():
    account = pwd.getpwnam(HUB)
    return ["/usr/bin/setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]


def test_sudo_accepts_the_sudoers_file():
    done = subprocess.run(["visudo", "-c", "-f", READY], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr.lower()


def test_a_server_of_a_hub_without_root_runs_as_its_user_and_is_ended(users, sudoers, as_hub):
    async def body():
        launcher = users_maker(become="sudo")()
        spec, _ = await start(launcher, spec_of("alice"))
        try:
            _, environment = await app_of(spec)
            await until_view(launcher, spec, lambda seen: seen.state is JobState.ACTIVE)
        finally:
            await end(launcher, spec)
        assert not [name for name in environment if name.startswith("SUDO_")]
        assert (environment["HOME"], environment["USER"]) == (str(HOMES / "alice"), "alice")
        await launcher.close()

    run(body())


def test_a_user_whom_the_sudoers_file_does_not_name_gets_a_message(users, sudoers, as_hub):
    async def body():
        launcher = users_maker(become="sudo")()
        with pytest.raises(LauncherError) as caught:
            await start(launcher, spec_of("carol"))
        assert "sudo does not allow the hub to start servers as carol" in str(caught.value)
        assert "deploy/sudoers/towpath-run" in caught.value.hint
        assert not caught.value.transient
        await launcher.close()

    run(body())


def test_sudo_rejects_everything_else(users, sudoers, helper):
    refused = [
        ("-u", "root", "--", "/usr/bin/python3", "-I", "-S", str(helper)),
        ("-u", "#0", "--", "/usr/bin/python3", "-I", "-S", str(helper)),
        ("-u", "daemon", "--", "/usr/bin/python3", "-I", "-S", str(helper)),
        ("-u", "carol", "--", "/usr/bin/python3", "-I", "-S", str(helper)),
        ("-u", "alice", "-g", "root", "--", "/usr/bin/python3", "-I", "-S", str(helper)),
        ("-u", "alice", "--", "/usr/bin/python3", "-I", "-S", str(helper), "more"),
        ("-u", "alice", "--", "/usr/bin/python3", "-c", "print(1)"),
        ("-u", "alice", "--", "/bin/sh"),
    ]
    for argv in refused:
        done = subprocess.run([*as_account(), "sudo", "-n", *argv], capture_output=True, text=True, cwd="/", input="")
        assert done.returncode != 0, argv
        assert done.stdout == "", argv
    allowed = ["sudo", "-n", "-u", "alice", "--", "/usr/bin/python3", "-I", "-S", str(helper)]
    done = subprocess.run(
        [*as_account(), *allowed], capture_output=True, text=True, cwd="/", input="29\nimport os; print(os.getuid())"
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(pwd.getpwnam("alice").pw_uid)), done.stderr
