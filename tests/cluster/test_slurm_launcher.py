"""The launcher on a real Slurm: what is rejected, what it survives, and a job's environment on the node."""

import asyncio
import json
import os
import pwd
import secrets
import shutil
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from batch.contract import Change, JobState, LauncherError, Resources, Setup, Updated
from batch.launchers.slurm.launcher import SlurmLauncher
from deploy.devcluster.clients import version
from tests.batch.apps import Hub
from tests.batch.launchers.slurm.making import job, opener, real_pyslurm, slurm_config, slurm_maker
from tests.conftest import until
from tests.slurm import changed_at

GIB = 1024**3
CLIENTS = ("cli", "rest", *(["pyslurm"] if real_pyslurm() else []))
OPEN: list[SlurmLauncher] = []
"""The launchers that `run` closes."""


def maker(slurm, client, **more):
    """Make launchers of one hub, which `run` closes."""
    make = slurm_maker(slurm_config(slurm, client, **more), opener(slurm, client))

    def opened():
        OPEN.append(make())
        return OPEN[-1]

    return opened


def run(coroutine):
    """Run a coroutine in a new event loop, and close there the launchers that were made for it."""

    async def read_completely():
        try:
            return await coroutine
        finally:
            while OPEN:
                await OPEN.pop().close()

    return asyncio.run(read_completely())


@pytest.fixture
def hub():
    listener = Hub()
    yield listener
    listener.close()


@pytest.fixture(params=CLIENTS)
def make(request, slurm):
    """Make launchers of one hub, for each client."""
    return maker(slurm, request.param)


@pytest.fixture(params=[client for client in CLIENTS if client != "rest"])
def make_near(request, slurm):
    """The same with short timeouts, for the clients that run on Slurm's own machines."""
    return maker(slurm, request.param, timeout=5.0)


async def shown(launcher, spec, *states):
    async def there():
        view = (await launcher.poll()).get(spec.attempt)
        return view is not None and view.state in states and view

    return await until(there, seconds=90)


async def over(launcher, spec):
    return await shown(launcher, spec, JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)


def home() -> Path:
    return Path(pwd.getpwnam("alice").pw_dir)


# --- refusals


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        (Resources(partition="nope"), "partition"),
        (Resources(account="nope"), "account"),
        (Resources(account="bio", partition="gpu"), "account"),
        (Resources(qos="nope"), "qos"),
        (Resources(reservation="nope"), "reservation"),
        (Resources(constraint="nope"), "constraint"),
        (Resources(memory=2**50), "memory"),
        (Resources(partition="gpu", gpu_type="h100", gpus=1), "gpus"),
        (Resources(partition="gpu", gpu_type="a100", gpus=9), "gpus"),
        (Resources(qos="debug", walltime=7200), "walltime"),
    ],
)
def test_an_error_of_slurm_has_a_message_and_a_field(make, resources, field):
    async def body():
        with pytest.raises(LauncherError) as caught:
            await make().submit(job(resources=resources))
        return caught.value

    error = run(body())
    assert not error.transient, error
    assert error.field, (field, str(error), error.code)
    assert str(error).endswith(".")


def test_bob_may_not_use_alices_account(make):
    async def body():
        with pytest.raises(LauncherError) as caught:
            await make().submit(job(user="bob", resources=Resources(account="physics")))
        assert caught.value.field == "account"

    run(body())


@pytest.mark.parametrize("user", ["root", "daemon", "nobody", "no-such-user"])
def test_root_system_accounts_and_unknown_users_are_rejected_before_a_request_to_slurm(slurm, make, user):
    before = slurm.run("squeue", "-h", "-t", "all")
    with pytest.raises(LauncherError) as caught:
        run(make().submit(job(user=user)))
    assert caught.value.code == "no-account"
    assert slurm.run("squeue", "-h", "-t", "all") == before


# --- on the node


