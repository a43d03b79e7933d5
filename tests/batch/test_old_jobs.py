"""The folders of earlier jobs in a user's home: old ones and too many are removed, and nothing else is."""

import os
import time

import pytest

from batch.starter import old_jobs
from batch.starter.old_jobs import KEEP_MOST, KEEP_SECONDS, SURELY_OVER, prune, touch
from tests.batch.test_way_in import until
from tests.batch.way_in import Node

DAY = 86400.0


@pytest.fixture
def jobs(tmp_path):
    """Makes a job's folder that was touched so many seconds ago."""

    def make(number, age, files=("app.log", "report.json")):
        folder = tmp_path / f"{number:032x}"
        folder.mkdir()
        for name in files:
            (folder / name).write_text("x")
        os.utime(folder, (time.time() - age,) * 2)
        return folder

    return make


def test_old_jobs_go_and_recent_ones_and_other_files_stay(jobs, tmp_path):
    ours = jobs(1, 0)
    week, recent = jobs(2, KEEP_SECONDS + DAY), jobs(3, KEEP_SECONDS - DAY)
    held = jobs(4, KEEP_SECONDS + DAY)
    (held / "folder").mkdir()
    os.utime(held, (time.time() - KEEP_SECONDS - DAY,) * 2)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    link = tmp_path / f"{5:032x}"
    link.symlink_to(elsewhere)
    os.utime(link, (0, 0), follow_symlinks=False)
    other = tmp_path / "notes"
    other.mkdir()
    os.utime(other, (0, 0))
    prune(str(ours))
    assert not week.exists()
    assert ours.exists()
    assert recent.exists()
    assert (held / "folder").exists()
    assert (elsewhere / "precious").exists()
    assert other.exists()


def test_too_many_jobs_go_oldest_first_but_none_that_may_run(jobs):
    ours = jobs(0, 0)
    running = [jobs(number, SURELY_OVER - 60) for number in range(1, 4)]
    ended = [jobs(100 + number, SURELY_OVER + 3600 + number * 60) for number in range(KEEP_MOST)]
    prune(str(ours))
    assert all(folder.exists() for folder in running)
    assert [folder.exists() for folder in ended] == [True] * (KEEP_MOST - 3) + [False] * 3
    many = [jobs(1000 + number, SURELY_OVER - 3600) for number in range(KEEP_MOST + 5)]
    prune(str(ours))
    assert all(folder.exists() for folder in many)


def test_another_users_folder_stays(jobs, monkeypatch):
    ours, theirs = jobs(1, 0), jobs(2, KEEP_SECONDS + DAY)
    monkeypatch.setattr(old_jobs.os, "geteuid", lambda: os.getuid() + 1)
    prune(str(ours))
    assert theirs.exists()


def test_a_running_job_shows_that_it_runs(jobs):
    folder = jobs(1, 10 * DAY)
    touch(str(folder))
    assert time.time() - folder.stat().st_mtime < DAY
    touch(str(folder / "gone"))


def test_a_job_removes_old_ones_of_its_user_when_it_starts():
    node = Node()
    try:
        old, recent = node.home / "jobs" / ("a" * 32), node.home / "jobs" / ("b" * 32)
        for folder, age in ((old, KEEP_SECONDS + DAY), (recent, DAY)):
            folder.mkdir(parents=True)
            (folder / "app.log").write_text("x")
            os.utime(folder, (time.time() - age,) * 2)
        node.start(folder=str(node.home / "jobs" / ("c" * 32)), prune=True, passport=False)
        node.hub.wait("ready")
        until(lambda: not old.exists())
        assert recent.exists()
    finally:
        node.close()
