"""A starter that is killed, at each step of its life: another takes over the app, or the reason is told."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from batch.bundle import assemble
from batch.contract import JobState
from batch.launchers.local import forks
from batch.launchers.local.folder import is_alive
from batch.launchers.local.launcher import LocalLauncher
from tests.batch import dying
from tests.batch.apps import app
from tests.batch.rig import by_attempt
from tests.batch.test_isolation import ALICE, ask, environment_of
from tests.batch.test_local import over, ready
from tests.batch.test_way_in import gone
from tests.batch.test_way_in import until as wait_until
from tests.batch.way_in import ATTEMPT, Node, echo
from tests.conftest import run, until
from tests.contracts.test_launcher import spec_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


@pytest.fixture
def jobs(short_folder):
    folder = short_folder / f"takeover-{time.monotonic_ns()}"
    folder.mkdir()
    yield folder / "jobs"
    for path in (folder / "jobs").glob("*/job.json"):
        for pid in by_attempt().get(path.parent.name, []):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def killed_at(jobs, monkeypatch):
    """The local launcher's starters die at a step; returns the flag that they remove."""

    def make(step, *, always=False):
        flag = jobs.parent / "flag"
        flag.touch()
        modules = dying.dying(step, flag, always=always)
        monkeypatch.setattr(forks, "starter_modules", lambda: modules)
        monkeypatch.setattr(forks, "starter_source", lambda: dying.program(step, flag, always=always))
        return flag

    return make


def note_of(jobs, attempt):
    return json.loads((jobs / attempt / "job.json").read_text())


async def taken_over(launcher, jobs, attempt):
    """Poll until another starter has taken over; its job.json."""

    async def found():
        await launcher.poll()
        note = note_of(jobs, attempt)
        return note if note.get("takeover") == 1 else None

    return await until(found)


# --- on this machine: found by a poll


@pytest.mark.parametrize("step", [step for step in dying.STEPS if step not in dying.BEFORE_THE_APP])
@pytest.mark.parametrize("where", ["{socket}", pytest.param("{port}", marks=as_root)])
def test_an_app_continues_and_is_taken_over(jobs, killed_at, step, where):
    async def body():
        flag = killed_at(step)
        command = ("/usr/bin/python3", *app(where=where)[1:])
        launcher, spec = LocalLauncher("here", jobs), spec_of(command=command)
        await launcher.submit(spec)
        await until(lambda: not flag.exists())
        apps = by_attempt().get(spec.attempt) or await until(lambda: by_attempt().get(spec.attempt))
        view = await ready(launcher, spec.attempt)
        assert view.state is JobState.ACTIVE
        assert by_attempt()[spec.attempt] == apps  # the same process
        note = await taken_over(launcher, jobs, spec.attempt)
        assert [note["app"]] == apps
        assert is_alive(note["pid"], note["start"])
        await launcher.cancel(None, spec.attempt)
        assert (await over(launcher, spec.attempt)).state is JobState.CANCELED
        assert not is_alive(note["app"], note["app_start"])
        await launcher.close()

    run(body())


@pytest.mark.parametrize("step", dying.BEFORE_THE_APP)
def test_a_job_whose_starter_dies_before_the_app_is_started_fails_at_the_next_poll(jobs, killed_at, step):
    async def body():
        killed_at(step)
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.submit(spec)
        view = await over(launcher, spec.attempt)
        assert (view.state, view.reason) == (JobState.FAILED, "The job's processes were killed.")
        assert spec.attempt not in by_attempt()
        await launcher.close()

    run(body())


def test_an_app_that_ends_after_a_takeover_is_reported_at_once(jobs, killed_at):
    async def body():
        killed_at("while it stands by")
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.submit(spec)
        await until(lambda: (jobs / spec.attempt / "job.json").exists() and note_of(jobs, spec.attempt)["app"])
        pid = note_of(jobs, spec.attempt)["app"]

        await taken_over(launcher, jobs, spec.attempt)
        os.kill(pid, signal.SIGKILL)
        view = await over(launcher, spec.attempt)
        assert view.report.exit_code is None
        assert "How is not known" in view.report.message
        await launcher.close()

    run(body())


@pytest.mark.parametrize("where", ["{socket}", pytest.param("{port}", marks=as_root)])
def test_an_app_that_ends_while_it_is_taken_over_has_ended(jobs, killed_at, monkeypatch, where):
    """The failure to find its socket or its network, which are gone with it, is not the reason."""

    async def body():
        killed_at("while it stands by")
        modules = dying.killing_the_app(forks.starter_modules())
        monkeypatch.setattr(forks, "starter_modules", lambda: modules)
        monkeypatch.setattr(forks, "starter_source", lambda: assemble(modules))
        command = ("/usr/bin/python3", *app(where=where)[1:])
        launcher, spec = LocalLauncher("here", jobs), spec_of(command=command)
        await launcher.submit(spec)
        view = await over(launcher, spec.attempt)
        assert "How is not known" in view.report.message
        await launcher.close()

    run(body())


def test_a_starter_that_keeps_dying_is_given_up_and_the_reason_is_reported(jobs, killed_at):
    async def body():
        killed_at("before the ready report", always=True)
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.submit(spec)
        view = await over(launcher, spec.attempt)
        assert (view.state, view.report.code) == (JobState.FAILED, "starter")
        assert "killed again and again" in view.report.message
        assert spec.attempt not in by_attempt()
        await launcher.close()

    run(body())


