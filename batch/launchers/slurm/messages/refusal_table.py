"""The errors of Slurm for submit, poll and cancel: their meaning, what to do, and whether a retry may help.

Owns the table. Pure data. Sources: slurm/slurm_errno.h (numbers), `slurm_strerror` (texts), Slurm 22.05 to 26.05.
"""

from typing import Final

from msgspec import Struct

PICK_ANOTHER: Final = "Pick another one, or ask the cluster's admins."
LESS: Final = "Request less, or pick another partition."
WAITS: Final = "The hub tries again automatically."


class Refusal(Struct, frozen=True, kw_only=True):
    """One row.

    It applies to these `numbers` of slurm_errno.h, and to errors with one of these texts (in lower case).
    """

    code: str
    message: str
    hint: str = ""
    field: str = ""
    transient: bool = False
    numbers: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()


TABLE: Final[tuple[Refusal, ...]] = (
    # --- the request
    Refusal(
        code="partition",
        message="This partition does not exist.",
        hint=PICK_ANOTHER,
        field="partition",
        numbers=(2000,),
        texts=("invalid partition name specified", "invalid partition specified"),
    ),
    Refusal(
        code="partition",
        message="The cluster has no default partition.",
        hint="Pick a partition.",
        field="partition",
        numbers=(2001,),
        texts=("no partition specified or system default partition",),
    ),
    Refusal(
        code="partition-groups",
        message="This partition is only for members of certain groups, and you are in none of them.",
        hint=PICK_ANOTHER,
        field="partition",
        numbers=(2003,),
        texts=("user's group not permitted to use this partition",),
    ),
    Refusal(
        code="partition-closed",
        message="This partition takes no new jobs now.",
        hint="Pick another one, or try again when the admins have opened it.",
        field="partition",
        numbers=(2070, 2101),
        texts=("required partition not available", "partition in down state"),
    ),
    Refusal(
        code="partition-limits",
        message="The job asks for more than this partition allows.",
        hint=LESS,
        field="partition",
        numbers=(2015,),
        texts=("requested partition configuration not available",),
    ),
    Refusal(
        code="partition-account",
        message="Only one partition can be named, because your account is limited to certain partitions.",
        hint="Pick a single partition.",
        field="partition",
        numbers=(2130,),
        texts=("multiple partition job request not supported",),
    ),
    Refusal(
        code="account",
        message="You cannot use this account, or not in this partition.",
        hint="Pick another account or partition, or ask the cluster's admins.",
        field="account",
        numbers=(2045,),
        texts=("invalid account or account/partition combination", "invalid account specified"),
    ),
    Refusal(
        code="qos",
        message="You cannot use this QOS.",
        hint="Pick another QOS, or ask the cluster's admins.",
        field="qos",
        numbers=(2066,),
        texts=("invalid qos specification",),
    ),
    Refusal(
        code="qos",
        message="This account has used too much recently for this QOS.",
        hint="Pick another QOS, or wait until the account's share recovers.",
        field="qos",
        numbers=(2074,),
        texts=("breached requested qos usage threshold",),
    ),
    Refusal(
        code="gpus",
        message="The cluster does not have such GPUs.",
        hint="Pick another type of GPU, or fewer of them.",
        field="gpus",
        numbers=(2072, 2102, 2115, 2119, 2122, 2134),
        texts=(
            "invalid generic resource (gres) specification",
            "duplicate generic resource (gres)",
            "invalid trackable resource (tres) specification",
            "invalid gres specification (with and without type",
            "requested gres option unsupported",
            "insufficient gres available",
            "invalid tres specification",
        ),
    ),
    Refusal(
        code="memory",
        message="No node of this partition has that much memory.",
        hint="Request less memory, or pick another partition.",
        field="memory",
        numbers=(2044,),
        texts=("memory required by task is not available", "memory specification can not be satisfied"),
    ),
    Refusal(
        code="nodes",
        message="No node of this partition has what the job asks for.",
        hint="Ask for fewer GPUs or cores, less memory or another constraint, or pick another partition.",
        field="partition",
        numbers=(2014,),
        texts=("requested node configuration is not available",),
    ),
    Refusal(
        code="cores",
        message="The job asks for more cores than are allowed, or than there are.",
        hint="Ask for fewer cores.",
        field="cores",
        numbers=(2005, 2069, 2132),
        texts=(
            "more processors requested than permitted",
            "cpu count specification invalid",
            "cpu count per node can not",
        ),
    ),
    Refusal(
        code="nodes",
        message="This partition does not allow, or does not have, this number of nodes.",
        hint="Ask for fewer nodes, or pick another partition.",
        field="nodes",
        numbers=(2006, 2004),
        texts=("node count specification invalid", "invalid node count", "requested nodes not in this partition"),
    ),
    Refusal(
        code="nodes",
        message="The job names a node that does not exist.",
        hint="Tell the hub's admins.",
        numbers=(2018,),
        texts=("invalid node name specified",),
    ),
    Refusal(
        code="walltime",
        message="The time limit is longer than allowed here.",
        hint="Ask for a shorter time limit, or pick another partition or QOS.",
        field="walltime",
        numbers=(2051, 2124, 8000),
        texts=(
            "requested time limit is invalid",
            "time limit specification required",
            "invalid time limit specification",
        ),
    ),
    Refusal(
        code="constraint",
        message="The cluster has no nodes with this feature.",
        hint="Pick another constraint, or none.",
        field="constraint",
        numbers=(2029, 2114, 2133),
        texts=("invalid feature specification", "invalid preferred feature", "invalid constraint"),
    ),
    Refusal(
        code="reservation",
        message="You cannot use this reservation.",
        hint="Pick another one, or none.",
        field="reservation",
        numbers=(2052,),
        texts=("access denied to requested reservation",),
    ),
    Refusal(
        code="reservation",
        message="This reservation does not exist, or is not for this account and partition.",
        hint="Pick another one, or none.",
        field="reservation",
        numbers=(2053,),
        texts=("requested reservation is invalid",),
    ),
    Refusal(
        code="reservation",
        message="This reservation cannot be used now.",
        hint="Pick another one, or none, or try again when it has begun.",
        field="reservation",
        numbers=(2055, 2056, 2118),
        texts=("requested reservation not usable now", "requested reservation is in use", "maintenance reservation"),
    ),
    Refusal(
        code="node-down",
        message="The nodes that the job asks for are down, drained or reserved.",
        hint="Pick another partition, or try again later.",
        field="partition",
        numbers=(2068,),
        texts=("required node not available",),
    ),
    Refusal(
        code="licences",
        message="The cluster does not have the licence that the job asks for.",
        hint="Tell the hub's admins.",
        numbers=(2040, 2048),
        texts=("invalid license specification", "licenses currently unavailable"),
    ),
    Refusal(
        code="limit",
        message="The job exceeds a limit of your account or of the QOS.",
        hint="Request less or a shorter time limit, stop another server or job, or pick another QOS or account.",
        field="qos",
        numbers=(2050,),
        texts=("job violates accounting/qos policy",),
    ),
    # --- who asks
    Refusal(
        code="user",
        message="Slurm has no account for you.",
        hint="Ask the cluster's admins for an account.",
        field="account",
        numbers=(2010, 2113, 2169, 2170, 2171),
        texts=("invalid user id", "invalid group id", "unable to resolve user id", "invalid or unknown association"),
    ),
    Refusal(
        code="denied",
        message="Slurm does not permit this.",
        hint="Ask the cluster's admins.",
        numbers=(2002,),
        texts=("access/permission denied",),
    ),
    Refusal(
        code="folder",
        message="The working directory cannot be used.",
        hint="Tell the hub's admins.",
        numbers=(2063, 2012),
        texts=("without the current working directory", "pathname of a file, directory or other parameter too long"),
    ),
    Refusal(
        code="site",
        message="A rule of this cluster refuses the job, and gives no reason.",
        hint="Change the request, or ask the cluster's admins.",
        numbers=(-1,),
        texts=("unspecified error", "cli_filter plugin terminated with error"),
    ),
    # --- the cluster as it is now
    Refusal(
        code="closed",
        message="The cluster takes no new jobs now.",
        hint="Try again when the admins have opened it.",
        numbers=(2037, 2105),
        texts=("system submissions disabled", "requested operation is presently disabled"),
    ),
    Refusal(
        code="queue-full",
        message="The cluster's queue is full.",
        hint=WAITS,
        transient=True,
        numbers=(2007,),
        texts=("maxjobcount limit reached",),
    ),
    Refusal(
        code="scheduler-busy",
        message="Slurm is very busy.",
        hint=WAITS,
        transient=True,
        numbers=(11, 1804, 1805, 2061, 5004, 5005, 1020, 1021, 1022),
        texts=(
            "resource temporarily unavailable",
            "rate limit exceeded",
            "temporarily unable to accept job",
            "prologslurmctld is still running",
            "socket timed out on send/recv",
            "zero bytes were transmitted",
            "connection timed out",
        ),
    ),
    Refusal(
        code="accounting-away",
        message="Slurm's accounting does not respond.",
        hint=WAITS,
        transient=True,
        numbers=(7000, 7008),
        texts=(
            "unable to connect to database",
            "slurm_persist_conn_open",
            "talking to the database",
            "database connection reference is invalid",
        ),
    ),
    Refusal(
        code="authentication",
        message="Slurm's authentication (munge or a token) does not work now.",
        hint="Tell the hub's admins. " + WAITS,
        transient=True,
        numbers=(1007, 6000, 6001, 6007, 9008),
        texts=(
            "protocol authentication error",
            "munge",
            "invalid authentication credential",
            "authentication credential expired",
            "authentication failure",
            "cannot unpack credential",
        ),
    ),
    Refusal(
        code="scheduler-away",
        message="Slurm does not respond.",
        hint=WAITS,
        transient=True,
        numbers=(1001, 1002, 1003, 1004, 1025, 1800, 1801, 1802, 1803, 2027, 2131, 5003),
        texts=(
            "unable to contact slurm controller",
            "communication connection failure",
            "message send failure",
            "message receive failure",
            "communication shutdown failure",
            "connection refused",
            "connection reset by peer",
            "broken pipe",
            "no route to host",
            "network is unreachable",
            "standby mode",
            "is shutting down",
            "header lengths are longer",
        ),
    ),
    Refusal(
        code="configuration",
        message="The hub is not configured correctly for this Slurm.",
        hint="Tell the hub's admins.",
        numbers=(1005, 1006, 13000),
        texts=(
            "incompatible versions of client and server",
            "cannot stat file",
            "could not establish a configuration source",
            "unrecognized option",
            "invalid option",
            "unable to process configuration file",
        ),
    ),
)
