"""Problems that keep a hub from working, as reported by the processes that find them."""

from typing import Final

from msgspec import Struct

NO_CONTROLLER: Final = "no-controller"
"""No controller has been leading for a while: servers cannot be started or stopped."""
RESTARTING: Final = "restarting"
"""A process of the hub exits repeatedly."""
CLUSTER_SILENT: Final = "cluster-silent"
"""A cluster has not answered for a while: its servers keep their last state, and nothing is cancelled."""

PART_SILENT: Final = "part-silent"
"""A part of a cluster, such as a host, cannot be used now; the others can."""


class Problem(Struct, frozen=True, kw_only=True):
    """One problem. `part` is the affected process or cluster; `message` is for admins.

    `reporter`: the id of the hub process that reports it, because several can have one host name (containers on one
    volume, copies of one machine). `""`: a cluster, which only the leading controller reports.
    `since` and `seen`: when it began and when it was last found, in seconds since the epoch.
    """

    code: str
    part: str
    host: str
    message: str
    since: float
    seen: float = 0.0
    reporter: str = ""
