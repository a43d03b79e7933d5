"""Slurm's commands on login nodes: real sshds, and programs of the tests' own in the place of Slurm's."""

import asyncio
import contextlib
import json
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from batch.contract import LauncherError
from batch.launchers.slurm.clients import login_nodes
from batch.launchers.slurm.clients.commands import PROGRAMS
from batch.launchers.slurm.clients.login_node_groups import LoginNodeGroups
from batch.launchers.slurm.identity import Identity, identity_of
from batch.launchers.slurm.kind import LoginNodesConfig, SlurmConfig
from batch.ssh.programs import BOOTSTRAP, write_request
from batch.ssh.settings import SshAddressConfig
from tests.batch.launchers.slurm.making import login_nodes as nodes_of
from tests.batch.launchers.ssh.making import running_pool
from tests.conftest import run, until
from tests.sshd import MONITOR

SHOW = """#!/usr/bin/python3
# Prints how it was run. No time is measured: `late` waits until it is killed.
import json, os, signal, sys
given = sys.stdin.buffer.read()
with open(os.environ.get("RUNS", "/dev/null"), "a") as runs:
    runs.write(os.uname().nodename + "\\n")
if "late" in sys.argv:
    signal.pause()
if "parent" in sys.argv:
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
if "much" in sys.argv:
    print("x" * 20_000_000)
umask = os.umask(0)
print(json.dumps([sys.argv[1:], dict(os.environ), given.decode(), os.getuid(), os.getcwd(), umask, os.uname().nodename]))
print("something on stderr", file=sys.stderr)
sys.exit(3)
"""
HOSTILE = [
    "$(touch /tmp/towpath-pwned)",
    "`touch /tmp/towpath-pwned`",
    "'; touch /tmp/towpath-pwned; '",
    '"; touch /tmp/towpath-pwned; "',
    "a b\tc\nd",
    "\\",
    "!!",
    "*",
    "~",
    "-rf",
    "{a,b}",
    "é\u2028",
]


@pytest.fixture(scope="module")
def pool():
    yield from running_pool(("login1", "login2"))


@pytest.fixture(scope="module")
def programs(pool):
    folder = pool.folder / "programs"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text(SHOW)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def runs(pool):
    """A file in which each run of a program writes its node."""
    path = pool.folder / "runs"
    path.write_text("")
    path.chmod(0o666)
    return path


@pytest.fixture(autouse=True)
def usual(pool):
    """Every node runs, with its usual homes and shells."""
    yield
    for host in pool.hosts.values():
        (host.homes / "alice" / ".bashrc").unlink(missing_ok=True)
        if host.binds:
            host.binds = []
            host.stop()
            host.start()
        elif not host.listens():
            host.start_sshd()


def config_of(pool, programs, **more) -> SlurmConfig:
    addresses = tuple(
        SshAddressConfig(name=host.name, address=host.address, port=host.port) for host in pool.hosts.values()
    )
    ssh = LoginNodesConfig(login_node=addresses, known_hosts=(str(pool.known_hosts),), monitor_user=MONITOR)
    return SlurmConfig(**{"client": "ssh", "ssh": ssh, "bin_dir": str(programs), **more})


@contextlib.asynccontextmanager
async def opened(pool, programs, **more):
    nodes = nodes_of(config_of(pool, programs, **more))
    try:
        yield nodes
    finally:
        await nodes.close()


def alice() -> Identity:
    return identity_of("alice")


async def shown(nodes, *argv, given="", once=False, **environment):
    """Run sbatch as alice: what it printed of its run."""
    done = await nodes.run_as(alice(), "sbatch", list(argv), environment=environment, stdin=given, once=once)
    assert (done.code, done.err) == (3, "something on stderr\n"), done
    return json.loads(done.out.splitlines()[-1])


async def node_of_queries(nodes):
    return json.loads((await nodes.run("squeue", [])).out)[-1]


# --- one command


