"""The answers of hosts, as values. Pure."""

from typing import Any

from msgspec import Struct

from batch.launchers.ssh.placement import Gpu


class Process(Struct, kw_only=True):
    """A starter that runs on a host. `account` is the owner of the process."""

    attempt: str
    label: str
    pid: int
    start: int
    account: str


class Scan(Struct, kw_only=True):
    """The starters on a host. `sees_all`: the monitor can see processes of other accounts."""

    boot: str
    jobs: list[Process]
    sees_all: bool = True


class RawGpu(Struct, kw_only=True):
    """One GPU as nvidia-smi names it."""

    index: int
    name: str
    uuid: str = ""
    used: bool = False


class HostResources(Scan, kw_only=True):
    """The starters on a host, and what the host has. Sizes are in bytes."""

    cores: int
    memory: int
    memory_available: int
    load: float = 0.0
    gpus: list[RawGpu] = []
    gpu_note: str = ""
    python: str = ""
    systemd: bool = False


class Account(Struct, kw_only=True):
    """What a host knows about an account."""

    found: bool
    uid: int = 0
    gid: int = 0
    home: str = ""
    shell: str = ""
    root_group: bool = False


class Started(Struct, kw_only=True):
    """The result of a start: who runs the job, that it was cancelled before, or that the starter must be sent."""

    job: dict[str, Any] | None = None
    canceled: bool = False
    need: str = ""
    existing: bool = False


def gpu_of(raw: RawGpu) -> Gpu:
    """Return a GPU with a short type: `NVIDIA A100-SXM4-80GB` becomes `a100-sxm4-80gb`."""
    name = raw.name.lower().removeprefix("nvidia ").removeprefix("tesla ")
    kind = "-".join("".join(one if one.isalnum() or one in "-._" else " " for one in name).split())
    return Gpu(index=raw.index, type=kind or "gpu", uuid=raw.uuid, used=raw.used)
