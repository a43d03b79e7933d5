"""The output of the commands is parsed, and no user can inject a row into it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.contract import LauncherError
from batch.launchers.slurm.clients import commands
from batch.launchers.slurm.clients.cli import FEW, QUEUE_FIELDS, CliClient, read_json, rows
from batch.launchers.slurm.clients.commands import Output
from batch.launchers.slurm.identity import Identity
from tests.conftest import run
from tests.hub import eventually

MARK = "|0123abcd|"


@given(st.lists(st.lists(st.text().filter(lambda text: MARK not in text), min_size=3, max_size=3)))
def test_any_field_comes_back_whole(table):
    text = "".join("".join(field + MARK for field in row) + "\n" for row in table)
    found = rows(text, MARK, 3)
    assert [[field.lstrip("\n") if place == 0 else field for place, field in enumerate(row)] for row in found] == [
        [field.lstrip("\n") if place == 0 else field for place, field in enumerate(row)] for row in table
    ]


def test_a_name_with_a_line_end_is_no_row():
    forged = "x\n999|alice|RUNNING|"
    assert rows(f"1{MARK}{forged}{MARK}\n2{MARK}y{MARK}\n", MARK, 2) == [["1", forged], ["2", "y"]]


@pytest.mark.parametrize("text", [f"1{MARK}", f"1{MARK}a{MARK}\n2{MARK}", f"1{MARK}a{MARK}\nhalf"])
def test_an_answer_that_was_cut_short_is_no_smaller_answer(text):
    with pytest.raises(LauncherError) as caught:
        rows(text, MARK, 2)
    assert caught.value.transient


def test_fields_that_users_write_come_last_in_a_row():
    assert QUEUE_FIELDS[-2:] == ("Name", "Comment")


TEXTS = st.text() | st.sampled_from(['"}],"jobs":[{"job_id":9', "\n9|alice|", "\\", "\x00", "JobId=9 JobName=x\n"])


@given(st.lists(st.tuples(st.integers(1, 10**9), TEXTS, TEXTS), max_size=5))
def test_a_json_answer_has_one_job_each_with_any_text_of_other_users(table):
    jobs = [
        {"job_id": number, "name": name, "comment": comment, "job_state": "PENDING"} for number, name, comment in table
    ]
    for ascii_only in (True, False):
        found = read_json(json.dumps({"jobs": jobs, "errors": []}, ensure_ascii=ascii_only))
        assert [(job.id, job.name, job.comment) for job in found] == table


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"jobs": [{"job_id": 1}',
        '{"jobs": [{}]}',
        '{"jobs": {}}',
        '{"jobs": [], "errors": ["x"]}',
        "slurm",
    ],
)
def test_an_incomplete_json_answer_is_none(text):
    assert read_json(text) is None


def test_the_longer_reason_is_shown_as_in_squeue():
    def reason(**more):
        (job,) = read_json(json.dumps({"jobs": [{"job_id": 1, "job_state": ["PENDING"], **more}]}))
        return job.reason

    assert reason(state_reason="None") == ""
    assert reason(state_reason="Priority", state_description="") == "Priority"
    long = "ReqNodeNotAvail, UnavailableNodes:cn1"
    assert reason(state_reason="ReqNodeNotAvail", state_description=long) == long


class Squeue:
    """A fake squeue with this many jobs, with JSON or without."""

    user = "towpath"

    def __init__(self, count, *, json_too=True):
        self.count, self.json_too, self.asked = count, json_too, []

    async def run(self, program, argv):
        whole = "--json" in argv
        self.asked.append("json" if whole else "table")
        if whole:
            jobs = [{"job_id": number, "job_state": "RUNNING"} for number in range(self.count)]
            return Output(code=0 if self.json_too else 1, out=json.dumps({"jobs": jobs}), err="unrecognized")
        mark = argv[-1].partition("JobID:")[2].partition(",")[0]
        row = mark.join(["{}", *["0"] * (len(QUEUE_FIELDS) - 1)]) + mark + "\n"
        return Output(code=0, out="".join(row.format(number) for number in range(self.count)), err="")


def test_few_jobs_need_one_message_and_many_need_little_work():
    async def main():
        squeue = Squeue(FEW)
        few = CliClient(squeue)
        for _ in range(3):
            assert len(await few.jobs()) == FEW
        squeue.count = FEW + 1
        for _ in range(3):
            await few.jobs()
        assert squeue.asked == ["table", "json", "json", "json", "table", "table"]
        await few.jobs("towpath-x")
        assert squeue.asked[-1] == "table"

    run(main())


def test_a_slurm_without_json_is_tried_once():
    async def main():
        without = Squeue(3, json_too=False)
        client = CliClient(without)
        for _ in range(3):
            assert len(await client.jobs()) == 3
        assert without.asked == ["table", "json", "table", "table"]

    run(main())


def test_a_command_has_only_the_configured_environment_and_folder():
    os.environ["TOWPATH_TEST_SECRET"] = "x"
    try:
        done = run(commands.run(["/usr/bin/env"], environment={"A": "1"}, seconds=5))
    finally:
        del os.environ["TOWPATH_TEST_SECRET"]
    assert done.out == "A=1\n"
    done = run(commands.run(["/bin/sh", "-c", "pwd; umask; cat"], environment={}, seconds=5, stdin="given"))
    assert done.out == "/\n0022\ngiven"


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


SHOW = "import os, sys; print(os.getresuid(), os.getresgid(), sorted(os.getgroups()), os.getcwd(), sys.stdin.read())"
CAPABLE = "print([line for line in open('/proc/self/status') if line.startswith('CapEff') and int(line[7:], 16)])"


@pytest.mark.parametrize("by", ["setpriv", "fork"])
@pytest.mark.parametrize("groups", [(4001, 4002), ()])
def test_a_command_is_run_as_the_account_for_good_with_its_groups_and_no_others(monkeypatch, by, groups):
    if by == "fork":
        monkeypatch.setattr(commands, "SETPRIV", "")
    assert by == "fork" or commands.SETPRIV
    account = Identity(name="x", uid=4000, gid=4001, groups=groups, home="/", shell="/bin/sh")

    def error_of(script):
        argv = ["/usr/bin/python3", "-I", "-S", "-c", script]
        return run(commands.run(argv, environment={}, seconds=20, stdin="given", become=account))

    assert error_of(SHOW).out == f"(4000, 4000, 4000) (4001, 4001, 4001) {list(groups)} / given\n"
    assert error_of(CAPABLE).out == "[]\n"
    assert error_of("raise SystemExit(127)").code == 127


def test_a_hub_that_may_not_become_other_users_gets_a_message():
    script = (
        "import asyncio, sys, os; sys.path.insert(0, {path!r})\n"
        "from batch.launchers.slurm.clients import commands; from batch.launchers.slurm.identity import Identity\n"
        "os.setresgid(4001, 4001, 4001); os.setresuid(4003, 4003, 4003)\n"
        "account = Identity(name='x', uid=4000, gid=4001, groups=(), home='/', shell='/bin/sh')\n"
        "try: asyncio.run(commands.run(['/bin/true'], environment={{}}, seconds=20, become=account))\n"
        "except commands.LauncherError as error: print(error.code, error.transient)"
    )
    argv = [sys.executable, "-c", script.format(path=str(Path(__file__).parents[4]))]
    assert run(commands.run(argv, environment={}, seconds=30)).out == "config False\n"


def test_a_command_that_takes_too_long_goes_with_all_its_children(tmp_path):
    mark = tmp_path / "pids"
    script = f"sleep 100 & echo $! >{mark}; echo $$ >>{mark}; wait"
    with pytest.raises(LauncherError) as caught:
        run(commands.run(["/bin/sh", "-c", script], environment={"PATH": "/bin:/usr/bin"}, seconds=0.5))
    assert caught.value.transient
    for pid in mark.read_text().split():
        eventually(
            lambda pid=pid: gone(pid), what=f"the end of {pid}"
        )  # a killed process disappears when the kernel gets to it


def test_a_program_that_is_not_there_is_a_fault_of_the_configuration(tmp_path):
    with pytest.raises(LauncherError, match="was not found") as caught:
        commands.find("sbatch", str(tmp_path))
    assert not caught.value.transient
    with pytest.raises(LauncherError) as caught:
        run(commands.run([str(tmp_path / "none")], environment={}, seconds=1))
    assert caught.value.transient


KILLED = """
import asyncio, sys
from batch.launchers.slurm.clients import commands
script = "x" * 1_000_000
read_later = 'echo started > "$0/started"; while [ ! -e "$0/killed" ]; do sleep 0.02; done; wc -c > "$0/count"; mv "$0/count" "$0/read"'
asyncio.run(commands.run(["/bin/sh", "-c", read_later, sys.argv[1]], environment={"PATH": "/usr/bin:/bin"}, seconds=60, stdin=script))
"""


def test_a_command_reads_the_whole_script_though_the_controller_was_killed_meanwhile(tmp_path):
    """A pipe holds 64 KiB (pipe(7)), which sbatch would take for the whole script and submit."""
    controller = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[4])
    eventually((tmp_path / "started").exists)
    controller.kill()
    controller.wait()
    (tmp_path / "killed").touch()
    eventually((tmp_path / "read").exists)
    assert int((tmp_path / "read").read_text()) == 1_000_000
