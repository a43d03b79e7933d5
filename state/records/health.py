"""What keeps a hub from working: problems, as the processes that find them write them down."""

from typing import Final

from msgspec import Struct

NO_CONTROLLER: Final = "no-controller"
"""No controller has led for a while: nothing starts or stops."""
RESTARTING: Final = "restarting"
"""A process of the hub ends again and again."""
CLUSTER_SILENT: Final = "cluster-silent"
"""A cluster has not answered for a while: its servers are shown as they were, and nothing is cancelled."""

PART_SILENT: Final = "part-silent"
"""A part of a cluster, such as a host, cannot be used now; the others can."""


class Problem(Struct, frozen=True, kw_only=True):
    """One problem. `part` is the process it is about; `message` is a sentence for admins.

    `since` and `seen`: when it began, and when it was last found, in seconds since the epoch.
    """

    code: str
    part: str
    host: str
    message: str
    since: float
    seen: float = 0.0
