"""What this host has, what is free, and which jobs of the hub run on it."""

import os
import pwd
import subprocess
import sys
import time

from batch.launchers.ssh.remote.processes import marked
from batch.starter.files import read_file
from batch.starter.processes import boot_id, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GPU_SECONDS = 20


def probe(request: "dict[str, Any]") -> "dict[str, Any]":
    """Return the processes of jobs; with `resources`, also what the host has."""
    found = {
        "boot": boot_id(),
        "jobs": [with_account(process) for process in marked()],
        "sees_all": start_time(1) > 0,  # otherwise /proc only shows our own processes (hidepid)
    }
    if request.get("resources"):
        found.update(resources())
    return found


def with_account(process: "dict[str, Any]") -> "dict[str, Any]":
    """Return the process with its account's name, or its uid if that has none."""
    uid = process.pop("uid")
    try:
        process["account"] = pwd.getpwuid(uid).pw_name
    except KeyError:
        process["account"] = str(uid)
    return process


def resources() -> "dict[str, Any]":
    """Return cores, memory (bytes), load and GPUs."""
    memory = {}
    for line in read_file("/proc/meminfo").decode("ascii", "replace").splitlines():
        parts = line.split()
        if len(parts) > 1 and parts[1].isdigit():
            memory[parts[0].rstrip(":")] = int(parts[1]) * 1024
    gpus, note = gpu_list()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory": memory.get("MemTotal", 0),
        "memory_available": memory.get("MemAvailable", memory.get("MemFree", 0)),
        "load": os.getloadavg()[0],
        "gpus": gpus,
        "gpu_note": note,
        "time": time.time(),
        "python": "%d.%d" % sys.version_info[:2],
        "systemd": os.path.isdir("/run/systemd/system"),
    }


def gpu_list() -> "tuple[list[dict[str, Any]], str]":
    """Return the NVIDIA GPUs and which of them any process uses, or why they are not known."""
    try:
        cards = smi("--query-gpu=index,uuid,name")
        used = {row[0] for row in smi("--query-compute-apps=gpu_uuid")}
    except FileNotFoundError:
        return [], ""
    except (OSError, subprocess.SubprocessError) as error:
        return [], "nvidia-smi failed: %s" % error
    return [
        {"index": int(row[0]), "uuid": row[1], "name": row[2], "used": row[1] in used}
        for row in cards
        if len(row) == 3 and row[0].isdigit()
    ], ""


def smi(query: str) -> "list[list[str]]":
    """Return the rows of nvidia-smi's output."""
    done = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader,nounits"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=GPU_SECONDS, check=True,
    )  # fmt: skip
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]
