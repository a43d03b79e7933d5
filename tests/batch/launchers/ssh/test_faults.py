"""Hosts that fail in each way that hosts fail in: nothing is lost, doubled or orphaned, and a sentence says what it was."""

import asyncio
import os
import shutil
import signal

import pytest
from msgspec.structs import replace

from batch.contract import JobState, LauncherError, Resources
from batch.launchers.ssh.native_id import parse
from batch.ssh.keys import Authority
from tests import sshd
from tests.batch.apps import Hub
from tests.batch.launchers.ssh.jobs import end, opened, placed, spec_of, start, until_view, view
from tests.batch.launchers.ssh.making import AUTHORITY, config_of, connections_of, launcher_of
from tests.batch.rig import by_attempt
from tests.conftest import run, until

MARK = "towpath-job"


@pytest.fixture(scope="module")
def hub():
    listener = Hub()
    yield listener
    listener.close()


@pytest.fixture(autouse=True)
def running(pool):
    """Every host runs, with its usual sshd and homes."""
    yield
    for host in pool.hosts.values():
        host.configure()
        host.stop()
        for user in ("alice", "bob"):
            shutil.rmtree(host.homes / user, ignore_errors=True)
            host.make_home(user)
        host.binds = []
        host.start()


def active(seen):
    return seen.state is JobState.ACTIVE and not seen.silent


def test_sshd_killed_makes_a_job_silent_and_nothing_else(pool, hub):
    async def body():
        spec = spec_of(host="gpu1", hub_url=hub.url)
        async with opened(pool) as launcher:
            spec, ref = await start(launcher, spec)
            await until_view(launcher, spec, active)
            gpu1 = pool.hosts["gpu1"]
            gpu1.kill_sshd()
            seen = await view(launcher, spec)
            assert "gpu1" in seen.silent
            assert not seen.state.final
            assert gpu1.processes(spec.attempt)
            gpu1.start_sshd()
            seen = await until_view(launcher, spec, active)
            assert seen.native_id == ref.native_id
            await end(launcher, spec)
            assert not gpu1.processes(spec.attempt)

    run(body())


def test_a_job_on_a_host_that_does_not_answer_is_not_lost_by_a_new_controller(pool, hub):
    async def body():
        async with opened(pool) as launcher:
            spec, _ = await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
            other, _ = await start(launcher, spec_of("bob", host="gpu2", hub_url=hub.url))
        pool.hosts["gpu1"].kill_sshd()
        async with opened(pool) as fresh:
            views = await fresh.poll((spec.record, other.record))
            assert "gpu1" in views[spec.attempt].silent
            assert (views[spec.attempt].user, views[spec.attempt].server) == ("alice", "lab")
            assert views[other.attempt].state is JobState.ACTIVE
            assert not views[other.attempt].silent
            pool.hosts["gpu1"].start_sshd()
            await until_view(fresh, spec, active)
            await end(fresh, spec, other)

    run(body())


def test_a_job_that_the_hub_has_lost_all_records_of_is_found_with_its_record(pool, hub):
    async def body():
        async with opened(pool) as launcher:
            spec, _ = await start(launcher, spec_of(hub_url=hub.url))
        async with opened(pool) as fresh:
            views = await fresh.poll()
            assert views[spec.attempt].record == replace(spec.record, job=views[spec.attempt].record.job)
            assert views[spec.attempt].record.report_hash == spec.record.report_hash
            await end(fresh, spec)

    run(body())


def test_a_reboot_ends_a_job_and_says_so(pool, hub):
    async def body():
        async with opened(pool) as launcher:
            spec, _ = await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
            await until_view(launcher, spec, active)
            pool.hosts["gpu1"].reboot()
            seen = await until_view(launcher, spec, lambda seen: seen.state.final)
            assert seen.state is JobState.FAILED
            assert seen.ending.message == "gpu1 was restarted."
        async with opened(pool) as fresh:  # and a controller that has not seen it before says the same
            seen = await view(fresh, spec)
            assert seen.ending.message == "gpu1 was restarted."

    run(body())


def test_a_process_of_another_boot_with_the_same_numbers_is_not_the_job(pool, hub):
    """After a reboot, pids and start times come again."""

    async def body():
        async with opened(pool) as launcher:
            gpu1 = pool.hosts["gpu1"]
            spec, ref = await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
            await until_view(launcher, spec, active)
            (gpu1.folder / "boot_id").write_text("11111111-2222-3333-4444-555555555555\n")
            for pid in by_attempt()[spec.attempt]:
                os.kill(pid, signal.SIGSTOP)  # they are there, as others' would be
            seen = await until_view(launcher, spec, lambda seen: not active(seen) or seen.report is not None)
            await launcher.cancel(ref, spec.attempt)
            pids = by_attempt()[spec.attempt]
            assert pids
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            assert seen is not None

    run(body())


def test_a_start_goes_to_another_host_when_one_is_down(pool, hub):
    async def body():
        pool.hosts["gpu1"].stop()
        async with opened(pool) as launcher:
            specs = [(await start(launcher, spec_of(user, hub_url=hub.url)))[0] for user in ("alice", "bob")]
            assert {parse(spec.record.job.native_id).host for spec in specs} == {"gpu2"}
            await end(launcher, *specs)

    run(body())


