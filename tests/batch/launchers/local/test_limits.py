"""Limits of jobs on this machine: real control groups of either version, and a systemd-run that is a fake."""

import contextlib
import os
import pwd
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batch.launchers.local import account_hosts
from batch.launchers.local.account_hosts import AccountHosts
from batch.launchers.local.become import Become, converse
from batch.launchers.local.cgroups import MOUNTS, PARENT, Amounts, ControlGroups, find, limit_files
from batch.launchers.local.kind import LocalConfig
from batch.launchers.local.limits import Limits
from batch.launchers.ssh.kind import SshConfig, SshHostConfig
from batch.launchers.ssh.native_id import Place
from tests.batch.launchers.local.making import unix_users
from tests.conftest import run
from tests.hub import eventually

MIB = 1024**2


@pytest.fixture
def groups():
    hierarchies = find(MOUNTS.read_text())
    if frozenset().union(*(one.limits for one in hierarchies)) != {"memory", "cores", "processes"}:
        pytest.skip("this machine has no control groups that can be written to")
    return ControlGroups(hierarchies)


@pytest.fixture
def attempt(groups):
    attempt = secrets.token_hex(16)
    yield attempt
    eventually(lambda: groups.end(attempt) or not folders(attempt), what="the end of the group")


def folders(attempt):
    return [one for base in ("*/", "") for one in Path("/sys/fs/cgroup").glob(f"{base}{PARENT}/{attempt}")]


@contextlib.contextmanager
def member(groups, attempt, code, **amounts):
    """A process in the job's group, which begins when it is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.readline()\n{code}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        limited = groups.enter(attempt, process.pid, Amounts(**amounts))
        assert limited == set(amounts)
        process.stdin.write("\n")
        process.stdin.flush()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_memory_is_limited(groups, attempt):
    with member(groups, attempt, "held = bytearray(400 << 20)", memory=100 * MIB) as process:
        assert process.wait(60) == -signal.SIGKILL


FORKS = """
import os, time
for count in range(20):
    try:
        if not os.fork():
            time.sleep(600)
    except BlockingIOError:
        print(count, flush=True)
        break
time.sleep(600)
"""


def test_processes_are_limited(groups, attempt):
    with member(groups, attempt, FORKS, processes=8) as process:
        assert process.stdout.readline() == "7\n"


def test_cores_are_limited(groups, attempt):
    with member(groups, attempt, "import time; time.sleep(60)", cores=2):
        texts = [
            (folder / name).read_text().split()
            for folder in folders(attempt)
            for name in ("cpu.max", "cpu.cfs_quota_us")
            if (folder / name).exists()
        ]
        assert ["200000", "100000"] in texts or ["200000"] in texts


def test_processes_that_a_job_leaves_behind_are_killed(groups, attempt):
    code = (
        "import subprocess as s, time;"
        "print(s.Popen(['/bin/sleep', '600'], env={}, start_new_session=True).pid, flush=True); time.sleep(600)"
    )
    with member(groups, attempt, code, processes=100) as process:
        hidden = int(process.stdout.readline())
        groups.end(attempt)
        assert process.wait(60) == -signal.SIGKILL
        eventually(lambda: state_of(hidden) in ("", "Z"), what="the end of the hidden one")


def test_a_poll_ends_no_job_that_is_being_started(groups, attempt, monkeypatch):
    """Its starter has not answered yet, so two polls have not found it."""
    config = LocalConfig(run_as="user", python="/usr/bin/python3")
    hosts = AccountHosts(config, SshConfig(host=(SshHostConfig(name="lab", address="127.0.0.1"),)))

    async def polled_meanwhile(process, _, *, seconds):
        await hosts.limits.tidy({attempt})
        return await converse(process, b"8\nprint(3)", seconds=seconds)

    async def body():
        request = {"attempt": attempt, "share": {"memory": 0, "cores": 1}}
        return await hosts.run(Place(host="lab", account="alice"), "start", request)

    monkeypatch.setattr(account_hosts, "converse", polled_meanwhile)
    with unix_users():
        _, output = run(body())
    assert (output.code, output.out) == (0, b"3\n")


def state_of(pid):
    """The state of a process as /proc shows it; `""`: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def test_a_sweep_removes_old_groups_without_processes(groups, attempt):
    other = secrets.token_hex(16)
    with member(groups, attempt, "import time; time.sleep(60)", cores=1):
        made = [folder.with_name(other) for folder in folders(attempt)]
        for folder in made:
            folder.mkdir()
        later = time.time() + 100
        groups.sweep((), now=time.time())
        groups.sweep({other}, now=later)
        assert all(folder.exists() for folder in made)
        groups.sweep((), now=later)
        assert not any(folder.exists() for folder in made)
        assert folders(attempt)


