"""Which host a job is placed on, and which of its GPUs it gets. Pure.

A host has left what it has, less the shares of the hub's jobs on it, and no more memory than the machine reports as
available. GPUs that any process uses are not assigned.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from batch.contract import LauncherError, Resources

GIB: Final = 1024**3
ANY_HOST: Final = "any"
"""The partition that means any host with room. No host may have this name."""
_LABEL: Final = re.compile(r"c(\d+),m(\d+),g((?:\d+(?:\.\d+)*)?)")


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU of a host."""

    index: int
    type: str
    uuid: str = ""
    used: bool = False


class Share(Struct, frozen=True, kw_only=True):
    """The share of one job: cores, bytes of memory, the indexes of its GPUs. 0: none was requested."""

    cores: int = 0
    memory: int = 0
    gpus: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """Return the text for the command line of the job's starter."""
        return f"c{self.cores},m{self.memory},g{'.'.join(map(str, self.gpus))}"


def share_of(label: str) -> Share:
    """Parse `Share.label`; a text that is not one gives an empty share, because jobs can write anything."""
    found = _LABEL.fullmatch(label)
    if found is None:
        return Share()
    gpus = tuple(int(index) for index in found[3].split(".")) if found[3] else ()
    return Share(cores=int(found[1]), memory=int(found[2]), gpus=gpus)


class HostFacts(Struct, frozen=True, kw_only=True):
    """What a host has (sizes in bytes), and the shares of the hub's jobs on it: (user, share)."""

    name: str
    cores: int
    memory: int
    memory_available: int
    load: float = 0.0
    gpus: tuple[Gpu, ...] = ()
    shares: tuple[tuple[str, Share], ...] = ()
    max_servers: int = 0

    @property
    def cores_free(self) -> int:
        """Return the cores that are in no job's share."""
        return max(0, self.cores - sum(share.cores for _, share in self.shares))

    @property
    def memory_free(self) -> int:
        """Return the memory that is in no job's share, and that the machine still has."""
        reserved = sum(share.memory for _, share in self.shares)
        return max(0, min(self.memory - reserved, self.memory_available))

    @property
    def gpus_free(self) -> tuple[Gpu, ...]:
        """Return the GPUs that are in no job's share, and that no process uses."""
        assigned = {index for _, share in self.shares for index in share.gpus}
        return tuple(gpu for gpu in self.gpus if gpu.index not in assigned and not gpu.used)

    @property
    def full(self) -> bool:
        """Return whether it runs its maximum number of servers."""
        return self.max_servers > 0 and len(self.shares) >= self.max_servers


class Choice(Struct, frozen=True, kw_only=True):
    """A host, and what the job gets there."""

    host: str
    share: Share


def gpu_count(resources: Resources) -> int:
    """Return the number of requested GPUs: one if only a type is named."""
    return resources.gpus if resources.gpus is not None else int(bool(resources.gpu_type))


def choose(resources: Resources, hosts: Sequence[HostFacts], *, silent: Mapping[str, str], cluster: str) -> Choice:
    """Return the host with the most room for this job. `silent`: hosts that cannot be used now, with the reason.

    Raises LauncherError: transient if the job fits later, or on a host that does not answer now.
    """
    host_name = "" if resources.partition == ANY_HOST else resources.partition
    if host_name and host_name not in silent and host_name not in {host.name for host in hosts}:
        raise LauncherError(
            f"{cluster} has no host named {host_name}.", transient=False, code="host", field="partition",
            hint="Choose another host.",
        )  # fmt: skip
    if host_name in silent:
        raise LauncherError(silent[host_name], transient=True, code="host-silent", field="partition")
    able = [host for host in hosts if host_name in ("", host.name)]
    if not able:
        raise LauncherError(f"No host of {cluster} can be used now.", transient=True, code="no-host")
    large = [host for host in able if _lack(resources, host) is None]
    if not large:
        if silent and not host_name:
            raise LauncherError(
                f"No host of {cluster} that can be used now is large enough.", transient=True, code="no-host"
            )
        largest = max(able, key=lambda host: (len(host.gpus), host.memory))
        field, sentence = _lack(resources, largest) or ("", "")
        where = host_name or f"No host of {cluster}"
        raise LauncherError(
            f"{where} {'does not have' if host_name else 'has'} {sentence}.", transient=False, code=field, field=field,
            hint="Request fewer resources.",
        )  # fmt: skip
    fitting = [host for host in large if not host.full and _fits(resources, host)]
    if not fitting:
        what = host_name or f"Every host of {cluster}"
        raise LauncherError(f"{what} is fully used. The server starts when there is room.", transient=True, code="full")
    best = min(fitting, key=lambda host: _rank(resources, host))
    return Choice(host=best.name, share=share_on(resources, best))


def in_turn(earlier: Sequence[Resources], hosts: Sequence[HostFacts], *, cluster: str) -> list[HostFacts]:
    """Return the hosts after placing the jobs that have waited longer, so that no job overtakes them."""
    left = {host.name: host for host in hosts}
    for resources in earlier:
        try:
            choice = choose(resources, list(left.values()), silent={}, cluster=cluster)
        except LauncherError:
            continue  # there is no room for it: other jobs may have what it cannot use
        host = left[choice.host]
        left[choice.host] = replace(host, shares=(*host.shares, ("", choice.share)))
    return list(left.values())


def share_on(resources: Resources, host: HostFacts) -> Share:
    """Return the share of a job that fits on this host."""
    free = [gpu.index for gpu in host.gpus_free if resources.gpu_type in ("", gpu.type)]
    return Share(
        cores=resources.cores or 0,
        memory=resources.memory or 0,
        gpus=tuple(sorted(free)[: gpu_count(resources)]),
    )


def _lack(resources: Resources, host: HostFacts) -> tuple[str, str] | None:
    """Return (field, what the host lacks) for a job that it can never run; None: it can."""
    count, kind = gpu_count(resources), resources.gpu_type
    if count > sum(kind in ("", gpu.type) for gpu in host.gpus):
        return ("gpus" if resources.gpus else "gpu"), f"{count} {f'{kind} ' if kind else ''}GPU{'s' * (count > 1)}"
    if (resources.cores or 0) > host.cores:
        return "cores", f"{resources.cores} cores"
    if (resources.memory or 0) > host.memory:
        return "memory", f"{(resources.memory or 0) / GIB:.0f} GiB of memory"
    return None


def _fits(resources: Resources, host: HostFacts) -> bool:
    free = [gpu for gpu in host.gpus_free if resources.gpu_type in ("", gpu.type)]
    return (
        gpu_count(resources) <= len(free)
        and (resources.cores or 0) <= host.cores_free
        and (resources.memory or 0) <= host.memory_free
    )


def _rank(resources: Resources, host: HostFacts) -> tuple[object, ...]:
    """Return the sort key of a host; the lowest is best.

    No GPU host for a job without GPUs, then the most memory and cores left, then the least load.
    """
    idle_gpus = len(host.gpus) if gpu_count(resources) == 0 else 0
    left = host.memory_free / host.memory if host.memory else 0.0
    return (idle_gpus, len(host.shares), -round(left, 1), host.load, host.name)
