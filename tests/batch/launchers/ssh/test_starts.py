"""How a job is started on a real host: its setup, its environment, its GPUs, its limits, and the starter that is sent."""

import json
import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from batch.contract import JobState, LauncherError, Resources, Setup
from batch.launchers.ssh.placement import GIB
from tests.batch.apps import Hub, app
from tests.batch.launchers.ssh.jobs import end, opened, placed, spec_of, start, until_view, view
from tests.batch.launchers.ssh.making import config_of
from tests.batch.rig import by_attempt
from tests.conftest import run, until

HOSTILE = [
    "$(touch /tmp/towpath-hostile)", "`touch /tmp/towpath-hostile`", "'; touch /tmp/towpath-hostile; '", '"$HOME"',
    "a\nb", "\\", "!!", "%s %d", "ä€😀", "--help", "* ? [a-z]", "~root", "{socket", "\t", "",
]  # fmt: skip
SMI = """#!/bin/sh
case "$*" in
*compute-apps*) echo GPU-1 ;;
*) printf '0, GPU-0, NVIDIA A100-SXM4-80GB\\n1, GPU-1, NVIDIA A100-SXM4-80GB\\n2, GPU-2, Tesla V100-PCIE-16GB\\n' ;;
esac
"""
SYSTEMD_RUN = """#!/bin/sh
echo "$@" >>{log}
for word; do
shift
[ "$word" = -- ] && break
done
if [ "$1" = /bin/sh ]; then printf '{memory}\\n{cpu} 100000\\n'; exit 0; fi
exec "$@"
"""


@pytest.fixture(scope="module")
def hub():
    listener = Hub()
    yield listener
    listener.close()


@pytest.fixture
def gpu1(pool):
    """A host that has its usual sshd and home again afterwards."""
    host = pool.hosts["gpu1"]
    yield host
    host.configure()
    host.stop()
    for name in ("alice", "bob"):
        shutil.rmtree(host.homes / name)
        host.make_home(name)
    host.start()


def programs(host, **scripts):
    """Put programs at the front of the PATH of all users who log in to the host."""
    folder = host.folder / "bin"
    folder.mkdir(exist_ok=True)
    for name, text in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(text)
        path.chmod(0o755)
    host.configure(f"SetEnv PATH={folder}:/usr/bin:/bin")
    host.restart_sshd()


async def app_of(spec):
    """(argv, environment) of a job's app."""

    def found():
        for pid in by_attempt().get(spec.attempt, []):
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            return [os.fsdecode(word) for word in argv], dict(
                os.fsdecode(one).split("=", 1) for one in variables if b"=" in one
            )
        return None

    return await until(found)


def test_no_value_reaches_a_shell(pool, hub, gpu1):
    """Values of users and admins, in the command, the environment and the names of a server, come through as they are."""

    async def body():
        marks = Path("/tmp/towpath-hostile")
        command = ("/usr/bin/python3", *app()[1:], *HOSTILE)
        environment = {f"HOSTILE_{number}": value for number, value in enumerate(HOSTILE)}
        setup = Setup(prologue="export BY_PROLOGUE='set'")
        async with opened(pool) as launcher:
            for more in ({}, {"setup": setup}):
                spec = spec_of(host="gpu1", hub_url=hub.url, command=command, environment=environment, **more)
                spec, _ = await start(launcher, spec)
                argv, variables = await app_of(spec)
                assert argv[-len(HOSTILE) :] == HOSTILE
                assert {name: variables[name] for name in environment} == environment
                assert variables.get("BY_PROLOGUE") == ("set" if more else None)
                assert (variables["USER"], variables["HOME"]) == ("alice", "/var/lib/towpath-devcluster/home/alice")
                assert not [name for name in variables if name.startswith("SSH_")]
                await end(launcher, spec)
            for wrong in (
                {"command": ("a\0b", "{socket}")},
                {"setup": Setup(conda="-x")},
                {"setup": Setup(image="x,y")},
            ):
                with pytest.raises(LauncherError) as caught:
                    await start(launcher, spec_of(host="gpu1", **wrong))
                assert not caught.value.transient
        assert not marks.exists()

    run(body())


@pytest.mark.parametrize(
    "user", ["root", "towpath-monitor", "al ice", "-oProxyCommand=id", "alice@gpu2", "a;id", "$(id)", ""]
)
def test_a_name_that_cannot_be_a_users_account_is_refused_before_any_connection(pool, user):
    async def body():
        async with opened(pool) as launcher:
            with pytest.raises(LauncherError) as caught:
                await launcher.place(spec_of(user))
            assert caught.value.code == "no-account"
            assert launcher._hosts._connections.open_connections() == 0

    run(body())