def test_a_job_runs_as_its_user_in_its_home_with_its_own_environment(slurm, make, hub):
    command = (
        "/usr/bin/python3",
        "-c",
        (
            "import json, os; json.dump([dict(os.environ), os.getcwd(), os.getuid(), "
            "os.getgroups(), os.umask(0)], open('seen.json', 'w')); import time; time.sleep(300)"
        ),
        "{socket}",
    )

    async def body():
        launcher = make()
        spec = job(command=command, environment={"A": "{home}/a", "B": "$(id) 'x'\n\"y\""}, hub_urls=(hub.url,))
        await launcher.submit(spec)
        seen = home() / "seen.json"
        await until(lambda: seen.exists() and seen.read_text().endswith("]"))
        environment, folder, uid, groups, umask = json.loads(seen.read_text())
        seen.unlink()
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec)
        account = pwd.getpwnam("alice")
        assert (folder, uid, umask) == (str(home()), account.pw_uid, 0o022)
        assert set(groups) == set(os.getgrouplist("alice", account.pw_gid))
        assert environment["A"] == f"{home()}/a"
        assert environment["B"] == "$(id) 'x'\n\"y\""
        assert (environment["HOME"], environment["USER"]) == (str(home()), "alice")
        slurms = ("SLURM", "TOWPATH_", "OMPI_MCA_", "PRTE_MCA_", "HYDRA_", "I_MPI_")  # the last four: newer versions
        ours = {name for name in environment if not name.startswith(slurms)}
        assert ours <= {
            *("A", "B", "HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "PWD", "SHLVL", "HOSTNAME", "TMPDIR"),
            *("ENVIRONMENT", "_", "OLDPWD"),
        }

    run(body())


def test_other_users_of_the_node_see_no_secret(slurm, make, hub):
    secret, begun = secrets.token_hex(16), time.time()

    def holders(*leave, user=""):
        """Return the files with the secret that `user` can read and that are no older than this test."""
        skip = [word for path in leave for word in ("-path", path, "-prune", "-o")]
        young = ("-type", "f", "-newermt", f"@{begun - 2:.0f}", "-exec", "grep", "-ls", "--", secret, "{}", "+")
        found = slurm.attempt("find", str(home()), "/tmp", "/dev/shm", *skip, *young, user=user, seconds=90)
        assert found.returncode != 124, "find did not finish"
        return found.stdout

    async def body():
        launcher = make()
        spec = job(environment={"JUPYTER_TOKEN": secret}, report_token=secret, hub_urls=(hub.url,))
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        await until((home() / ".towpath/jobs" / spec.attempt / "job.json").exists)
        argv = slurm.run("ps", "-ww", "-e", "-o", "args")
        assert "towpath-starter" in argv
        assert secret not in argv
        for command in (
            ("scontrol", "show", "job", ref.native_id),
            ("squeue", "-h", "-t", "all", "-O", "comment:,name:,command:"),
        ):
            assert secret not in slurm.run(*command, user="bob")
        denied = slurm.attempt("scontrol", "write", "batch_script", ref.native_id, "-", user="bob")
        assert secret not in denied.stdout
        assert holders(user="bob") == ""
        assert f"{slurm.folder}/state" in holders(), "Slurm has the script"
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec)
        # Slurm's own state keeps a script for a while (and accounting permanently, with job_script).
        assert holders(f"{slurm.folder}/state") == ""

    run(body())


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (Setup(prologue="echo what happened >&2; exit 4"), "ended the script (exit code 4)"),
        (Setup(modules=("gone/1",)), "module"),
        (Setup(venv="~/no-such-env"), "no-such-env"),
    ],
)
def test_a_failing_setup_is_reported_with_a_message(slurm, make_near, hub, setup, words):
    async def body():
        launcher = make_near()
        spec = job(setup=setup, hub_urls=(hub.url,))
        await launcher.submit(spec)
        report = await asyncio.to_thread(hub.wait, "failed")
        assert report["code"] == "setup"
        assert words in report["message"]
        if setup.prologue:
            assert "what happened" in report["log_tail"]
        assert (await over(launcher, spec)).state is JobState.FAILED

    run(body())