def test_a_start_on_a_picked_host_that_is_down_waits_for_it(pool, hub):
    async def body():
        pool.hosts["gpu1"].stop()
        async with opened(pool) as launcher:
            with pytest.raises(LauncherError, match="gpu1") as caught:
                await placed(launcher, spec_of(host="gpu1"))
            assert caught.value.transient
            pool.hosts["gpu1"].start()

            async def there():
                try:
                    return await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
                except LauncherError:
                    return None

            spec, _ = await until(there)
            await end(launcher, spec)

    run(body())


def test_a_job_is_placed_anew_only_while_nothing_can_have_been_started(pool, hub):
    async def body():
        async with opened(pool) as launcher:
            spec = await placed(launcher, spec_of(hub_url=hub.url))
            first = parse(spec.record.job.native_id).host
            pool.hosts[first].stop()
            with pytest.raises(LauncherError) as caught:
                await launcher.submit(spec)
            assert caught.value.transient
            again = await placed(launcher, replace(spec, again=True))
            assert parse(again.record.job.native_id).host != first
            await launcher.submit(again)
            await end(launcher, again)
        async with opened(pool) as fresh:  # another controller does not know that nothing was started there
            assert await fresh.place(replace(spec, again=True)) == spec.record.job

    run(body())


def test_a_full_disk_is_reported_and_leaves_no_files(pool):
    async def body():
        gpu1 = pool.hosts["gpu1"]
        home = gpu1.run("getent", "passwd", "alice").split(":")[5]
        gpu1.run("mount", "-t", "tmpfs", "-o", "size=32k,mode=0700,uid=alice,gid=alice", "tmpfs", home)
        async with opened(pool) as launcher:
            with pytest.raises(LauncherError, match="Your home folder on gpu1 is full") as caught:
                await start(launcher, spec_of(host="gpu1"))
            assert not caught.value.transient
            assert not gpu1.processes(MARK)
            gpu1.run("umount", home)
            spec, _ = await start(launcher, spec_of(host="gpu1"))
            await end(launcher, spec)

    run(body())


def test_a_missing_home_is_reported(pool):
    async def body():
        shutil.rmtree(pool.hosts["gpu1"].homes / "alice")
        async with opened(pool) as launcher:
            with pytest.raises(LauncherError, match="Your home folder does not exist on gpu1") as caught:
                await start(launcher, spec_of(host="gpu1"))
            assert not caught.value.transient

    run(body())


def test_a_host_without_python_is_reported(pool):
    async def body():
        async with opened(pool, config_of(pool, python="/opt/python3")) as launcher:
            with pytest.raises(LauncherError, match="gpu1 has no Python at /opt/python3"):
                await start(launcher, spec_of(host="gpu1"))

    run(body())


NOISE = """
echo "Welcome to the machine. towpath"
echo "a line on stderr" >&2
printf 'no line end'
__conda_setup="$('/opt/conda/bin/conda' 'shell.bash' 'hook' 2> /dev/null)"
if [ $? -eq 0 ]; then eval "$__conda_setup"; else export PATH="/opt/conda/bin:$PATH"; fi
cd /tmp
alias python3=false
export PYTHONHOME=/nowhere PYTHONSTARTUP=/nowhere LD_BIND_NOW=1
trap 'echo bye' EXIT
"""


def test_a_login_shell_that_prints_and_changes_things_is_no_obstacle(pool, hub):
    async def body():
        rc = pool.hosts["gpu1"].homes / "alice" / ".bashrc"
        rc.write_text(NOISE)
        async with opened(pool) as launcher:
            spec, _ = await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
            seen = await until_view(launcher, spec, active)
            assert seen.record.attempt == spec.attempt
            await end(launcher, spec)

    run(body())


@pytest.mark.parametrize(
    ("rc", "words"),
    [
        ("exit 3", "did not run the hub's command .exit code 3."),
        ("yes $(printf %04000d 0)", "printed more than"),
        ("sleep 60", "did not answer within 2 seconds"),
        ("kill -9 $$", "did not run the hub's command"),
    ],
)
def test_a_login_shell_that_does_not_run_commands_is_reported(pool, rc, words):
    async def body():
        (pool.hosts["gpu1"].homes / "alice" / ".bashrc").write_text(rc + "\n")
        async with opened(pool, config_of(pool, timeout=2.0)) as launcher:
            with pytest.raises(LauncherError, match=words):
                await start(launcher, spec_of(host="gpu1"))

    run(body())


@pytest.mark.parametrize("sessions", [1, 2])
def test_many_requests_at_once_pass_through_few_sessions(pool, sessions, hub):
    async def body():
        gpu1 = pool.hosts["gpu1"]
        gpu1.configure(f"MaxSessions {sessions}")
        gpu1.restart_sshd()
        config = config_of(pool)
        connections = connections_of(pool, config)
        try:
            answers = await asyncio.gather(
                *(connections.run("gpu1", "alice", f"sleep 0.1; echo {n}", seconds=30) for n in range(12))
            )
            assert [int(answer.out) for answer in answers] == list(range(12))
            assert connections.open_connections() == 1
        finally:
            await connections.close()

    run(body())


