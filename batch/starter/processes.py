"""Which process a pid means: a pid alone may be another process's by now."""

from batch.starter.files import read_file


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since boot (proc(5), field 22); 0: there is none."""
    try:
        return int(read_file("/proc/%d/stat" % pid).rsplit(b")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def boot_id() -> str:
    """The id of this boot of the machine; `""`: not known."""
    try:
        return read_file("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
    except OSError:
        return ""
