"""What the commands print, read; and that nobody can put a row into it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.contract import LauncherError
from batch.slurm import commands
from batch.slurm.cli import QUEUE_FIELDS, rows
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


def test_what_people_may_write_comes_last_in_a_row():
    assert QUEUE_FIELDS[-2:] == ("Name", "Comment")


def test_a_command_has_the_environment_and_the_folder_that_were_said_and_no_more():
    os.environ["TOWPATH_TEST_SECRET"] = "x"
    try:
        done = run(commands.run(["/usr/bin/env"], environment={"A": "1"}, seconds=5))
    finally:
        del os.environ["TOWPATH_TEST_SECRET"]
    assert done.out == "A=1\n"
    done = run(commands.run(["/bin/sh", "-c", "pwd; umask; cat"], environment={}, seconds=5, given="given"))
    assert done.out == "/\n0022\ngiven"


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_command_that_takes_too_long_goes_with_all_its_children(tmp_path):
    mark = tmp_path / "pids"
    script = f"sleep 100 & echo $! >{mark}; echo $$ >>{mark}; wait"
    with pytest.raises(LauncherError) as caught:
        run(commands.run(["/bin/sh", "-c", script], environment={"PATH": "/bin:/usr/bin"}, seconds=0.5))
    assert caught.value.transient
    for pid in mark.read_text().split():
        eventually(
            lambda pid=pid: gone(pid), what=f"the end of {pid}"
        )  # a killed process goes when the kernel gets to it


def test_a_program_that_is_not_there_is_a_fault_of_the_configuration(tmp_path):
    with pytest.raises(LauncherError, match="cannot find") as caught:
        commands.find("sbatch", str(tmp_path))
    assert not caught.value.transient
    with pytest.raises(LauncherError) as caught:
        run(commands.run([str(tmp_path / "none")], environment={}, seconds=1))
    assert caught.value.transient