def test_a_missing_session_is_reported(pool):
    async def body():
        gpu1 = pool.hosts["gpu1"]
        gpu1.configure("MaxSessions 0")
        gpu1.restart_sshd()
        async with opened(pool) as launcher:
            with pytest.raises(LauncherError, match="MaxSessions"):
                await start(launcher, spec_of(host="gpu1"))

    run(body())


def test_connections_that_sshd_drops_for_their_number_are_made_a_little_later(pool):
    async def body():
        gpu1 = pool.hosts["gpu1"]
        gpu1.configure("MaxStartups 1:100:1\nLoginGraceTime 3")
        gpu1.restart_sshd()
        config = config_of(pool)
        sets = [connections_of(pool, config) for _ in range(4)]
        try:
            answers = await asyncio.gather(
                *(one.run("gpu1", user, "echo here", seconds=30) for one in sets for user in ("alice", "bob"))
            )
            assert {answer.out for answer in answers} == {b"here\n"}
        finally:
            for one in sets:
                await one.close()

    run(body())


def test_an_answer_that_is_lost_does_not_make_a_second_job(pool, hub, monkeypatch):
    """The connection is cut after the job was started and before the hub receives the response."""

    async def body():
        launcher = launcher_of(pool)
        spec = await placed(launcher, spec_of(host="gpu1", hub_url=hub.url))
        gpu1 = pool.hosts["gpu1"]
        real = launcher._hosts.start

        async def cut(*args, **more):
            await real(*args, **more)
            gpu1.restart_sshd()
            raise LauncherError("The answer was lost.", transient=True)

        monkeypatch.setattr(launcher._hosts, "start", cut)
        with pytest.raises(LauncherError):
            await launcher.submit(spec)
        await launcher.close()
        async with opened(pool) as fresh:
            ref = await fresh.submit(replace(spec, again=True))
            scan = await fresh._hosts.scan("gpu1")
            assert [(job.attempt, job.pid) for job in scan.jobs] == [(spec.attempt, parse(ref.native_id).pid)]
            assert len(await until(lambda: by_attempt().get(spec.attempt))) == 1  # the app, which may be about to begin
            assert (await view(fresh, spec)).native_id == ref.native_id
            await end(fresh, replace(spec, record=replace(spec.record, job=ref)))

    run(body())


def test_a_starter_that_is_killed_leaves_its_app_running_until_it_is_stopped(pool, hub):
    async def body():
        async with opened(pool) as launcher:
            spec, _ = await start(
                launcher, spec_of(host="gpu1", hub_url=hub.url, resources=Resources(partition="gpu1"))
            )
            gpu1 = pool.hosts["gpu1"]
            await until(lambda: by_attempt().get(spec.attempt))
            for pid in gpu1.processes(f"{MARK} {spec.attempt}"):  # the starter, and what it has forked
                gpu1.run("kill", "-9", str(pid), check=False)
            await until(lambda: not gpu1.processes(f"{MARK} {spec.attempt}"))
            seen = await view(launcher, spec)
            assert active(seen)
            assert by_attempt()[spec.attempt]
            await end(launcher, spec)
            await until(lambda: not by_attempt().get(spec.attempt))

    run(body())


@pytest.fixture
def linked(hub):
    """One host behind a link that can be cut."""
    with sshd.linked("gpu1") as pool:
        pool.trust(Authority(AUTHORITY).public_line)
        yield pool


def test_a_link_that_is_cut_makes_jobs_silent_and_a_start_is_tried_again(linked):
    """Packets vanish: nothing is refused or reset, and requests time out."""
    link = linked.hosts["gpu1"].link

    async def body():
        async with opened(linked, config_of(linked, timeout=3.0)) as launcher:
            spec, ref = await start(launcher, spec_of(host="gpu1"))
            await until_view(launcher, spec, active)
            waiting = await placed(launcher, spec_of("bob", host="gpu1"))
            link.cut()
            seen = await view(launcher, spec)
            assert "gpu1" in seen.silent
            assert not seen.state.final
            with pytest.raises(LauncherError) as caught:
                await launcher.submit(waiting)
            assert caught.value.transient
            with pytest.raises(LauncherError) as caught:
                await launcher.cancel(ref, spec.attempt)
            assert caught.value.transient
            link.restore()
            seen = await until_view(launcher, spec, active)
            assert seen.native_id == ref.native_id

            async def submitted():
                try:
                    return await launcher.submit(replace(waiting, again=True))
                except LauncherError:
                    return None

            ref = await until(submitted)
            scan = await launcher._hosts.scan("gpu1")
            assert sorted(job.account for job in scan.jobs) == ["alice", "bob"]
            await end(launcher, spec, replace(waiting, record=replace(waiting.record, job=ref)))

    link.run("hub", lambda: run(body()))
