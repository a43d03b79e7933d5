"""Submitting with sudo: the sudoers file, real sudo, and a hub that is not root."""

import os
import pwd
import subprocess
from functools import partial
from pathlib import Path

import pytest

from batch.contract import Change, LauncherError, Resources, Updated
from batch.launchers.slurm.clients import commands
from batch.launchers.slurm.identity import Identity
from tests.batch.launchers.slurm.making import job, slurm_config, slurm_maker
from tests.conftest import run, until

READY = Path(__file__).parents[2] / "deploy/sudoers/towpath"
NAMED = ("--ctld", "--me", "--name=towpath-" + "0123456789abcdef" * 2)
HUB = "towpath-restd"  # an account of the cluster's with no rights of its own


@pytest.fixture
def sudoers(slurm):
    """The sudoers file, adapted to the accounts of this machine."""
    text = READY.read_text().replace("TOWPATH_HUB = towpath", f"TOWPATH_HUB = {HUB}").replace("%users", "alice, bob")
    text = text.replace("/usr/bin", bin_of(slurm))
    path = Path(f"/etc/sudoers.d/towpath-tests-{os.getpid()}")
    path.touch(mode=0o440)
    try:
        path.write_text(text)
        yield path
    finally:
        path.unlink()


def bin_of(slurm) -> str:
    """Return the folder of Slurm's commands."""
    return slurm.layout.bin_dir or "/usr/bin"


def hub() -> Identity:
    account = pwd.getpwnam(HUB)
    return Identity(
        name=HUB, uid=account.pw_uid, gid=account.pw_gid, groups=(account.pw_gid,), home="/", shell="/bin/false"
    )


@pytest.fixture
def as_hub(monkeypatch):
    """Make the launcher run all commands as the hub's account."""
    monkeypatch.setattr(commands, "run", partial(_as_hub, commands.run, hub()))


async def _as_hub(real, account, argv, *, become=None, **more):
    assert become is None
    return await real(argv, become=account, **more)


def sudo(*argv: str, conf: str = "") -> subprocess.CompletedProcess:
    account = hub()
    return subprocess.run(
        ["sudo", "-n", *argv],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "SLURM_CONF": conf},
        cwd="/",
        input="",
        capture_output=True,
        text=True,
    )


def test_sudo_accepts_the_sudoers_file():
    done = subprocess.run(["visudo", "-c", "-f", READY], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr.lower()


def test_a_hub_without_root_submits_and_cancels_as_the_user(slurm, sudoers, as_hub):
    async def body():
        launcher = slurm_maker(slurm_config(slurm, "cli", submit_as="sudo"))()
        spec = job(command=("/bin/sh", "-c", "env >env.txt; sleep 300", "{socket}"))
        ref = await launcher.submit(spec)
        assert slurm.field(ref.native_id, "UserId").startswith("alice(")
        home = Path(pwd.getpwnam("alice").pw_dir)
        assert slurm.field(ref.native_id, "WorkDir") == str(home)
        await until(lambda: (home / "env.txt").exists() and (home / "env.txt").read_text().endswith("\n"))
        environment = dict(line.partition("=")[::2] for line in (home / "env.txt").read_text().splitlines())
        (home / "env.txt").unlink()
        assert not [name for name in environment if name.startswith("SUDO_")]
        assert (environment["HOME"], environment["USER"], environment["LOGNAME"]) == (str(home), "alice", "alice")
        assert environment["PATH"] == "/usr/local/bin:/usr/bin:/bin"
        await launcher.cancel(ref, spec.attempt)

        async def ended():
            return (await launcher.poll())[spec.attempt].state.final

        await until(ended)

    run(body())


def test_a_hub_without_root_changes_a_waiting_job_as_its_user(slurm, sudoers, as_hub):
    async def body():
        launcher = slurm_maker(slurm_config(slurm, "cli", submit_as="sudo"))()
        slurm.run("scontrol", "update", "PartitionName=cpu", "State=DOWN")
        before, after = Resources(walltime=600), Resources(walltime=3600)
        spec = job(resources=before)
        ref = await launcher.submit(spec)
        change = Change(attempt=spec.attempt, user="alice", before=before, after=after, record=spec.record)
        assert await launcher.update(change) is Updated.DONE
        found = slurm.field(ref.native_id, "TimeLimit"), slurm.field(ref.native_id, "UserId")
        await launcher.cancel(ref, spec.attempt)
        return found

    limit, user = run(body())
    assert limit == "01:00:00"
    assert user.startswith("alice(")


def test_sudo_rejects_everything_else(sudoers, slurm):
    conf = str(slurm.slurm_conf)
    refused = [
        ("-u", "root", "--", "{bin}/sbatch", "--parsable"),
        ("-u", "#0", "--", "{bin}/sbatch", "--parsable"),
        ("-u", "#-1", "--", "{bin}/sbatch", "--parsable"),
        ("-u", "carol", "--", "{bin}/sbatch", "--parsable"),  # not in the list
        ("-u", "slurm", "--", "{bin}/sbatch", "--parsable"),
        ("-u", "alice", "-g", "root", "--", "{bin}/sbatch", "--parsable"),
        ("-u", "alice", "--", "{bin}/sbatch"),
        ("-u", "alice", "--", "{bin}/sbatch", "--parsable", "--uid=root"),
        ("-u", "alice", "--", "{bin}/sbatch", "--parsable", "--wrap=id"),
        ("-u", "alice", "--", "{bin}/scancel", "--user=alice"),
        ("-u", "alice", "--", "{bin}/scancel", "1"),
        ("-u", "alice", "--", "{bin}/scancel", *NAMED, "0000000001", "0000000002"),
        ("-u", "alice", "--", "{bin}/scancel", *NAMED, "0000000001 --user=alice"),
        ("-u", "alice", "--", "{bin}/scancel", *NAMED, "1"),
        ("-u", "alice", "--", "{bin}/scancel", *NAMED),
        ("-u", "alice", "--", "{bin}/scancel", "--ctld", "--me", "--name=other", "0000000001"),
        ("-u", "alice", "--", "{bin}/scancel", "--ctld", "--name=towpath-" + "0" * 32, "0000000001"),
        ("-u", "alice", "--", "{bin}/scancel", *NAMED, "000000000x"),
        ("-u", "alice", "--", "{bin}/scancel"),
        ("-u", "alice", "--", "{bin}/scontrol", "update", "JobId=1", "TimeLimit=1"),
        ("-u", "root", "--", "{bin}/scontrol"),
        ("-u", "carol", "--", "{bin}/scontrol"),
        ("-u", "alice", "--", "/bin/sh"),
        ("-u", "alice", "-s"),
        ("-u", "alice", "-E", "--", "{bin}/sbatch", "--parsable"),
        ("-u", "alice", "--", "LD_PRELOAD=/tmp/x", "{bin}/sbatch", "--parsable"),
    ]
    for argv in refused:
        done = sudo(*(word.replace("{bin}", bin_of(slurm)) for word in argv), conf=conf)
        assert done.returncode == 1, (argv, done)
        assert "sbatch" not in done.stderr.lower().split("sudo:")[0], (argv, done.stderr)


def test_without_the_sudoers_file_the_error_has_a_message(slurm, as_hub):
    async def body():
        launcher = slurm_maker(slurm_config(slurm, "cli", submit_as="sudo"))()
        with pytest.raises(LauncherError) as caught:
            await launcher.submit(job())
        return caught.value

    error = run(body())
    assert "sudo" in str(error)
    assert not error.transient