def test_a_command_gets_exactly_what_was_said_as_the_user(pool, programs):
    async def body():
        async with opened(pool, programs, conf="/etc/other/slurm.conf") as nodes:
            return await shown(nodes, *HOSTILE, given="#!/bin/bash\n" + "x" * 1_000_000, FIRST=HOSTILE[0], SECOND="ü\n")

    argv, environment, given, uid, folder, umask, node = run(body())
    assert argv == HOSTILE
    environment.pop("LC_CTYPE", None)  # Python's own, where the locale is C
    assert environment == {"FIRST": HOSTILE[0], "SECOND": "ü\n", "SLURM_CONF": "/etc/other/slurm.conf"}
    assert given == "#!/bin/bash\n" + "x" * 1_000_000
    assert not Path("/tmp/towpath-pwned").exists()
    assert (uid, folder, umask, node) == (pwd.getpwnam("alice").pw_uid, "/", 0o022, "login1")


def test_a_query_is_the_monitors_with_times_in_seconds(pool, programs):
    async def body():
        async with opened(pool, programs) as nodes:
            assert nodes.user == MONITOR
            return json.loads((await nodes.run("squeue", ["--all"])).out)

    argv, environment, _, uid, *_ = run(body())
    assert argv == ["--all"]
    assert environment["SLURM_TIME_FORMAT"] == "%s"
    assert uid == pwd.getpwnam(MONITOR).pw_uid


@pytest.mark.parametrize(
    "rc",
    [
        "echo '*** Welcome. Maintenance on Monday. ***'; echo noise >&2",
        "printf '\\033[1m(base) \\033[0m'; export PATH=/nowhere PYTHONHOME=/nowhere PYTHONPATH=/nowhere",
        'eval "$(/usr/bin/conda shell.bash hook)"; conda activate base',
        "echo '00000000000000000000000000000000 {\"code\": 0}'",
    ],
)
def test_output_of_a_login_shell_is_not_taken_for_an_answer(pool, programs, rc):
    (pool.hosts["login1"].homes / "alice" / ".bashrc").write_text(rc + "\n")

    async def body():
        async with opened(pool, programs) as nodes:
            return await shown(nodes, "--parsable")

    assert run(body())[0] == ["--parsable"]


def test_a_long_answer_comes_whole(pool, programs):
    async def body():
        async with opened(pool, programs) as nodes:
            return (await nodes.run("squeue", ["much"])).out

    assert run(body()).startswith("x" * 20_000_000 + "\n")


def test_a_command_that_takes_too_long_is_killed_and_the_node_stays(pool, programs, monkeypatch):
    async def body():
        async with opened(pool, programs, timeout=1.0) as nodes:
            with pytest.raises(LauncherError, match="Slurm has not answered within 1 seconds") as caught:
                await nodes.run("squeue", ["late"])
            assert caught.value.transient
            assert nodes.troubles() == []
            await until(lambda: not pool.hosts["login1"].processes("programs/squeue late"))

    run(body())


def test_an_answer_that_would_fill_the_memory_is_refused(pool, programs, monkeypatch):
    monkeypatch.setattr(login_nodes, "MAX_TEXT", 1_000_000)

    async def body():
        async with opened(pool, programs) as nodes:
            with pytest.raises(LauncherError, match="cannot be read"):
                await nodes.run("squeue", ["much"])

    run(body())


def test_an_input_that_was_cut_short_runs_nothing(programs, runs):
    """Otherwise sbatch would submit the beginning of a script when the connection breaks."""
    script = b"#!/bin/bash\nsleep 1\nrm -r scratch.old\n"
    request = {
        "program": "sbatch",
        "path": str(programs),
        "argv": [],
        "environment": {"RUNS": str(runs)},
        "seconds": 30,
    }
    _, text = write_request(login_nodes.program(), "run", {**request, "stdin_size": len(script)}, script)
    argv = [sys.executable, "-I", "-S", "-c", BOOTSTRAP]
    for length in (0, 1, 100, len(text) - len(script) - 10, len(text) - len(script), len(text) - 1):
        done = subprocess.run(argv, input=text[:length], capture_output=True)
        assert b"started" not in done.stdout
    assert runs.read_text() == ""
    subprocess.run(argv, input=text, capture_output=True, check=True)
    assert runs.read_text() == f"{socket.gethostname()}\n"


