"""The local launcher beyond the contract: its folders, its processes, and crashes between two steps."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from batch.contract import JobState, LauncherError
from batch.launchers.local.folder import JobFolder, boot_id, is_alive, try_lock
from batch.launchers.local.launcher import LocalLauncher
from tests.batch.apps import app, script
from tests.batch.rig import by_attempt
from tests.conftest import run, until
from tests.contracts.test_launcher import spec_of


@pytest.fixture
def jobs(short_folder):
    folder = short_folder / f"local-{time.monotonic_ns()}"
    yield folder / "jobs"
    for path in (folder / "jobs").glob("*/job.json"):
        for pid in by_attempt().get(path.parent.name, []):
            os.kill(pid, signal.SIGKILL)


async def ready(launcher, attempt):
    async def word():
        view = (await launcher.poll()).get(attempt)
        return view if view and view.report and view.report.kind == "ready" else None

    return await until(word)


async def over(launcher, attempt):
    async def final():
        view = (await launcher.poll())[attempt]
        return view if view.state.final else None

    return await until(final)


def test_every_file_of_a_job_is_private(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        assert jobs.lstat().st_mode & 0o777 == 0o700
        folder = jobs / spec.attempt
        assert folder.lstat().st_mode & 0o777 == 0o700
        for path in folder.iterdir():
            assert path.lstat().st_mode & 0o077 == 0, path
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec.attempt)

    run(body())


def test_the_starters_argv_and_environment_contain_no_secret(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of(report_token="s3cret-report-token")
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        pid = json.loads((jobs / spec.attempt / "job.json").read_text())["pid"]
        for name in ("cmdline", "environ"):
            assert b"s3cret" not in Path(f"/proc/{pid}/{name}").read_bytes()
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec.attempt)

    run(body())


def test_a_crash_before_the_process_leaves_a_new_job_that_a_submit_starts(jobs):
    async def body():
        spec = spec_of()
        crashed = LocalLauncher("here", jobs)
        crashed._compiled = lambda: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        with pytest.raises(LauncherError) as caught:
            await crashed.submit(spec)
        assert caught.value.transient
        launcher = LocalLauncher("here", jobs)
        assert (await launcher.poll())[spec.attempt].state is JobState.NEW
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec.attempt)

    run(body())


def test_a_reused_pid_is_neither_seen_as_the_job_nor_signalled(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec.attempt)
        bystander = await asyncio.create_subprocess_exec("sleep", "60")
        word = json.loads((jobs / spec.attempt / "job.json").read_text())
        (jobs / spec.attempt / "job.json").write_text(json.dumps({**word, "pid": bystander.pid, "app": bystander.pid}))
        (jobs / spec.attempt / "canceled").unlink()
        other = LocalLauncher("here", jobs)
        assert (await other.poll())[spec.attempt].state.final
        await other.cancel(None, spec.attempt)
        os.utime(jobs / spec.attempt / "canceled", (1, 1))
        await other.cancel(None, spec.attempt)
        assert bystander.returncode is None
        assert is_alive(bystander.pid, start_of(bystander.pid))
        bystander.kill()
        await bystander.wait()

    run(body())


def start_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[19])


def test_a_reboot_of_the_machine_ends_every_job(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        view = JobFolder(jobs / spec.attempt).view(boot="another", now=time.time())
        assert view.state is JobState.FAILED
        assert "restarted" in view.reason
        assert JobFolder(jobs / spec.attempt).view(boot=boot_id(), now=time.time()).state is JobState.ACTIVE
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec.attempt)

    run(body())


def test_an_app_outlives_its_starter_and_can_still_be_cancelled(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        word = json.loads((jobs / spec.attempt / "job.json").read_text())
        os.kill(word["pid"], signal.SIGKILL)
        await until(lambda: not is_alive(word["pid"], word["start"]))
        assert (await launcher.poll())[spec.attempt].state is JobState.ACTIVE
        await launcher.cancel(None, spec.attempt)
        assert (await over(launcher, spec.attempt)).state is JobState.CANCELED
        assert not by_attempt().get(spec.attempt)

    run(body())


def test_a_hanging_starter_and_app_are_killed_after_the_grace_period(jobs):
    async def body():
        launcher = LocalLauncher("here", jobs)
        spec = spec_of(command=app("if os.fork() == 0:\n    os.setsid()\n    while True: time.sleep(60)"))
        await launcher.submit(spec)
        await ready(launcher, spec.attempt)
        word = json.loads((jobs / spec.attempt / "job.json").read_text())
        os.kill(word["pid"], signal.SIGSTOP)
        os.kill(word["app"], signal.SIGSTOP)
        await launcher.cancel(None, spec.attempt)
        os.utime(jobs / spec.attempt / "canceled", (1, 1))  # requested long ago
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec.attempt)
        await until(lambda: not by_attempt().get(spec.attempt))

    run(body())


def test_a_cancel_before_the_submit_prevents_the_start(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of()
        await launcher.cancel(None, spec.attempt)
        await launcher.submit(spec)
        assert not by_attempt().get(spec.attempt)
        assert spec.attempt not in await launcher.poll()

    run(body())


def test_a_folder_that_others_can_access_is_rejected(jobs):
    async def body():
        spec = spec_of()
        jobs.mkdir(parents=True)
        jobs.chmod(0o755)
        with pytest.raises(LauncherError, match="not private") as caught:
            await LocalLauncher("here", jobs).submit(spec)
        assert not caught.value.transient

    run(body())


def test_ended_jobs_are_removed_after_a_day_and_running_ones_are_not(jobs):
    async def body():
        launcher, ended, running = LocalLauncher("here", jobs), spec_of(command=script("pass")), spec_of()
        await launcher.submit(ended)
        await launcher.submit(running)
        await over(launcher, ended.attempt)
        await ready(launcher, running.attempt)
        for spec in (ended, running):
            os.utime(jobs / spec.attempt, (1, 1))
        assert set(await LocalLauncher("here", jobs).poll()) == {running.attempt}
        assert not (jobs / ended.attempt).exists()
        await launcher.cancel(None, running.attempt)
        await over(launcher, running.attempt)

    run(body())


def test_an_ended_starter_does_not_stay_a_zombie(jobs):
    async def body():
        launcher, spec = LocalLauncher("here", jobs), spec_of(command=script("pass"))
        await launcher.submit(spec)
        await over(launcher, spec.attempt)
        pid = json.loads((jobs / spec.attempt / "job.json").read_text())["pid"]

        async def gone():
            await launcher.poll()
            return not Path(f"/proc/{pid}").exists()

        await until(gone)

    run(body())


def test_the_lock_admits_one_process(tmp_path):
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(first)
    again = try_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)