@pytest.mark.parametrize(
    ("user", "code"), [("daemon", "system-account"), ("nobody", "system-account"), ("nemo", "no-account")]
)
def test_an_account_of_the_systems_gets_no_certificate(pool, user, code):
    async def body():
        async with opened(pool) as launcher:
            with pytest.raises(LauncherError) as caught:
                await start(launcher, spec_of(user, host="gpu1"))
            assert caught.value.code == code
        assert f"towpath tests {user}" not in pool.hosts["gpu1"].log.read_text()  # the ids of certificates

    run(body())


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (Setup(prologue="echo no licence; exit 4"), "prologue of the profile ended the script (exit code 4)"),
        (Setup(prologue="false"), "prologue of the profile failed"),
        (Setup(venv="~/none"), "There is no virtual environment at"),
        (Setup(modules=("none/1.0",)), "none/1.0"),
        (Setup(conda="none"), "conda"),
    ],
)
def test_a_setup_that_fails_ends_the_job_with_a_sentence(pool, gpu1, setup, words):
    async def body():
        async with opened(pool) as launcher:
            spec, _ = await start(launcher, spec_of(host="gpu1", setup=setup))
            seen = await until_view(launcher, spec, lambda seen: seen.report is not None)
            assert (seen.report.kind, seen.report.code) == ("failed", "setup")
            assert words in seen.report.message

    run(body())


def test_a_job_gets_gpus_of_the_type_it_asks_for_and_no_others(pool, hub, gpu1):
    async def body():
        programs(gpu1, nvidia_smi=SMI)
        async with opened(pool) as launcher:
            offer = await launcher.catalog()
            shown = {gpu.type: (gpu.total, gpu.free) for gpu in offer.catalog.partition("gpu1").gpus}
            assert shown == {"a100-sxm4-80gb": (2, 1), "v100-pcie-16gb": (1, 1)}
            asked = Resources(gpu_type="a100-sxm4-80gb", gpus=1)
            spec, _ = await start(launcher, spec_of(hub_url=hub.url, resources=asked))
            _, variables = await app_of(spec)
            assert variables["CUDA_VISIBLE_DEVICES"] == "0"
        async with opened(pool) as fresh:  # the share is visible in the job's command line
            with pytest.raises(LauncherError) as caught:
                await fresh.place(spec_of("bob", resources=asked))
            assert (caught.value.transient, caught.value.code) == (True, "full")
            other, _ = await start(fresh, spec_of("bob", hub_url=hub.url, resources=Resources(gpus=1)))
            _, variables = await app_of(other)
            assert variables["CUDA_VISIBLE_DEVICES"] == "2"
            none, _ = await start(
                fresh, spec_of(host="gpu1", hub_url=hub.url, resources=Resources(gpus=0, partition="gpu1"))
            )
            assert (await app_of(none))[1]["CUDA_VISIBLE_DEVICES"] == ""
            await end(fresh, spec, other, none)

    run(body())


def with_systemd(host, *, memory="4294967296", cpu="200000"):
    """The signs of systemd, and a fake systemd-run: there is no systemd on this machine."""
    log = host.folder / "systemd-run.log"
    log.touch()
    log.chmod(0o666)
    programs(host, systemd_run=SYSTEMD_RUN.format(log=log, memory=memory, cpu=cpu), loginctl="#!/bin/sh\nexit 1\n")
    uid = host.run("id", "-u", "alice").strip()
    host.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/systemd")
    host.run("mkdir", "-p", "/run/systemd/system", f"/run/user/{uid}", "/var/lib/systemd/linger")
    host.run("touch", f"/run/user/{uid}/bus", "/var/lib/systemd/linger/alice")
    return log


def test_memory_and_cores_are_limited_by_a_scope_where_there_is_systemd(pool, hub, gpu1):
    async def body():
        log = with_systemd(gpu1)
        async with opened(pool) as launcher:
            asked = Resources(partition="gpu1", memory=4 * GIB, cores=2)
            spec, _ = await start(launcher, spec_of(hub_url=hub.url, resources=asked))
            seen = await until_view(launcher, spec, lambda seen: seen.state is JobState.ACTIVE and seen.record)
            assert seen.note == ""
            trial, real = log.read_text().splitlines()
            for arguments in (trial, real):
                assert "--user --scope" in arguments
                assert "MemoryMax=4294967296" in arguments
                assert "CPUQuota=200%" in arguments
            assert f"--unit=towpath-{spec.attempt}" in real
            await end(launcher, spec)

    run(body())


