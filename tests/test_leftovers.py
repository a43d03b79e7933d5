"""The guard against processes that tests leave: it finds those of a hub, names them, and ends them."""

import subprocess
from types import SimpleNamespace

import pytest

from tests import leftovers

OURS, OTHER = "a1" * 16, "b2" * 16


@pytest.fixture
def sleepers():
    """Start `sleep` for an attempt, or with an argument."""
    made = []

    def start(attempt="", *arguments):
        environment = {"PATH": "/usr/bin:/bin", "TOWPATH_ATTEMPT": attempt}
        program = ["sleep", "1000"] if not arguments else ["sh", "-c", "read line", *arguments]
        made.append(subprocess.Popen(program, env=environment, stdin=subprocess.PIPE))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.wait()
        process.stdin.close()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that was stopped, and had a job."""
    monkeypatch.setattr(leftovers, "hubs", [])
    monkeypatch.setattr(leftovers, "PATIENCE", 0.2)
    hub = SimpleNamespace(data_dir=tmp_path / "data", process=None)
    (hub.data_dir / "jobs" / OURS).mkdir(parents=True)
    leftovers.hubs.append(hub)
    return hub


def test_processes_of_a_hub_are_found_named_and_ended(hub, sleepers):
    app, other = sleepers(OURS), sleepers(OTHER)
    helper, beside = sleepers("", f"--data-dir={hub.data_dir}"), sleepers("", f"{hub.data_dir}2")
    with pytest.raises(pytest.fail.Exception) as told:
        leftovers.check()
    for process in (app, helper):
        assert str(process.pid) in str(told.value)
        assert process.wait(30) == -9
    for process in (other, beside):
        assert str(process.pid) not in str(told.value)
        assert process.poll() is None
    leftovers.check()  # once


def test_a_hub_that_runs_may_have_processes_until_the_end_of_the_run(hub, sleepers):
    app = sleepers(OURS)
    hub.process = object()
    leftovers.check()
    assert app.poll() is None
    with pytest.raises(pytest.fail.Exception):
        leftovers.check(every=True)


def test_a_closed_hub_leaves_nothing(hub, sleepers):
    app = sleepers(OURS)
    leftovers.end(hub.data_dir)
    assert app.wait(30) == -15
    leftovers.check()