@pytest.mark.parametrize(
    ("version", "name", "files"),
    [
        (1, "memory", [("memory.limit_in_bytes", "7"), ("memory.memsw.limit_in_bytes", "7")]),
        (2, "memory", [("memory.max", "7"), ("memory.swap.max", "0")]),
        (1, "cores", [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "700000")]),
        (2, "cores", [("cpu.max", "700000 100000")]),
        (1, "processes", [("pids.max", "7")]),
        (2, "processes", [("pids.max", "7")]),
    ],
)
def test_the_files_of_a_limit(version, name, files):
    assert limit_files(version, name, 7) == files


def test_a_machine_without_control_groups_limits_nothing(tmp_path):
    assert find("") == []
    mounts = f"1 1 0:1 / {tmp_path} ro - cgroup cgroup rw,memory\n2 1 0:2 / /nonexistent ro - cgroup2 cgroup2 rw\n"
    assert find(mounts) == []  # nothing in there is the kernel's
    config = LocalConfig(run_as="user", become="sudo")
    limits = Limits(config, Become(config, "lab"))
    assert (limits.enforced, limits.own) == (frozenset(), False)
    assert limits.text() == "Not limited: memory, CPU, number of processes."


SYSTEMD_RUN = """#!/bin/sh
printf '%s\\n' "$*" >>{log}
for word; do
shift
case "$word" in --unit=*) unit=${{word#--unit=}} ;; --) break ;; esac
done
mkdir -p {base}/$unit && echo $$ >{base}/$unit/cgroup.procs
exec "$@"
"""


def unified():
    """The mounted hierarchy of version 2, or None."""
    rows = [line.split() for line in MOUNTS.read_text().splitlines() if " - cgroup2 " in line]
    return Path(rows[0][4]) if rows else None


def test_with_systemd_a_job_is_in_a_scope_of_the_system_before_it_is_told_what_to_run(tmp_path):
    top = unified()
    if top is None or os.geteuid() != 0:
        pytest.skip("this machine has no control groups of version 2")
    attempt, log = secrets.token_hex(16), tmp_path / "log"
    base = top / f"towpath-test-{attempt[:8]}.slice"
    base.mkdir()
    program = tmp_path / "systemd-run"
    program.write_text(SYSTEMD_RUN.format(log=log, base=base))
    program.chmod(0o755)
    config = LocalConfig(run_as="user", python="/usr/bin/python3", max_processes=50)
    limits = Limits(config, Become(config, "lab"), systemd=tmp_path, programs=str(tmp_path))
    code = b"import os; print(os.getuid(), os.getgid(), open('/proc/self/cgroup').read())"

    async def body():
        process, limited = await limits.start("alice", attempt, memory=5 * MIB, cores=2)
        return limited, await converse(process, b"%d\n%s" % (len(code), code), seconds=30)

    try:
        with unix_users():
            limited, output = run(body())
            entry = pwd.getpwnam("alice")
        uid, gid, rest = output.out.decode().split(maxsplit=2)
        assert (int(uid), int(gid)) == (entry.pw_uid, entry.pw_gid)
        assert f"towpath-{attempt}.scope" in rest
        words = log.read_text().split()
        assert words[:4] == ["--scope", "--quiet", "--collect", f"--unit=towpath-{attempt}.scope"]
        assert words[4:9] == [
            "--property=MemoryMax=5242880", "--property=MemorySwapMax=0", "--property=CPUQuota=200%",
            "--property=TasksMax=50", "--",
        ]  # fmt: skip
        assert limited == frozenset()  # the fake has set none, and that is seen
    finally:
        for folder in (*base.glob("*.scope"), base):
            folder.rmdir()


def test_a_systemd_that_makes_no_scope_leaves_a_job_without_limits(tmp_path):
    program = tmp_path / "systemd-run"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    config = LocalConfig(run_as="user")
    limits = Limits(config, Become(config, "lab"), systemd=tmp_path, programs=str(tmp_path))

    async def body():
        process, limited = await limits.start("alice", secrets.token_hex(16), memory=5 * MIB, cores=2)
        return limited, await converse(process, b"8\nprint(3)", seconds=30)

    with unix_users():
        limited, output = run(body())
    assert (limited, output.out) == (frozenset(), b"3\n")