def test_modules_are_loaded_before_the_app(make_near, hub):
    """With Debian's environment-modules: a system module, which makes alice's own available."""
    own, seen = home() / "privatemodules", home() / "modules.json"
    own.mkdir(exist_ok=True)
    (own / "greeting").write_text("#%Module1.0\nsetenv GREETING hello\nprepend-path PATH /opt/greeting/bin\n")
    write = "import json, os, time; json.dump(dict(os.environ), open('modules.json', 'w')); time.sleep(300)"

    async def body():
        launcher = make_near()
        setup = Setup(modules=("use.own", "greeting"))
        spec = job(command=("/usr/bin/python3", "-c", write, "{socket}"), setup=setup, hub_urls=(hub.url,))
        await launcher.submit(spec)
        await until(lambda: seen.exists() and seen.read_text().endswith("}"))
        environment = json.loads(seen.read_text())
        assert (environment["GREETING"], environment["LOADEDMODULES"]) == ("hello", "use.own:greeting")
        assert environment["PATH"].startswith("/opt/greeting/bin:")
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec)

    try:
        run(body())
    finally:
        shutil.rmtree(own)
        seen.unlink(missing_ok=True)


def test_gpus_cores_memory_and_time_are_as_requested(slurm, make):
    asked = Resources(
        partition="gpu", gpu_type="v100", gpus=2, cores=3, memory=700 * 2**20, walltime=1800, account="physics"
    )

    async def body():
        launcher = make()
        spec = job(resources=asked)
        ref = await launcher.submit(spec)
        view = await shown(launcher, spec, JobState.ACTIVE)
        shows = slurm.run("scontrol", "show", "job", ref.native_id)
        assert "gpu:v100:2" in shows
        assert "cpu=3,mem=700M" in shows
        assert slurm.field(ref.native_id, "TimeLimit") == "00:30:00"
        assert slurm.field(ref.native_id, "Requeue") == "1"
        assert view.node == "gn1"
        assert abs(view.deadline - view.started - 1800) < 2
        await launcher.cancel(ref, spec.attempt)
        await over(launcher, spec)

    run(body())


