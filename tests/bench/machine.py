"""The machine: cores, memory, versions, stolen time, and the memory of processes. Reads /proc; names no host."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_ticks() -> tuple[int, int]:
    """Return stolen and total CPU time so far, in ticks."""
    first = Path("/proc/stat").read_text().splitlines()[0]
    fields = [int(field) for field in first.split()[1:9]]
    return fields[7], sum(fields)


class StealMeter:
    """Measures the share of CPU time that the hypervisor took since its creation."""

    def __init__(self) -> None:
        self.stolen, self.total = cpu_ticks()

    def share(self) -> float:
        """Return the share, 0 to 1."""
        stolen, total = cpu_ticks()
        return (stolen - self.stolen) / max(1, total - self.total)


def status(pid: int, key: str) -> int:
    """Return a size from /proc/PID/status (`VmRSS`, `VmHWM`) in bytes, or 0 if the process has ended."""
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), flags=re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def pss(pid: int) -> int:
    """Return the proportional set size in bytes."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def forget_peak(pid: int) -> None:
    """Reset the peak memory of a process (`VmHWM`) to its current memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def command_line(pid: int) -> str:
    """Return the arguments of a process, joined by spaces, or `""` if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def versions(python: str, *packages: str) -> list[str]:
    """Return the versions of packages in an interpreter's environment."""
    script = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    return _said(python, "-c", script, *packages).split()[: len(packages)]


def described(bench_python: str) -> dict[str, str]:
    """Return a description of the machine for the report."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), flags=re.MULTILINE)
    jupyterhub, picows = versions(bench_python, "jupyterhub", "picows")
    nginx = re.search(r"nginx/([0-9.]+)", _said("/usr/sbin/nginx", "-v"))
    wrk = re.search(r"wrk \S*?([0-9]+\.[0-9.]+)", _said("wrk", "-v"))
    return {
        "cores": str(cores()),
        "processor": model[1] if model else platform.machine(),
        "memory": f"{int(memory[1]) / 2**20:.0f} GB" if memory else "unknown",
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
        "Granian": version("granian"),
        "uvloop": version("uvloop"),
        "configurable-http-proxy": "5.3.0",
        "Node": _said("node", "--version").lstrip("v"),
        "nginx": nginx[1] if nginx else "unknown",
        "JupyterHub": jupyterhub,
        "picows": picows,
        "wrk": wrk[1] if wrk else "unknown",
    }