@pytest.mark.parametrize(
    ("systemd", "missing"),
    [(None, "memory and CPU"), ({"cpu": "max"}, "CPU"), ({"memory": "max", "cpu": "max"}, "memory and CPU")],
)
def test_missing_limits_of_a_host_are_reported(pool, hub, gpu1, systemd, missing):
    async def body():
        if systemd is not None:
            with_systemd(gpu1, **systemd)
        async with opened(pool) as launcher:
            asked = Resources(partition="gpu1", memory=GIB, cores=1)
            spec, _ = await start(launcher, spec_of(hub_url=hub.url, resources=asked))
            seen = await until_view(launcher, spec, lambda seen: seen.note)
            assert seen.note == f"gpu1 does not limit the {missing} of a server: stay within what you requested."
            await end(launcher, spec)

    run(body())


def test_the_starter_is_sent_once_and_never_run_when_it_was_changed(pool, hub, gpu1):
    async def body():
        folder = gpu1.homes / "alice" / ".towpath" / "starters"
        async with opened(pool) as launcher:
            spec, _ = await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
            (file,) = folder.iterdir()
            assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
            sent = file.stat().st_mtime_ns
            await end(launcher, spec)
            spec, _ = await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
            assert file.stat().st_mtime_ns == sent
            await end(launcher, spec)
            good = file.read_bytes()
            file.write_bytes(good + b"\nopen('/tmp/towpath-hostile', 'w')\n")
            spec, _ = await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
            assert file.read_bytes() == good  # sent again
            await end(launcher, spec)
        assert not Path("/tmp/towpath-hostile").exists()

    run(body())


def test_a_folder_that_others_could_change_is_not_used(pool, gpu1):
    async def body():
        open_folder = Path("/tmp/towpath-open")
        open_folder.mkdir(mode=0o777)
        open_folder.chmod(0o777)
        try:
            async with opened(pool, config_of(pool, folder="/tmp/towpath-open/jobs")) as launcher:
                with pytest.raises(LauncherError) as caught:
                    await start(launcher, spec_of(host="gpu1"))
                assert caught.value.code == "folder"
        finally:
            shutil.rmtree(open_folder)

    run(body())


def test_a_jobs_folder_is_trusted_only_for_this_job(pool, hub, gpu1):
    """Alice writes what she likes below her home: another's record, another's job, an endpoint of her choice."""

    async def body():
        async with opened(pool) as launcher:
            mine, _ = await start(launcher, spec_of(host="gpu1", hub_url=hub.url))
            his, _ = await start(launcher, spec_of("bob", host="gpu1", hub_url=hub.url))
            jobs = gpu1.homes / "alice" / ".towpath" / "jobs"
            own = jobs / mine.attempt
            owner = json.loads((own / "owner.json").read_text())
            stolen = json.loads((gpu1.homes / "bob" / ".towpath" / "jobs" / his.attempt / "owner.json").read_text())
            copied = jobs / his.attempt
            shutil.copytree(own, copied, ignore=shutil.ignore_patterns("*.sock"))
            (copied / "owner.json").write_text(json.dumps({**owner, "record": stolen["record"]}))
            gpu1.run("chown", "-R", "alice:", str(copied).replace(str(gpu1.homes), "/var/lib/towpath-devcluster/home"))
        async with opened(pool) as fresh:
            views = await fresh.poll()
            assert views[his.attempt].native_id.startswith("bob@gpu1")
            (own / "report.json").write_text(
                json.dumps({"kind": "ready", "endpoint": {"kind": "tcp", "host": "10.0.0.1", "port": 22}})
            )
            assert (await view(fresh, mine)).report is None
            tls = {"kind": "tls", "host": "10.0.0.1", "port": 22, "name": "gateway.towpath.internal"}
            (own / "report.json").write_text(json.dumps({"kind": "ready", "endpoint": tls}))
            assert (await view(fresh, mine)).report.endpoint.name == f"{mine.attempt}.towpath.internal"
            (own / "owner.json").write_text(json.dumps({**owner, "record": stolen["record"]}))
            (own / "report.json").write_text("[" * 100_000)
            gone = replace(mine, record=mine.record)
            await view(fresh, gone)
            await end(fresh, his)
        (own / "owner.json").write_text(json.dumps(owner))
        async with opened(pool) as fresh:
            await end(fresh, mine)

    run(body())


def test_a_late_submit_of_what_was_cancelled_starts_nothing(pool, gpu1):
    async def body():
        async with opened(pool) as launcher:
            spec = await placed(launcher, spec_of(host="gpu1"))
            await launcher.cancel(spec.record.job, spec.attempt)
            await launcher.submit(replace(spec, again=True))
            assert not gpu1.processes(spec.attempt)
            assert (await view(launcher, spec)).state is JobState.CANCELED

    run(body())
