"""The folders in /tmp that jobs use when their own cannot be used: the next job removes what a killed one has left."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from batch.starter import spare_folder
from batch.starter.spare_folder import SpareFolder, hold, prune
from tests.batch.test_way_in import until
from tests.batch.way_in import ATTEMPT, OTHER, Node

HOLD = """
import sys, time
sys.path.insert(0, {root!r})
from batch.starter import spare_folder
spare_folder.PLACE = {place!r}
print(spare_folder.SpareFolder({attempt!r}).make(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(spare_folder, "PLACE", str(tmp_path))
    return tmp_path


def left(place, number, *, mode=0o700, uid=None):
    """What a job has left that was killed."""
    folder = place / f"towpath-{os.geteuid() if uid is None else uid}-{number:032x}"
    folder.mkdir()
    (folder / "app.log").write_text("x")
    (folder / "app.sock").write_text("x")
    folder.chmod(mode)
    return folder


def test_folders_of_jobs_that_were_killed_go(place):
    gone = [left(place, number) for number in (1, 2)]
    ours = left(place, 3)
    prune(f"{3:032x}")
    assert not any(folder.exists() for folder in gone)
    assert (ours / "app.log").exists()


def test_nothing_else_goes(place):
    stay = [
        left(place, 1, mode=0o755),
        left(place, 2, uid=os.geteuid() + 1),
        place / f"towpath-{os.geteuid()}-notes",
        place / f"towpath-tests-{4:032x}",
        place / f"towpath-{os.geteuid()}-{5:032x}",
    ]
    for folder in stay[2:4]:
        folder.mkdir(mode=0o700)
    elsewhere = place / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "precious").write_text("x")
    stay[4].symlink_to(elsewhere)
    with_folder = left(place, 6)
    (with_folder / "folder").mkdir()
    prune(f"{9:032x}")
    assert all(folder.exists() for folder in stay)
    assert (elsewhere / "precious").exists()
    assert (with_folder / "app.log").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_another_users_folder_stays(place):
    theirs = left(place, 1)
    os.chown(theirs, 4711, 4711)
    prune(f"{9:032x}")
    assert (theirs / "app.log").exists()


def test_a_folder_stays_while_a_process_of_its_job_runs(place):
    folder = left(place, 1)
    environment = {"TOWPATH_ATTEMPT": f"{1:032x}", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(["sleep", "1000"], env=environment) as app:
        until(lambda: b"TOWPATH_ATTEMPT" in Path(f"/proc/{app.pid}/environ").read_bytes())
        prune(f"{9:032x}")
        assert (folder / "app.log").exists()
        app.kill()
    prune(f"{9:032x}")
    assert not folder.exists()


def test_a_folder_stays_while_its_starter_runs_even_before_the_app(place):
    code = HOLD.format(root=str(Path(__file__).parents[2]), place=str(place), attempt=f"{1:032x}")
    argv = ["/usr/bin/python3", "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        folder = Path(starter.stdout.readline().strip())
        prune(f"{9:032x}")
        assert folder.exists()
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    prune(f"{9:032x}")
    assert not folder.exists()


def test_a_folder_that_is_removed_while_it_is_made_is_made_again(place, monkeypatch):
    tries = []

    def removed_first(path):
        tries.append(path)
        if len(tries) == 1:
            Path(path).rmdir()
        return hold(path)

    monkeypatch.setattr(spare_folder, "hold", removed_first)
    spare = SpareFolder(f"{1:032x}")
    path = Path(spare.make())
    assert path.is_dir()
    assert len(tries) == 2
    spare.tidy_up()
    assert not path.exists()


def test_a_job_removes_what_one_that_was_killed_hard_has_left_on_the_node():
    node = Node()
    spare = Path(f"/tmp/towpath-{os.geteuid()}-{ATTEMPT}")
    try:
        first = node.start(folder="/proc/no/such/folder", passport=False)
        node.hub.wait("ready")
        assert (spare / "app.sock").exists()
        # as Slurm kills a job: everything at once
        app = [pid for pid in node.children(first) if ATTEMPT.encode() in Path(f"/proc/{pid}/environ").read_bytes()]
        for pid in (first.pid, *app):
            os.kill(pid, signal.SIGKILL)
        first.wait(30)
        assert (spare / "app.log").exists()
        node.hub.reports.clear()
        node.start(attempt=OTHER, passport=False)
        node.hub.wait("ready")
        until(lambda: not spare.exists())
    finally:
        node.close()