@pytest.mark.parametrize("client", CLIENTS)
def test_the_scheduler_warns_the_starter_before_the_time_limit(slurm, hub, client):
    """A ready app, one minute of walltime, and a warning 45 seconds before its end (sbatch: or a little sooner)."""
    warns = client != "rest" or version(slurm.layout) > (22, 5)  # slurmrestd 22.05 can send it to steps only

    async def body():
        launcher = maker(slurm, client)()
        command = ("/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "{port}")
        spec = job(command=command, resources=Resources(walltime=60, signal=45), hub_urls=(hub.url,))
        await launcher.submit(spec)
        if warns:
            report = await asyncio.to_thread(hub.wait, "warning", 60)
            assert report["attempt"] == spec.attempt
        assert (await shown(launcher, spec, JobState.ACTIVE)).deadline is not None  # the app keeps running
        await launcher.cancel(None, spec.attempt)
        await over(launcher, spec)

    run(body())


def test_a_request_over_a_partitions_limit_can_wait_there_and_says_so(slurm, make):
    """EnforcePartLimits=NO, Slurm's default: the job is accepted with a warning."""

    async def body():
        launcher = make()
        spec = job(resources=Resources(walltime=30 * 86400))
        ref = await launcher.submit(spec)
        view = await shown(launcher, spec, JobState.QUEUED)
        assert view.native_id == ref.native_id
        codes = ("PartitionTimeLimit", "PartitionConfig", "QOSMaxWallDurationPerJobLimit")  # versions differ
        assert view.waiting.code in codes
        await launcher.cancel(ref, spec.attempt)
        await over(launcher, spec)

    run(body())


def test_a_job_name_that_is_not_utf8_does_not_stop_the_poll(slurm, make):
    """Any user can submit one. It belongs to them, and the servers of all users are still visible."""
    odd = ("--job-name", b"b\xff\xfed", "--comment", b"\xff", "--hold")
    slurm.run("sbatch", "--parsable", "--output=/dev/null", *odd, user="bob", stdin="#!/bin/sh\nsleep 60\n")

    async def body():
        launcher = make()
        spec = job()
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        assert len(await make().poll()) == 1
        await launcher.cancel(ref, spec.attempt)
        await over(launcher, spec)

    run(body())


# --- cancel and end


def test_a_waiting_job_and_a_running_one_can_be_cancelled(slurm, make):
    async def body():
        launcher = make()
        waits, runs = (
            job(resources=Resources(cores=8, partition="gpu")),
            job(resources=Resources(cores=8, partition="gpu")),
        )
        await launcher.submit(runs)
        await shown(launcher, runs, JobState.ACTIVE)
        await launcher.submit(waits)
        view = await shown(launcher, waits, JobState.QUEUED)
        for spec in (waits, runs):
            await launcher.cancel(None, spec.attempt)
            assert (await over(launcher, spec)).state is JobState.CANCELED
        assert view.waiting.message

    run(body())


def test_a_scancel_by_another_user_is_reported_with_the_name(slurm, make):
    async def body():
        launcher = make()
        spec = job()
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        slurm.run("scancel", ref.native_id)
        view = await over(launcher, spec)
        assert (view.state, view.ending.code) == (JobState.CANCELED, "cancelled")
        assert "admin" in view.ending.message

    run(body())


@pytest.mark.parametrize("client", ["cli", "rest"])
def test_a_changed_request_keeps_its_place_and_its_job(slurm, client):
    make = maker(slurm, client)
    before = Resources(partition="cpu", account="physics", qos="normal", cores=1, memory=GIB, walltime=600)
    after = Resources(
        partition="gpu", account="physics", qos="gpuq", cores=2, memory=2 * GIB, walltime=3600, gpus=1, gpu_type="a100"
    )

    async def body():
        launcher, other = make(), make()
        slurm.run("scontrol", "update", "PartitionName=cpu", "State=DOWN")
        slurm.run("scontrol", "update", "PartitionName=gpu", "State=DOWN")
        spec = job(resources=before)
        ref = await launcher.submit(spec)
        record = replace(spec.record, choices={"walltime": "01:00:00"})
        change = Change(attempt=spec.attempt, user="alice", before=before, after=after, record=record)
        theirs = replace(change, user="bob")
        assert await launcher.update(theirs) is Updated.NOT_WAITING  # bob has no such job
        assert await launcher.update(change) is Updated.DONE
        view = (await other.poll())[spec.attempt]  # a hub that has lost everything
        assert (view.native_id, view.record.choices) == (ref.native_id, record.choices)
        fields = {
            name: slurm.field(ref.native_id, name)
            for name in ("Partition", "QOS", "TimeLimit", "NumCPUs", "MinMemoryNode")
        }
        nowhere = replace(change, before=after, after=replace(after, nodes=2))
        assert await launcher.update(nowhere) is Updated.IMPOSSIBLE
        refused = replace(change, before=after, after=replace(after, account="nosuch"))
        with pytest.raises(LauncherError) as caught:
            await launcher.update(refused)
        assert (caught.value.field, caught.value.transient) == ("account", False)
        slurm.run("scontrol", "update", "PartitionName=gpu", "State=UP")
        await shown(other, spec, JobState.ACTIVE)
        asked = slurm.run("scontrol", "--oneliner", "show", "job", ref.native_id)
        assert "gres/gpu=1" in asked
        assert await launcher.update(replace(change, before=after, after=before)) is Updated.NOT_WAITING
        await launcher.cancel(ref, spec.attempt)
        return fields

    fields = run(body())
    assert fields == {"Partition": "gpu", "QOS": "gpuq", "TimeLimit": "01:00:00", "NumCPUs": "2", "MinMemoryNode": "2G"}


@pytest.mark.parametrize("client", ["cli", "rest"])
def test_a_job_that_waits_for_maintenance_starts_with_the_time_limit_that_its_hint_names(slurm, client):
    launcher = maker(slurm, client)()
    slurm.run(
        *("scontrol", "create", "reservation", "ReservationName=repair", "Users=root", "Nodes=ALL"),
        *("StartTime=now+58minutes", "Duration=60", "Flags=MAINT"),
    )

    async def body():
        await launcher.catalog()
        before = Resources(partition="cpu", walltime=8 * 3600)
        spec = job(resources=before)
        ref = await launcher.submit(spec)

        async def explained():
            view = (await launcher.poll())[spec.attempt]
            return view.waiting if view.waiting and view.waiting.code == "ReqNodeNotAvail" else None

        waiting = await until(explained, seconds=90)
        after = replace(before, walltime=55 * 60)
        change = Change(attempt=spec.attempt, user="alice", before=before, after=after, record=spec.record)
        assert await launcher.update(change) is Updated.DONE
        await shown(launcher, spec, JobState.ACTIVE)
        await launcher.cancel(ref, spec.attempt)
        await over(launcher, spec)
        return waiting

    waiting = run(body())
    assert waiting.message == "Planned maintenance begins before the job could end (time limit 8 hours)."
    assert waiting.hint.startswith("To start now, set a time limit of at most 55 minutes.")


@pytest.mark.parametrize("client", ["cli", "rest"])
def test_a_suspended_job_is_shown_as_suspended_and_not_as_ended(slurm, client):
    async def body():
        launcher = maker(slurm, client)()
        spec = job()
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        slurm.run("scontrol", "suspend", ref.native_id)

        async def suspended():
            view = (await launcher.poll())[spec.attempt]
            return view.state is JobState.ACTIVE and view.suspended

        await until(suspended, seconds=60)
        slurm.run("scontrol", "resume", ref.native_id)

        async def resumed():
            return not await suspended()

        await until(resumed, seconds=60)
        assert (await launcher.poll())[spec.attempt].state is JobState.ACTIVE
        await launcher.cancel(ref, spec.attempt)
        await over(launcher, spec)

    run(body())


def test_a_requeued_job_runs_again_under_the_same_attempt(slurm, make):
    async def body():
        launcher = make()
        spec = job()
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        slurm.run("scontrol", "requeue", ref.native_id)
        await shown(launcher, spec, JobState.QUEUED)
        slurm.start_requeued(ref.native_id)
        view = await shown(launcher, spec, JobState.ACTIVE)
        assert view.native_id == ref.native_id
        await launcher.cancel(ref, spec.attempt)
        await over(launcher, spec)

    run(body())


def test_a_script_that_exits_shows_its_code(slurm, make, hub):
    async def body():
        launcher = make()
        spec = job(command=("/bin/sh", "-c", "exit 7", "{socket}"), hub_urls=(hub.url,))
        await launcher.submit(spec)
        view = await over(launcher, spec)
        assert (view.state, view.exit_code, view.ending) == (JobState.FAILED, 7, None)
        assert (await over(make(), spec)).exit_code == 7

    run(body())


# --- faults


def test_a_stopped_slurmctld_is_transient_and_a_submit_meanwhile_is_one_job(slurm, make_near):
    async def body():
        launcher = make_near()
        spec = job(again=False)
        slurm.daemon("slurmctld").sigstop()
        try:
            for verb in (launcher.poll(), launcher.submit(spec)):
                with pytest.raises(LauncherError) as caught:
                    await verb
                assert caught.value.transient
        finally:
            slurm.daemon("slurmctld").sigcont()
        ref = await launcher.submit(replace(spec, again=True))
        await asyncio.sleep(2)
        await launcher.poll()
        rows = slurm.run("squeue", "-h", "-o", "%i", f"--name=towpath-{spec.attempt}").split()
        assert rows == [ref.native_id]
        await launcher.cancel(ref, spec.attempt)
        await over(launcher, spec)

    run(body())


def test_no_process_of_a_hanging_command_is_left(slurm, make_near):
    async def body():
        launcher = make_near()
        slurm.daemon("slurmctld").sigstop()
        try:
            with pytest.raises(LauncherError):
                await launcher.poll()
            assert not slurm.runs("squeue")
        finally:
            slurm.daemon("slurmctld").sigcont()

    run(body())


def test_a_killed_slurmctld_loses_nothing(slurm, make_near):
    async def body():
        launcher = make_near()
        spec = job()
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        before = time.time_ns()
        saved = slurm.folder / "state/slurmctld/job_state"
        await until(lambda: changed_at(saved) > before)  # it saves its state from time to time
        slurm.daemon("slurmctld").kill()
        with pytest.raises(LauncherError) as caught:
            await launcher.poll()
        assert caught.value.transient
        await asyncio.to_thread(slurm.daemon("slurmctld").start)
        assert (await shown(launcher, spec, JobState.ACTIVE)).native_id == ref.native_id
        await launcher.cancel(ref, spec.attempt)
        await over(launcher, spec)

    run(body())


def test_without_munge_everything_is_transient(slurm, make_near):
    async def body():
        launcher = make_near()
        slurm.daemon("munged").kill()
        try:
            for verb in (launcher.poll(), launcher.submit(job())):
                with pytest.raises(LauncherError) as caught:
                    await verb
                assert caught.value.transient, str(caught.value)
        finally:
            await asyncio.to_thread(slurm.daemon("munged").start)
        await launcher.poll()

    run(body())


def test_without_slurmdbd_jobs_are_visible_and_an_end_in_slurmctld_counts(slurm, make_near, hub):
    async def body():
        launcher = make_near()
        spec = job(hub_urls=(hub.url,))
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        slurm.daemon("slurmdbd").kill()
        try:
            assert (await launcher.poll())[spec.attempt].state is JobState.ACTIVE
            slurm.run("scancel", ref.native_id)
            assert (await over(launcher, spec)).state is JobState.CANCELED
        finally:
            await asyncio.to_thread(slurm.daemon("slurmdbd").start)

    run(body())


def test_a_hanging_slurmdbd_delays_no_poll(slurm, make_near):
    """sacct waits 45 seconds for it."""

    async def body():
        launcher = make_near()
        spec = job()
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        slurm.daemon("slurmdbd").sigstop()
        try:
            slurm.run("scancel", ref.native_id)
            slowest = 0.0
            while True:
                began = time.monotonic()
                view = (await launcher.poll())[spec.attempt]
                slowest = max(slowest, time.monotonic() - began)
                if view.state.final:
                    break
                await asyncio.sleep(0.2)
            assert slowest < 20
            assert view.state is JobState.CANCELED
        finally:
            slurm.daemon("slurmdbd").sigcont()

    run(body())


# --- other users of the cluster


def test_other_users_cannot_inject_rows_into_what_the_hub_reads(slurm, make, hub):
    """A job whose name and comment contain line ends and complete rows of another job."""

    async def body():
        launcher = make()
        before = set(await launcher.poll())  # jobs of other tests within the last hour
        spec = job(hub_urls=(hub.url,))
        ref = await launcher.submit(spec)
        await shown(launcher, spec, JobState.ACTIVE)
        name = f"towpath-{spec.attempt}"
        comment = slurm.run("squeue", "-h", "-O", "comment:", f"--jobs={ref.native_id}").strip()
        script = "#!/bin/sh\nsleep 60\n"
        for options in (
            (f"--job-name={name}", f"--comment={comment}"),
            (f"--job-name=x\n{ref.native_id}|alice|FAILED|256|0|1|{name}", f"--comment=\n{comment}\n"),
            (f"--job-name={name}\n", f"--comment={comment.replace('alice', 'bob')}"),
        ):
            slurm.sbatch(*options, script=script, user="bob")
        for _ in range(3):
            views = await launcher.poll()
            assert set(views) - before == {spec.attempt}
            assert (views[spec.attempt].state, views[spec.attempt].user) == (JobState.ACTIVE, "alice")
        assert len(slurm.run("squeue", "-h", "-o", "%i", "--user=bob").split()) == 3
        await launcher.cancel(None, spec.attempt)
        assert (await over(launcher, spec)).native_id == ref.native_id

    run(body())


# --- many jobs


def test_two_hundred_simultaneous_jobs_all_exist_once(slurm, make_near):
    async def body():
        launcher = make_near()
        specs = [job(resources=Resources(memory=100 * 2**20), again=False) for _ in range(200)]
        refs = await asyncio.gather(*(launcher.submit(spec) for spec in specs))
        assert len({ref.native_id for ref in refs}) == 200
        views = await launcher.poll()
        assert {spec.attempt for spec in specs} <= views.keys()
        names = slurm.run("squeue", "-h", "-o", "%j").split()
        assert sorted(names) == sorted(f"towpath-{spec.attempt}" for spec in specs)
        waits = [view.waiting for view in views.values() if view.waiting]
        assert all(wait.of == len(waits) for wait in waits if wait.position)

    run(body())


def test_the_catalog_is_gathered_by_the_same_client(slurm, make):
    offer = run(make().catalog())
    assert {partition.name for partition in offer.catalog.partitions} == {"cpu", "gpu"}
    assert {"alice", "bob"} <= offer.grants.keys()