# --- several nodes


def test_the_next_node_is_used_when_one_is_down_and_the_first_again_when_it_is_back(pool, programs):
    first = pool.hosts["login1"]

    async def body():
        async with opened(pool, programs) as nodes:
            assert await node_of_queries(nodes) == "login1"
            first.kill_sshd()
            assert await node_of_queries(nodes) == "login2"
            assert (await shown(nodes))[-1] == "login2"
            (trouble,) = nodes.troubles()
            assert trouble.part == "login node login1"
            assert "Connection refused" in trouble.text
            first.start_sshd()

            async def back():
                return await node_of_queries(nodes) == "login1"

            await until(back)
            assert nodes.troubles() == []
            assert (await shown(nodes))[-1] == "login1"

    run(body())


def test_when_all_nodes_are_down_the_error_names_them_and_passes(pool, programs):
    async def body():
        for host in pool.hosts.values():
            host.kill_sshd()
        async with opened(pool, programs) as nodes:
            with pytest.raises(LauncherError) as caught:
                await nodes.run("squeue", [])
            assert caught.value.transient
            assert "login1" in str(caught.value)
            assert "login2" in str(caught.value)
            for host in pool.hosts.values():
                host.start_sshd()

            async def back():
                with contextlib.suppress(LauncherError):
                    return await node_of_queries(nodes)

            assert await until(back)

    run(body())


def test_a_node_that_shows_another_key_is_not_used(pool, programs):
    first = pool.hosts["login1"]
    old = {path: path.read_bytes() for path in first.folder.glob("hostkey*")}
    first.new_host_key()
    first.restart_sshd()
    try:

        async def body():
            async with opened(pool, programs) as nodes:
                assert await node_of_queries(nodes) == "login2"
                (trouble,) = nodes.troubles()
                assert trouble.urgent
                assert "known_hosts" in trouble.text

        run(body())
    finally:
        for path, text in old.items():
            path.write_bytes(text)
        first.restart_sshd()


def test_a_submit_that_may_have_run_is_not_sent_again(pool, programs, runs):
    async def body():
        async with opened(pool, programs) as nodes:
            with pytest.raises(LauncherError) as caught:  # what runs sbatch is killed, and does not answer
                await shown(nodes, "parent", once=True, RUNS=str(runs))
            assert caught.value.transient
            assert runs.read_text().split() == ["login1"]
            # the link breaks while sbatch runs
            task = asyncio.ensure_future(shown(nodes, "late", once=True, RUNS=str(runs)))
            await until(lambda: len(runs.read_text().split()) == 2)
            pool.hosts["login1"].kill_sshd()
            with pytest.raises(LauncherError) as caught:
                await task
            assert caught.value.transient
            assert runs.read_text().split() == ["login1", "login1"]

    try:
        run(body())
    finally:
        for pid in pool.hosts["login1"].processes("programs/sbatch"):
            pool.hosts["login1"].run("kill", "-9", str(pid))


def test_a_query_that_broke_off_is_done_on_the_next_node(pool, programs):
    async def body():
        async with opened(pool, programs) as nodes:
            task = asyncio.ensure_future(nodes.run("squeue", ["late"]))
            await until(lambda: pool.hosts["login1"].processes("programs/squeue late"))
            pool.hosts["login1"].kill_sshd()
            await until(lambda: pool.hosts["login2"].processes("programs/squeue late"))
            for host in pool.hosts.values():
                for pid in host.processes("programs/squeue late"):
                    host.run("kill", "-9", str(pid))
            assert (await task).code == -9

    run(body())


def test_a_submit_runs_once_although_the_connection_was_dead(pool, programs, runs):
    async def body():
        async with opened(pool, programs) as nodes:
            await shown(nodes)
            pool.hosts["login1"].restart_sshd()
            await shown(nodes, once=True, RUNS=str(runs))
            assert len(runs.read_text().split()) == 1

    run(body())