def test_a_job_that_was_cancelled_is_not_taken_over(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        note = note_of(jobs, spec.attempt)
        os.kill(note["pid"], signal.SIGSTOP)
        await launcher.cancel(None, spec.attempt)
        os.kill(note["pid"], signal.SIGKILL)
        await until(lambda: not is_alive(note["pid"], note["start"]))
        await launcher.cancel(None, spec.attempt)
        await launcher.poll()
        assert note_of(jobs, spec.attempt).get("takeover", 0) == 0
        os.killpg(note["app"], signal.SIGKILL)
        assert (await over(launcher, spec.attempt)).state is JobState.CANCELED
        await launcher.close()

    run(body())


def test_another_launcher_takes_over_what_happened_while_there_was_none(jobs):
    async def body():
        first, spec = LocalLauncher("here", jobs), spec_of()
        await first.submit(spec)
        await ready(first, spec.attempt)
        await first.close()
        note = note_of(jobs, spec.attempt)
        os.kill(note["pid"], signal.SIGKILL)
        await until(lambda: not is_alive(note["pid"], note["start"]))
        second = LocalLauncher("here", jobs)
        assert (await second.poll())[spec.attempt].state is JobState.ACTIVE
        await until(lambda: note_of(jobs, spec.attempt).get("takeover") == 1)
        assert note_of(jobs, spec.attempt)["app"] == note["app"]
        await second.cancel(None, spec.attempt)
        await over(second, spec.attempt)
        await second.close()

    run(body())


# --- on a cluster: the process that the scheduler started finds it


@pytest.fixture
def node():
    node = Node()
    yield node
    node.close()


@pytest.mark.parametrize("step", list(dying.STEPS))
@pytest.mark.parametrize("where", ["{socket}", pytest.param("{port}", marks=as_root)])
def test_the_batch_process_starts_another_starter(node, step, where):
    flag = node.root / "flag"
    flag.touch()
    node.program.write_text(dying.program(step, flag))
    process = node.start(echo(where), guard=True)
    wait_until(lambda: not flag.exists())
    ports = set()

    def answers():
        ports.update(report["endpoint"]["port"] for report in node.hub.reports if report["kind"] == "ready")
        return any(attempt(node, port) for port in list(ports))

    wait_until(answers)
    assert len(by_attempt()[ATTEMPT]) == 1
    report = wait_until(lambda: next((one for one in node.hub.reports if one.get("takeover") == 1), None))
    assert report["attempt"] == ATTEMPT
    process.terminate()
    assert node.hub.wait("ended")["told"] is True
    process.wait(20)
    assert ATTEMPT not in by_attempt()


def attempt(node, port):
    """Whether the way in answers there."""
    try:
        return node.ask(("127.0.0.1", port)).endswith(b"xx")
    except OSError:
        return False


def test_the_batch_process_passes_signals_on_and_ends_as_the_starter_does(node):
    hears = "import signal\nsignal.signal(signal.SIGUSR2, lambda *_: print('saving', flush=True))\n"
    command = echo()
    process = node.start(
        (*command[:4], hears + command[4], command[5]), guard=True, warning_signal="USR2", warning_seconds=60
    )
    node.ready()
    process.send_signal(signal.SIGUSR1)
    assert node.hub.wait("warning")["seconds"] == 60
    process.terminate()
    assert node.hub.wait("ended")["exit_code"] == 143
    assert process.wait(20) == 143


def test_an_app_that_ended_unwatched_is_reported_and_not_started_again(node):
    flag = node.root / "flag"
    flag.touch()
    text = dying.program("while it stands by", flag)
    kill = "__import__('os').kill(__import__('os').getpid(), 9)"
    assert kill in text
    node.program.write_text(text.replace(kill, f"__import__('os').killpg(self.app.pid, 9), {kill}"))
    process = node.start(guard=True)
    node.ready()
    report = node.hub.wait("ended")
    assert report["exit_code"] is None
    assert "How is not known" in report["message"]
    process.wait(20)
    assert ATTEMPT not in by_attempt()


@as_root
def test_the_proxy_of_an_isolated_app_is_at_its_port_again():
    node = Node(uid=ALICE)
    try:
        process = node.start(echo("{port}"), guard=True, passport=False)
        assert ask(node).endswith(b"xx")
        (starter,) = node.children(process)
        children = [int(pid) for pid in Path(f"/proc/{starter}/task/{starter}/children").read_text().split()]
        app_pid = next(pid for pid in children if "TOWPATH_PORT" in environment_of(pid))
        port = int(environment_of(app_pid)["http_proxy"].rpartition(":")[2])
        os.kill(starter, signal.SIGKILL)
        wait_until(lambda: all(gone(pid) for pid in children if pid != app_pid))
        wait_until(lambda: len([report for report in node.hub.reports if report["kind"] == "ready"]) == 2)
        assert ask(node).endswith(b"xx")
        rows = [row.split() for row in Path(f"/proc/{app_pid}/net/tcp").read_text().splitlines()[1:]]
        assert port in [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"]
    finally:
        node.close()
