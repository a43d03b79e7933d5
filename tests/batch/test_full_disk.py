"""A home whose disk or quota is full: the starter keeps running, and reports what cannot be written. A real small disk, as root."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.batch.test_isolation import ALICE, gone, until
from tests.batch.way_in import ATTEMPT, PYTHON, Node, echo

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")

SPARE = Path(f"/tmp/towpath-{ALICE}-{ATTEMPT}")


@pytest.fixture
def node():
    """A node whose home is a disk of 1 MB."""
    node = Node(uid=ALICE)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,uid={ALICE},mode=755", "none", node.home], check=True)
    yield node
    for process in node.processes:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
    until(lambda: subprocess.run(["umount", node.home], capture_output=True).returncode == 0)
    node.close()


def fill(node):
    """Write until nothing more fits, to the last byte."""
    with contextlib.suppress(OSError), (node.home / "full").open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


def notices(node):
    return [report for report in node.hub.reports if report["kind"] == "notice"]


@pytest.mark.parametrize("where", ["{socket}", "{port}"])
def test_an_app_starts_on_a_full_disk_and_the_hub_is_notified(node, where):
    fill(node)
    process = node.start(echo(where))
    assert node.ask(node.ready()).endswith(b"xx")
    until(lambda: notices(node))
    assert notices(node)[0]["code"] == "cannot-write"
    assert "No space left on device" in notices(node)[0]["detail"]
    assert SPARE.lstat().st_mode & 0o777 == 0o700
    assert (SPARE / "app.log").exists()
    process.terminate()
    assert node.hub.wait("ended")["exit_code"] == 143
    process.wait(20)
    assert not SPARE.exists()


def test_an_app_that_fails_on_a_full_disk_is_reported_with_its_own_message(node):
    fill(node)
    code = "import sys; print('cannot save: the disk is full', flush=True); sys.exit(5)"
    node.start((PYTHON, "-c", code, "{socket}"), passport=False)
    report = node.hub.wait("failed")
    assert (report["code"], report["exit_code"]) == ("exited", 5)
    assert "the disk is full" in report["log_tail"]


def test_a_disk_that_fills_later_ends_nothing_and_is_reported_once(node):
    gate = node.home.parent / "gate"
    talks = (
        "import contextlib, threading, time\n"
        "def talk():\n"
        f"    while not os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
        "    with contextlib.suppress(OSError): print('some more words', flush=True)\n"
        "    os._exit(9)\n"
        "threading.Thread(target=talk, daemon=True).start()\n"
    )
    command = echo()
    process = node.start((*command[:4], command[4].replace("where =", talks + "where =", 1), command[5]), guard=True)
    where = node.ready()
    fill(node)
    process.send_signal(10)  # USR1: the warning is written to the log
    assert node.hub.wait("warning")
    until(lambda: notices(node))
    assert node.ask(where).endswith(b"xx")
    gate.touch()
    assert node.hub.wait("ended")["exit_code"] == 9
    assert process.wait(20) == 9
    assert len(notices(node)) == 1


def test_a_folder_that_cannot_be_made_is_replaced_by_one_on_the_nodes_own_disk(node):
    node.start(folder="/proc/no/such/folder")
    assert node.ask(node.ready()).endswith(b"xx")
    until(lambda: notices(node))
    assert notices(node)[0]["detail"].startswith("/proc/no/such/folder: ")


def test_a_quota_that_is_used_up_is_as_a_full_disk(node):
    """No file system with quotas is available here, so the starter's own writes fail as they do with one."""
    text = node.program.read_text()
    assert "        content = content[os.write(fd, content) :]" in text
    refuse = '        raise OSError(122, "Disk quota exceeded")'
    node.program.write_text(text.replace("        content = content[os.write(fd, content) :]", refuse))
    process = node.start()
    assert node.ask(node.ready()).endswith(b"xx")
    until(lambda: notices(node))
    assert "Disk quota exceeded" in notices(node)[0]["detail"]
    process.terminate()
    assert node.hub.wait("ended")
    assert process.wait(20) == 143


def test_neither_disk_nor_hub_keeps_a_job_from_its_end(node):
    fill(node)
    node.hub.close()
    process = node.start(hub_urls=["http://127.0.0.1:9/"])
    until((SPARE / "app.sock").exists)
    children = node.children(process)
    process.terminate()
    assert process.wait(30) in (1, 143)
    for pid in children:
        until(lambda pid=pid: gone(pid))
