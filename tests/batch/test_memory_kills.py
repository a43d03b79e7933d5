"""A process that the kernel kills for memory is told, in real control groups (version 1, as root), and for the right job."""

import os
import secrets
import signal
from pathlib import Path

import pytest

from batch.starter import memory
from batch.starter.memory import MemoryKills, find_group
from tests.batch.test_way_in import until
from tests.batch.way_in import ATTEMPT, PYTHON, Node, echo

MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT = 64 * 1024 * 1024
EATER = "import mmap; held = mmap.mmap(-1, 2**28); held.write(b'x' * 2**28)"
real = pytest.mark.skipif(
    os.geteuid() != 0 or not (MEMORY / "memory.oom_control").exists(), reason="makes control groups of version 1"
)


@pytest.fixture
def group():
    """A control group as Slurm makes one for a job, with 64 MiB."""
    job = str(secrets.randbelow(10**9))
    folder = MEMORY / f"towpath-test-{job}" / f"job_{job}"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    step = folder / "step_batch"
    step.mkdir()
    yield step, job
    for one in (step, folder, folder.parent):
        until(lambda one=one: not one.exists() or removed(one))


def removed(folder):
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


@pytest.fixture
def node():
    node = Node()
    yield node
    node.close()


def start(node, step, job, command=None):
    """Run the starter in the control group."""
    enter = f'echo $$ > {step}/cgroup.procs && exec "$@"'
    return node.start(command, own={"SLURM_JOB_ID": job}, wrapper=("/bin/sh", "-c", enter, "sh"))


def notices(node):
    return [one for one in node.hub.reports if one["kind"] == "notice"]


@real
def test_a_kernel_that_is_killed_for_memory_is_reported_and_the_server_continues(group, node):
    spawn = f"import subprocess\nsubprocess.run([{PYTHON!r}, '-c', {EATER!r}])\n"
    command = echo()
    begin = command[4].replace(
        "while True:\n    threading",
        f"threading.Thread(target=lambda: exec({spawn!r})).start()\nwhile True:\n    threading",
    )
    assert begin != command[4]
    start(node, *group, (*command[:4], begin, command[5]))
    where = node.ready()
    until(lambda: notices(node))
    assert notices(node)[0]["code"] == "killed-for-memory"
    assert notices(node)[0]["detail"] == "limit 64 MiB, processes killed so far: 1"
    assert node.ask(where).endswith(b"xx")
    assert f"[towpath job={group[1]}] A process of this job was killed" in (node.home / "job" / "app.log").read_text()


@real
@pytest.mark.parametrize("when", ["ended", "failed"])
def test_an_app_that_is_killed_for_memory_is_reported_as_out_of_memory(group, node, when):
    gate = node.root / "gate"
    eat = f"import time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)\n{EATER}"
    code = f"threading.Thread(target=lambda: exec({eat!r})).start()\n" if when == "ended" else f"{EATER}\n"
    command = echo()
    start(node, *group, (*command[:4], command[4].replace("sock.listen", code + "sock.listen"), command[5]))
    if when == "ended":
        node.ready()
        gate.touch()
    report = node.hub.wait(when, 60)
    assert (report["code"], report["exit_code"]) == ("out-of-memory", 128 + signal.SIGKILL)
    assert report["message"] == "The server ran out of memory (limit 64 MiB)."
    assert "more memory" in report["hint"]


def test_the_control_group_is_found_in_both_versions():
    groups = "4:memory,pids:/slurm/uid_1/job_7/step_batch\n0::/system.slice/job_7/step_batch/user/task_0\n"
    first = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory,pids\n"
    second = "31 24 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    below = "31 24 0:28 /system.slice/job_7 /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
    assert find_group(groups, second + first) == ("/sys/fs/cgroup/memory/slurm/uid_1/job_7/step_batch", 1)
    assert find_group(groups, second) == ("/sys/fs/cgroup/system.slice/job_7/step_batch/user/task_0", 2)
    assert find_group(groups, below) == ("/sys/fs/cgroup/step_batch/user/task_0", 2)
    over = "99 35 0:32 /slurm /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,pids\n"
    assert find_group(groups, first + over) == ("/sys/fs/cgroup/memory/uid_1/job_7/step_batch", 1)
    assert find_group(groups, "") == ("", 2)


@pytest.mark.parametrize(
    ("folder", "reads"),
    [
        ("job_7/step_batch", True),
        ("towpath-ATTEMPT.service", True),
        ("job_77/step_batch", False),  # another job's
        ("system.slice/slurmd.service", False),  # shared with others
    ],
)
def test_only_the_jobs_own_control_group_is_read(tmp_path, monkeypatch, folder, reads):
    place = tmp_path / folder.replace("ATTEMPT", ATTEMPT)
    place.mkdir(parents=True)
    events = place / "memory.events"
    events.write_text("low 0\noom 3\noom_kill 3\noom_group_kill 0\n")
    (place / "memory.max").write_text("max\n")
    (place.parent / "memory.max").write_text(str(3 * 2**29))
    monkeypatch.setattr(memory, "find_group", lambda groups, mounts: (str(place), 2))
    kills = MemoryKills(ATTEMPT, {"SLURM_JOB_ID": "7"})
    assert kills.news() == ""  # those before us are not ours to tell
    events.write_text("low 0\noom 5\noom_kill 5\noom_group_kill 0\n")
    assert kills.news() == ("limit 1.5 GiB, processes killed so far: 2" if reads else "")
    assert kills.news() == ""