# --- what a node lacks


def test_a_node_without_python_is_passed_over_and_said(pool, programs):
    config = config_of(pool, programs)
    without = SlurmConfig(
        client="ssh",
        ssh=type(config.ssh)(**{**as_dict(config.ssh), "python": "/usr/bin/python9"}),
        bin_dir=str(programs),
    )

    async def body():
        nodes = nodes_of(without)
        try:
            with pytest.raises(LauncherError, match="no Python at /usr/bin/python9"):
                await nodes.run("squeue", [])
            reports = await nodes.check()
            assert [report.good for report in reports] == [False, False]
        finally:
            await nodes.close()

    run(body())


def as_dict(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_a_node_without_slurm_is_passed_over_and_check_says_what_is_not_there(pool, programs):
    empty = pool.folder / "empty"
    empty.mkdir()
    first = pool.hosts["login1"]
    first.binds = [(str(empty), str(programs))]
    first.stop()
    first.start()

    async def body():
        async with opened(pool, programs) as nodes:
            assert await node_of_queries(nodes) == "login2"
            one, two = await nodes.check()
            assert not one.good
            assert one.text.startswith("sbatch, squeue, sacct, scancel, scontrol, sacctmgr not found in ")
            assert two.good
            assert two.text == f"answers, as {MONITOR}."

    run(body())


def test_check_says_what_an_admin_must_do_where_the_monitor_is_not_let_in(pool, programs):
    nobody = config_of(pool, programs)
    ssh = type(nobody.ssh)(**{**as_dict(nobody.ssh), "monitor_user": "not-here"})

    async def body():
        nodes = nodes_of(SlurmConfig(client="ssh", ssh=ssh, bin_dir=str(programs)))
        try:
            for report in await nodes.check():
                assert not report.good
                assert "useradd" in report.text
                assert "TrustedUserCAKeys" in report.text
        finally:
            await nodes.close()

    run(body())


# --- accounts


@pytest.mark.parametrize("user", ["root", "daemon", "nobody", "no-such-user", MONITOR])
def test_system_accounts_unknown_ones_and_the_hubs_own_are_refused_before_anything_runs(pool, programs, user):
    async def body():
        async with opened(pool, programs) as nodes:
            with pytest.raises(LauncherError) as caught:
                await nodes.identity(user)
            assert caught.value.code == "no-account"
            assert not caught.value.transient

    run(body())


def test_an_account_is_as_the_node_knows_it(pool, programs):
    async def body():
        async with opened(pool, programs) as nodes:
            assert await nodes.identity("alice") == alice()

    run(body())


def test_the_node_refuses_what_is_meant_for_another_account(pool, programs, runs):
    """A site's key may open root's account too, and a node may know another uid."""
    root = Identity(name="root", uid=1001, gid=1001, groups=(1001,), home="/root", shell="/bin/sh")

    async def body():
        async with opened(pool, programs) as nodes:
            with pytest.raises(LauncherError) as caught:
                await nodes.run_as(root, "sbatch", [], environment={"RUNS": str(runs)})
            assert not caught.value.transient
        async with opened(pool, programs, min_uid=50_000) as nodes:
            with pytest.raises(LauncherError, match="system account"):
                await nodes.run_as(alice(), "sbatch", [], environment={"RUNS": str(runs)})

    run(body())
    assert runs.read_text() == ""


def test_groups_are_the_nodes_and_an_accounts_own_group_is_asked_for_once(pool, programs):
    async def body():
        async with opened(pool, programs) as nodes:
            asked = []

            async def ask(names, users):
                asked.append(list(users))
                return await nodes.groups(names, users)

            groups = LoginNodeGroups(ask)
            for _ in range(2):
                members, missing = await groups.members(["bob", "no-such-group"], ["alice", "bob", "nobody-here"])
                assert members == {"bob": {"bob"}}
                assert missing == {"no-such-group"}
            assert asked == [["alice", "bob", "nobody-here"], []]

    run(body())
