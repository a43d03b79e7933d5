"""The development cluster: it is a real Slurm, it enforces its rules, and it leaves nothing behind."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from hub import eventually

from deploy.devcluster import cgroups, files, processes, users
from deploy.devcluster.__main__ import main
from deploy.devcluster.layout import Layout
from tests import slurm as rig

ROOT = Path(__file__).resolve().parent.parent.parent
ENDED = ("COMPLETED", "FAILED", "OUT_OF_MEMORY", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")


def output_of(slurm, *options, script, user="alice"):
    """Run a script as a job and return its output."""
    home = Path(pwd.getpwnam(user).pw_dir)
    file = home / f"output-{os.getpid()}"
    file.unlink(missing_ok=True)
    job = slurm.run(
        "sbatch", "--parsable", f"--output={file}", *options, user=user, stdin=f"#!/bin/sh\n{script}\n"
    ).strip()
    eventually(lambda: slurm.state(job) in ENDED, what=f"the end of job {job}")
    try:
        return file.read_text()
    finally:
        file.unlink(missing_ok=True)


def test_three_nodes_are_idle_each_at_its_own_address(slurm):
    nodes = slurm.run("sinfo", "--noheader", "--Node", "--format=%N %P %t %o %G").splitlines()
    assert nodes == [
        f"cn1 cpu* idle {slurm.address('cn1')} (null)",
        f"cn2 cpu* idle {slurm.address('cn2')} (null)",
        f"gn1 gpu idle {slurm.address('gn1')} gpu:a100:2,gpu:v100:2",
    ]


def test_commands_and_controller_have_the_same_version(slurm):
    config = slurm.run("scontrol", "show", "config")
    version = re.search(r"SLURM_VERSION\s+= (\S+)", config).group(1)
    assert slurm.run("sinfo", "--version").split()[1] == version


@pytest.mark.parametrize(("partition", "node"), [("cpu", "cn2"), ("gpu", "gn1")])
def test_a_job_runs_as_its_user_on_a_host_with_the_nodes_name(slurm, partition, node):
    printed = output_of(
        slurm,
        f"--partition={partition}",
        f"--nodelist={node}",
        "--export=NONE",
        script="hostname; id -un; pwd; srun --export=ALL hostname",
    )
    assert printed.split() == [node, "alice", pwd.getpwnam("alice").pw_dir, node]


def test_a_port_that_a_job_binds_to_its_host_name_is_reachable_at_the_nodes_address(slurm, tmp_path):
    program = "import http.server; http.server.HTTPServer(('cn1', 18765 + %d), http.server.SimpleHTTPRequestHandler).handle_request()"
    port = 18765 + slurm.layout.number
    job = slurm.sbatch("--nodelist=cn1", script=f'#!/bin/sh\nexec python3 -c "{program % slurm.layout.number}"\n')

    def answer():
        with urllib.request.urlopen(f"http://{slurm.address('cn1')}:{port}/", timeout=5) as reply:
            return reply.status

    assert eventually(answer, what=f"an answer from job {job}") == 200


def test_a_gpu_job_sees_only_the_gpus_that_it_requested(slurm):
    printed = output_of(
        slurm,
        "--partition=gpu",
        "--gres=gpu:v100:2",
        script="echo $CUDA_VISIBLE_DEVICES; scontrol --details show job $SLURM_JOB_ID | grep -o 'gpu:v100:2(IDX:2-3)'",
    )
    assert printed.split() == ["0,1" if slurm.cluster.shape.cgroups else "2,3", "gpu:v100:2(IDX:2-3)"]


@pytest.mark.parametrize(
    ("user", "options", "message"),
    [
        ("bob", ["--partition=gpu"], "Invalid account or account/partition combination"),
        ("bob", ["--account=physics"], "Invalid account or account/partition combination"),
        ("bob", ["--qos=gpuq"], "Invalid qos"),
        ("alice", ["--account=bio", "--partition=gpu"], "Invalid account or account/partition combination"),
        ("alice", ["--qos=nosuch"], "Invalid qos"),
        ("alice", ["--partition=nosuch"], "invalid partition"),
        ("alice", ["--qos=debug", "--time=60"], "QOSMaxWallDurationPerJobLimit"),
        ("alice", ["--partition=gpu", "--gres=gpu:h100:1"], "Requested node configuration is not available"),
        ("alice", ["--mem=9000"], "Memory specification can not be satisfied"),
    ],
)
def test_a_job_outside_the_users_associations_is_rejected(slurm, user, options, message):
    refused = slurm.attempt("sbatch", *options, "--wrap=true", user=user)
    assert refused.returncode == 1
    assert message in refused.stderr


def test_the_third_gpu_of_the_gpu_qos_waits(slurm):
    first = slurm.sbatch("--partition=gpu", "--qos=gpuq", "--gres=gpu:a100:2", script="#!/bin/sh\nsleep 60\n")
    second = slurm.sbatch("--partition=gpu", "--qos=gpuq", "--gres=gpu:v100:1", script="#!/bin/sh\nsleep 60\n")
    eventually(lambda: slurm.state(first) == "RUNNING")
    eventually(lambda: slurm.field(second, "Reason") == "QOSMaxGRESPerUser")


def test_the_third_job_of_the_debug_qos_waits(slurm):
    jobs = [slurm.sbatch("--qos=debug", script="#!/bin/sh\nsleep 60\n") for _ in range(3)]
    eventually(lambda: [slurm.state(job) for job in jobs] == ["RUNNING", "RUNNING", "PENDING"])
    eventually(lambda: slurm.field(jobs[2], "Reason") == "QOSMaxJobsPerUserLimit")


def test_a_job_that_exceeds_its_memory_is_killed_and_sacct_reports_it(slurm):
    script = '#!/bin/sh\nexec python3 -c "import time; fill = bytearray(400_000_000); time.sleep(30)"\n'
    job = slurm.sbatch("--mem=100", script=script)
    # Without control groups Slurm finds it by sampling, and only the log says why it killed the job.
    state = "OUT_OF_MEMORY" if slurm.cluster.shape.cgroups else "FAILED"
    eventually(lambda: slurm.sacct(job, "State") == state, what=f"{state} from sacct")


def test_a_scavenger_job_is_preempted_and_runs_again(slurm):
    scavenger = slurm.sbatch(
        "--qos=scavenger", "--nodelist=cn1", "--exclusive", "--requeue", script="#!/bin/sh\nsleep 300\n"
    )
    eventually(lambda: slurm.state(scavenger) == "RUNNING")
    owner = slurm.sbatch("--nodelist=cn1", "--exclusive", script="#!/bin/sh\nsleep 2\n", user="bob")
    eventually(lambda: slurm.state(owner) == "RUNNING", what="the owner's job")
    assert slurm.state(scavenger) == "PENDING"
    eventually(lambda: slurm.state(owner) == "COMPLETED")
    # Slurm delays a requeued job for two minutes; root can start it now.
    slurm.start_requeued(scavenger)
    eventually(lambda: slurm.state(scavenger) == "RUNNING", what="the scavenger's second run")
    assert slurm.field(scavenger, "Restarts") == "1"


def test_a_reservation_holds_a_node_for_its_user(slurm):
    slurm.run("scontrol", "create", "reservation=forbob", "users=bob", "nodes=cn2", "starttime=now", "duration=10")
    alice = slurm.sbatch("--nodelist=cn2", "--time=5", script="#!/bin/sh\nsleep 60\n")
    bob = slurm.sbatch("--reservation=forbob", script="#!/bin/sh\nsleep 60\n", user="bob")
    eventually(lambda: slurm.state(bob) == "RUNNING")
    assert slurm.field(bob, "NodeList") == "cn2"
    assert slurm.state(alice) == "PENDING"


def test_slurmrestd_requires_a_token(slurm):
    def answer(path, headers):
        request = urllib.request.Request(f"{slurm.restd_url}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {}

    alice = {"X-SLURM-USER-NAME": "alice", "X-SLURM-USER-TOKEN": slurm.jwt("alice")}
    status, paths = answer("/openapi/v3", alice)
    assert status == 200
    version = max(re.findall(r"/slurm/(v[0-9.]+)/diag", json.dumps(paths)))
    status, diag = answer(f"/slurm/{version}/diag/", alice)
    assert (status, diag["errors"]) == (200, [])
    status, associations = answer(f"/slurmdb/{version}/associations/", alice)
    assert (status, associations["errors"]) == (200, [])
    assert {entry["user"] for entry in associations["associations"]} >= {"alice"}
    for headers in ({}, {**alice, "X-SLURM-USER-TOKEN": "x"}):
        assert answer(f"/slurm/{version}/diag/", headers)[0] >= 400


def test_users_cannot_read_the_keys(slurm):
    for file in (slurm.layout.jwt_key, slurm.layout.munge_folder / "key", slurm.layout.etc / "slurmdbd.conf"):
        read = slurm.attempt("cat", str(file), user="alice")
        assert "Permission denied" in read.stderr


def test_every_daemon_can_be_killed_and_restarted(slurm):
    job = slurm.sbatch("--nodelist=cn1", script="#!/bin/sh\nsleep 300\n")
    eventually(lambda: slurm.state(job) == "RUNNING")
    slurm.save()
    for name in slurm.cluster.daemons:
        daemon = slurm.daemon(name)
        daemon.kill()
        assert not daemon.alive
        daemon.start()
    eventually(lambda: slurm.state(job) == "RUNNING", what="the job that was running before")


def test_a_stopped_daemon_continues_after_sigcont(slurm):
    daemon = slurm.daemon("slurmctld")
    daemon.sigstop()
    eventually(lambda: state_of(daemon.pid) == "T")
    assert daemon.alive
    assert slurm.attempt("squeue", seconds=1).returncode == 124
    daemon.sigcont()
    eventually(lambda: slurm.attempt("squeue").returncode == 0)


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def leftovers(layout):
    """Return everything that a cluster could leave on the machine."""
    return {
        "processes": list(processes.with_hosts_file(layout.hosts)),
        "control groups": [path for top in cgroups.hierarchies() for path in top.glob(layout.cgroup)],
        "mounts": [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(layout.folder) in line
        ],
        "note": [note for note in [users.note(layout)] if note.exists()],
        "folder": [layout.folder] if layout.folder.exists() else [],
    }


def command(*arguments, user=None, folder=ROOT):
    return subprocess.run(
        ["/usr/bin/python3", "-B", "-m", "deploy.devcluster", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        user=user,
    )


@pytest.fixture
def layout():
    """The layout of a cluster that no other test uses."""
    with rig.place() as found:
        yield found


def test_the_command_starts_a_cluster_and_stops_it_while_jobs_are_running(layout):
    folder, number = ("--folder", str(layout.folder)), ("--number", str(layout.number))
    try:
        up = command("up", *folder, *number)
        assert up.returncode == 0, up.stderr
        assert "Slurm is running" in up.stdout
        assert f"already running in {layout.folder}.\n" in command("up", *folder).stdout
        assert command("status", *folder).stdout.count("running, process") == 8
        processes.recorded(layout.run / "slurmctld.process").signal(signal.SIGKILL)
        eventually(lambda: command("status", *folder).returncode == 1)
        again = command("up", *folder, *number, "--no-cgroups")
        assert again.returncode == 0, again.stderr
        assert "Removing an earlier cluster" in again.stdout
        assert command("status", *folder).returncode == 0
        assert command("env", *folder).stdout == f"export SLURM_CONF={layout.slurm_conf}\n"
        taken = command("up", "--folder", f"{layout.folder}b", *number)
        assert (taken.returncode, taken.stderr) == (
            2,
            f"Port {layout.port('slurmctld')} on 127.0.0.1, for slurmctld, is in use (Address already in use). Choose another --number.\n",
        )
        # A process of a job that leaves its session, as a daemon does, still belongs to the cluster.
        run = subprocess.run(
            ["sbatch", "--parsable", "--output=/dev/null", "--wrap=setsid sleep 1000 & sleep 1000"],
            env={"PATH": "/usr/bin:/bin", "SLURM_CONF": str(layout.slurm_conf)},
            cwd="/",
            user="alice",
            group="alice",
            extra_groups=[],
            capture_output=True,
            text=True,
            check=True,
        )
        eventually(
            lambda: any(process_name(process.pid) == "sleep" for process in processes.with_hosts_file(layout.hosts)),
            what=f"job {run.stdout}",
        )
        before = list(processes.with_hosts_file(layout.hosts))
    finally:
        down = command("down", *folder)
    assert down.returncode == 0, down.stderr
    assert not any(leftovers(layout).values()), leftovers(layout)
    assert not any(process.alive for process in before)
    assert command("down", *folder).returncode == 0


def test_created_accounts_are_removed_with_the_last_cluster_and_existing_ones_are_kept(monkeypatch):
    monkeypatch.setattr(users, "FOLDER", Path(f"/var/lib/towpath-test-{os.getpid()}"))
    monkeypatch.setattr(users, "USERS", ("nobody", "towpath-test-a"))
    monkeypatch.setattr(users, "RESTD", "towpath-test-b")
    clusters = [Layout(Path(f"/tmp/towpath-u{number}-{os.getpid()}"), number) for number in (212, 213)]

    def exist():
        return [name for name in ("nobody", "towpath-test-a", "towpath-test-b") if users.exists(name)]

    try:
        for layout in clusters:
            files.claim(layout)
            users.provide(layout)
            assert exist() == ["nobody", "towpath-test-a", "towpath-test-b"]
        assert (users.FOLDER / "home/towpath-test-a").stat().st_mode & 0o777 == 0o700
        assert pwd.getpwnam("towpath-test-a").pw_uid >= 1000 > pwd.getpwnam("towpath-test-b").pw_uid
        users.release(clusters[0])
        assert exist() == ["nobody", "towpath-test-a", "towpath-test-b"]
    finally:
        # The second cluster has crashed and its folder was removed by hand: it no longer counts.
        for layout in clusters:
            files.remove(layout)
        users.release(clusters[0])
    assert exist() == ["nobody"]
    assert not users.FOLDER.exists()


def test_accounts_stay_while_a_folder_with_the_same_number_uses_them(monkeypatch):
    monkeypatch.setattr(users, "FOLDER", Path(f"/var/lib/towpath-test-{os.getpid()}"))
    monkeypatch.setattr(users, "USERS", ("towpath-test-a",))
    monkeypatch.setattr(users, "RESTD", "towpath-test-b")
    pools = [Layout(Path(f"/tmp/towpath-u{name}-{os.getpid()}"), 212) for name in ("one", "two")]
    try:
        for layout in pools:
            layout.folder.mkdir()
            layout.marker.touch()
            users.provide(layout)
        users.release(pools[0])
        assert users.exists("towpath-test-a")
    finally:
        for layout in pools:
            shutil.rmtree(layout.folder)
            users.release(layout)
    assert not users.exists("towpath-test-a")


def process_name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_without_root_the_command_fails_with_a_message(short_folder):
    # other users may not be able to read the checkout
    shutil.copytree(ROOT / "deploy", short_folder / "open" / "deploy")
    short_folder.chmod(0o755)
    for name in ("up", "down"):
        refused = command(name, user="nobody", folder=short_folder / "open")
        assert refused.returncode == 2
        assert refused.stderr == "The cluster needs root: it starts daemons as several users and creates accounts.\n"


def test_a_folder_with_other_content_is_not_touched(tmp_path, capsys):
    folder = Path(f"/tmp/towpath-c-{os.getpid()}")
    folder.mkdir()
    try:
        (folder / "thesis").write_text("years of work")
        assert main(["up", "--folder", str(folder), "--number", "211"]) == 2
        assert main(["down", "--folder", str(folder)]) == 0
        assert (folder / "thesis").read_text() == "years of work"
        assert "has other content" in capsys.readouterr().err
    finally:
        (folder / "thesis").unlink()
        folder.rmdir()
