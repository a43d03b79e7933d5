"""The output of scontrol and sacctmgr of a real cluster, and other possible output, as facts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.contract import LauncherError
from batch.launchers.slurm.catalog import text, text_fields
from batch.launchers.slurm.catalog import text_accounting as accounting
from batch.launchers.slurm.catalog.gather import Accounting, Gatherer, Node, by_hub_user, for_hub_users, with_nodes
from batch.launchers.slurm.catalog.groups import Groups
from batch.launchers.slurm.catalog.tres import gpus_of, names, who
from state.offer.catalog import Account, Association, GpuCount, Grants, Limits, NodeKind, Partition, Qos, Reservation
from tests.batch.launchers.slurm import seen
from tests.conftest import run

GB = 1024**3
MB = 1024**2


def test_nodes_are_read_with_their_state_cores_gpus_and_features():
    cn1, cn2, gn1 = text.nodes_of(seen.text("nodes.txt"))
    assert cn1 == Node(
        name="cn1",
        partitions=("cpu",),
        states=frozenset({"MIXED"}),
        cores=8,
        cores_used=3,
        memory=8000 * MB,
        gpus_used={"": 0},
        features=("avx512", "ib"),
    )
    assert (gn1.gpus, gn1.gpus_used) == ({"a100": 2, "v100": 2}, {"a100": 1, "v100": 0})
    assert (cn1.up, cn1.idle, cn2.up, cn2.idle) == (True, False, False, False)


def test_the_reason_that_an_admin_gives_a_node_is_not_parsed_as_facts():
    (_, cn2, _) = text.nodes_of(seen.text("nodes.txt"))
    assert "Gres=gpu:h100:8" in seen.text("nodes.txt")
    assert cn2.gpus == {}
    assert cn2.states == {"IDLE", "DRAIN"}


def test_partitions_are_read_with_who_may_use_them():
    cpu, gpu = text.partitions_of(seen.text("partitions.txt"))
    each = {"default_memory_per_core": 500 * MB}
    assert cpu == Partition(
        name="cpu", default=True, nodes=2, cores=16, max_walltime=86400, default_walltime=1800, min_nodes=0, **each
    )
    assert gpu == Partition(
        **each,
        name="gpu",
        nodes=1,
        cores=8,
        max_walltime=8 * 3600,
        default_walltime=1800,
        max_nodes=1,
        accounts=("physics",),
        denied_qos=("debug",),
        groups=("alice", "bob"),
    )
    (own,) = text.partitions_of("PartitionName=x QoS=small State=UP")
    assert own.own_qos == "small"
    (over,) = accounting.qos_of("big|5|DenyOnLimit,OverPartQOS" + "|" * 15)
    assert (over.over_partition, over.strict) == (True, True)


def test_partitions_of_root_alone_are_not_offered():
    assert text.partitions_of(
        "PartitionName=admin RootOnly=YES State=UP\nPartitionName=x State=DOWN MaxTime=UNLIMITED"
    ) == [Partition(name="x", state="DOWN")]


def test_reservations_are_read_with_for_whom_they_are():
    course, physics = text.reservations_of(seen.text("reservations.txt"))
    assert (course.name, course.partition, course.nodes, course.users, course.accounts) == (
        "course",
        "cpu",
        1,
        ("alice", "bob"),
        (),
    )
    assert course.end - course.start == 3600
    assert (physics.users, physics.accounts, physics.partition) == ((), ("physics",), "")
    assert text.reservations_of("No reservations in the system\n") == []
    (grouped,) = text.reservations_of(
        "ReservationName=g StartTime=10 EndTime=20 Users=(null) Groups=staff Accounts=(null)"
    )
    assert grouped.users == ("@staff",)  # for no user that we know of, and not for all users


def test_qos_are_read_with_their_limits():
    qos = {one.name: one for one in accounting.qos_of(seen.text("qos.txt"))}
    assert qos["normal"] == Qos(name="normal", priority=10, limits=Limits(job={"walltime": 86400}))
    assert qos["gpuq"] == Qos(name="gpuq", priority=50, limits=Limits(user={"gpus": 2}))
    assert qos["debug"] == Qos(
        name="debug",
        priority=100,
        strict=True,
        limits=Limits(job={"nodes": 2, "walltime": 1800}, user={"cores": 6, "memory": 8 * GB}, running_jobs=2),
    )


def test_grants_are_read_by_user_the_default_account_first():
    grants = accounting.grants_of(seen.text("users.txt"))
    assert set(grants) == {"alice", "bob", "carol", "root"}
    gpu_qos, cpu_qos = ("debug", "gpuq", "normal", "scavenger"), ("debug", "normal", "scavenger")
    assert grants["alice"] == Grants(
        default_account="physics",
        associations=(
            Association(account="physics", qos=gpu_qos, default_qos="normal"),
            Association(account="bio", partition="cpu", qos=cpu_qos, default_qos="normal"),
        ),
    )
    (bob,) = grants["bob"].associations
    job = {"cores": 4, "gpus:a100": 1, "memory": 4 * GB, "walltime": 7200}
    assert bob.limits == Limits(job=job, running_jobs=3, submitted_jobs=9)


# --- odd limits: sacctmgr(1), slurm.conf(5); what tests/cluster/test_odd_clusters.py asks Slurm about


def test_every_limit_of_a_qos_is_read():
    qos = {one.name: one for one in accounting.qos_of(seen.text("odd/qos.txt"))}
    assert {name: one.limits for name, one in qos.items()} == {
        "ofpart": Limits(job={"cores": 3}),
        "mint": Limits(least={"cores": 4, "gpus": 1}),
        "pernode": Limits(node={"cores": 3, "memory": 5000 * MB}),
        "grp": Limits(group={"cores": 5, "memory": 20000 * MB}),
        "mins": Limits(job_time={"cores": 3600, "gpus": 1800}),
        "budget": Limits(budget={"cores": 54000, "walltime": 36000}),
        "spent": Limits(budget={"cores": 0}),
        "peruser": Limits(user={"cores": 12, "gpus:a100": 1}),
        "lifts": Limits(job={"cores": 7}),
        "runs": Limits(run_time={"cores": 7200}),
        "free": Limits(),
    }
    assert all(one.strict for one in qos.values())
    assert qos["lifts"].ignores == ("min_nodes", "max_nodes", "max_walltime")
    (needs,) = accounting.qos_of("r|0|RequiresReservation" + "|" * 15)
    assert needs.needs_reservation


def test_accounts_are_read_with_what_they_are_a_part_of():
    accounts = {one.name: one for one in accounting.accounts_of(seen.text("odd/accounts.txt"))}
    assert accounts["faculty"] == Account(
        name="faculty",
        parent="root",
        limits=Limits(group={"cores": 6}, budget={"cores": 300000, "walltime": 6000}),
    )
    assert (accounts["deep"].parent, accounts["institute"].parent) == ("institute", "faculty")
    (deep,) = [
        one for one in accounting.grants_of(seen.text("odd/users.txt"))["alice"].associations if one.account == "deep"
    ]
    assert deep.limits == Limits(node={"cores": 5}, job_time={"cores": 6000})


def test_the_use_of_budgets_is_read():
    told = (
        seen.text("odd/usage.txt")
        .replace("cpu=900(0)", "cpu=900(17)")
        .replace("GrpWall=600(0.00)", "GrpWall=600(3.70)")
    )
    usage = accounting.usage_of(told.replace("cpu=5000(0)", "cpu=5000(40)"))
    assert usage["qos", "budget"] == {"cores": 1020, "walltime": 180}
    assert usage["account", "faculty", "", ""] == {"cores": 2400, "walltime": 0}
    found = Accounting(
        enforced=True,
        qos=tuple(accounting.qos_of(seen.text("odd/qos.txt"))),
        accounts=tuple(accounting.accounts_of(seen.text("odd/accounts.txt"))),
        grants=accounting.grants_of(seen.text("odd/users.txt")),
    )
    used = accounting.used_by(found, usage)
    assert {one.name: one.limits.used for one in used.qos if one.limits.used} == {
        "budget": {"cores": 1020, "walltime": 180},
        "spent": {"cores": 0},
    }
    assert {one.name: one.limits.used for one in used.accounts if one.limits.used} == {
        "faculty": {"cores": 2400, "walltime": 0}
    }
    assert used.grants == found.grants


def test_every_limit_of_a_partition_is_read():
    found = {one.name: one for one in text.partitions_of(seen.text("odd/partitions.txt"))}
    assert found["minnodes"].min_nodes == 2
    assert found["maxnodes"].max_nodes == 2
    assert found["maxcpus"].max_cores_per_node == 6
    assert found["maxmem"].max_memory_per_node == 20000 * MB
    assert found["mempercpu"].max_memory_per_core == 1000 * MB
    assert found["ofqos"].own_qos == "ofpart"
    assert (found["reserved"].needs_reservation, found["odd"].needs_reservation) == (True, False)
    assert (found["hidden"].hidden, found["odd"].hidden) == (True, False)
    assert (found["empty"].nodes, found["empty"].takes_jobs) == (0, False)
    states = {name: (found[name].state, found[name].takes_jobs) for name in ("odd", "drained", "closed")}
    assert states == {"odd": ("UP", True), "drained": ("DRAIN", False), "closed": ("DOWN", True)}
    assert (found["odd"].default_memory_per_core, found["odd"].default_memory_per_node) == (None, None)


def test_the_clusters_own_limits_on_memory_hold_where_a_partition_has_none():
    partition, settings = (
        Partition(name="p"),
        {"MaxMemPerCPU": "4000", "DefMemPerNode": "UNLIMITED", "DefMemPerCPU": "500"},
    )
    assert text.with_defaults(partition, settings) == Partition(
        name="p", max_memory_per_core=4000 * MB, default_memory_per_core=500 * MB
    )
    own = Partition(name="p", max_memory_per_node=MB)
    assert text.with_defaults(own, settings).max_memory_per_core is None


def test_cores_and_memory_that_are_kept_for_the_system_are_not_for_jobs():
    nodes = {one.name: one for one in text.nodes_of(seen.text("odd/nodes.txt"))}
    assert (nodes["spec1"].cores, nodes["spec1"].memory) == (6, 12000 * MB)


@pytest.mark.parametrize(
    ("states", "up", "drained"),
    [
        ("IDLE", True, False),
        ("IDLE+CLOUD+POWERED_DOWN", True, False),
        ("ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", True, False),
        ("MIXED+CLOUD+POWERING_DOWN", True, False),
        ("IDLE~", True, False),
        ("IDLE#", True, False),
        ("IDLE*", False, False),
        ("DOWN*", False, False),
        ("DOWN+DRAIN", False, False),
        ("IDLE+DRAIN", False, True),
        ("ALLOCATED+DRAIN", False, True),
        ("IDLE+CLOUD+DRAIN+POWERED_DOWN", False, True),
        ("IDLE+MAINTENANCE", False, True),
        ("IDLE+REBOOT_REQUESTED", False, True),
        ("IDLE+FAIL", False, False),
    ],
)
def test_booting_and_powered_down_nodes_are_up_and_drained_ones_are_not_down(states, up, drained):
    """sinfo(1), NODE STATE CODES: of a node, and of all the nodes of a partition."""
    node = Node(name="n", partitions=("p",), states=text.states_of(states), cores=4)
    assert (node.up, node.drained) == (up, drained)
    partition = with_nodes(Partition(name="p"), [node])
    assert (partition.nodes, partition.nodes_up, partition.nodes_drained) == (1, int(up), int(drained))


def test_nodes_that_are_alike_are_one_kind():
    one = Node(
        name="a", partitions=("p",), states=frozenset({"IDLE"}), cores=8, memory=GB, gpus={"a": 2, "b": 1, "shard": 9}
    )
    nodes = [
        one,
        Node(name="b", partitions=("p",), states=one.states, cores=8, memory=GB, gpus={"b": 1, "a": 2, "shard": 9}),
    ]
    off = Node(
        name="c", partitions=("p",), states=frozenset({"IDLE", "POWERED_DOWN"}), cores=8, memory=GB, gpus=one.gpus
    )
    partition = with_nodes(Partition(name="p"), [*nodes, off])
    assert partition.kinds == (
        NodeKind(count=2, cores=8, memory=GB, gpus=one.gpus, any_gpus=3),
        # Slurm has not seen its devices: it gives a job GPUs of one type only
        NodeKind(count=1, cores=8, memory=GB, gpus=one.gpus, any_gpus=2),
    )


def test_nodes_of_a_cloud_that_slurm_does_not_show_are_counted_and_limit_nothing():
    """Before 23.02, without PrivateData=cloud: slurm.conf(5)."""
    shown = Node(name="a", partitions=("p",), states=frozenset({"IDLE"}), cores=8, cores_used=2, memory=GB)
    partition = with_nodes(Partition(name="p", nodes=3, cores=24), [shown])
    assert (partition.nodes, partition.nodes_up, partition.nodes_idle) == (3, 3, 3)
    assert (partition.cores, partition.cores_free, partition.kinds) == (24, 22, ())


@pytest.mark.parametrize(
    ("setting", "binds"),
    [
        ("associations,limits,qos", True),
        ("safe", True),
        ("none", False),
        ("", False),
        ("(null)", False),
        ("nojobs,nosteps", False),
    ],
)
def test_whether_the_accounting_binds(setting, binds):
    assert text.enforces(setting) is binds
    configuration = text.configuration_of(seen.text("config.txt"))
    assert configuration["ClusterName"] == "towpath7"


@pytest.mark.parametrize(
    ("gres", "counts"),
    [
        ("gpu:a100:2(S:0-1),gpu:v100:2", {"a100": 2, "v100": 2}),
        ("gpu:a100_1g.5gb:7(S:0),gpu:a100_3g.20gb:1", {"a100_1g.5gb": 7, "a100_3g.20gb": 1}),
        ("gpu:a100:1,shard:8", {"a100": 1, "shard": 8}),
        ("shard:a100:4(S:0),shard:v100:4", {"shard": 8}),
        ("gpu:a100:1(IDX:0,3),gpu:v100:0(IDX:N/A)", {"a100": 1, "v100": 0}),
        ("shard:a100:3(3/8,0/8)", {"shard": 3}),
        ("gpu:4", {"": 4}),
        ("gpu:(null):1(IDX:0)", {"": 1}),
        ("gpu", {"": 1}),
        ("gpu:1080:2", {"1080": 2}),
        ("craynetwork:4,nic:mlx:2,gpu:h100:1", {"h100": 1}),
        ("(null)", {}),
        ("N/A", {}),
        ("", {}),
        ("gpu:a100:1K", {"a100": 1024}),
    ],
)
def test_gpus_are_counted_by_type(gres, counts):
    assert gpus_of(gres) == counts


@pytest.mark.parametrize(
    ("state", "up", "idle"),
    [
        ("IDLE", True, True),
        ("MIXED", True, False),
        ("ALLOCATED", True, False),
        ("IDLE+CLOUD+POWERED_DOWN", True, True),
        ("IDLE~", True, True),
        ("IDLE*", False, False),
        ("DOWN*+DRAIN", False, False),
        ("MIXED+DRAIN", False, False),
        ("IDLE+MAINT+RESERVED", False, False),
        ("IDLE+PLANNED", True, True),
        ("UNKNOWN", False, False),
        ("", False, False),
    ],
)
def test_which_nodes_start_jobs(state, up, idle):
    node = Node(name="n", partitions=(), states=text.states_of(state))
    assert (node.up, node.idle) == (up, idle)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1-00:00:00", 86400),
        ("08:00:00", 28800),
        ("00:30:00", 1800),
        ("30:00", 1800),
        ("30", 1800),
        ("2-12", 216000),
        ("7-01:30", 610200),
        ("UNLIMITED", None),
        ("NONE", None),
        ("", None),
        ("Partition_Limit", None),
    ],
)
def test_walltimes_are_read(written, seconds):
    assert text_fields.seconds_of(written) == seconds


def test_lists_and_everybody():
    assert (who("ALL"), who(""), who("(null)"), who("a,b")) == (None, None, None, ("a", "b"))
    assert (names("(null)"), names("N/A"), names("a, b,,")) == ((), (), ("a", "b"))
    assert text_fields.memory_of("4G") == 4 * GB
    assert text_fields.memory_of("4000") == 4000 * MB
    assert text_fields.time_of("2026-11-25T14:48:58") == 1795618138.0
    assert text_fields.time_of("Unknown") is None


# --- all of it


class Commands:
    """Answers each command with recorded output, and raises for those that do not answer."""

    def __init__(self, *away: str) -> None:
        self.away = away
        self.asked = []

    async def run(self, argv):
        self.asked.append(argv)
        if argv[0] in self.away or argv[-1] in self.away:
            raise LauncherError("It does not answer.", transient=True)
        for word, file in {
            "node": "nodes",
            "partition": "partitions",
            "reservation": "reservations",
            "config": "config",
        }.items():
            if argv[-1] == word:
                return seen.text(f"{file}.txt")
        return seen.text("qos.txt" if "qos" in argv else "users.txt" if "user" in argv else "accounts.txt")


ALL_USERS = Groups(lambda _: (1, ()), lambda _: 1)


def gathered(*away):
    commands = Commands(*away)
    return run(Gatherer("hpc", text.TextSource(commands.run), ALL_USERS).gather()), commands


def test_the_catalog_shows_what_partitions_have_and_what_is_free():
    offer, commands = gathered()
    cpu, gpu = offer.catalog.partitions
    assert (cpu.nodes, cpu.nodes_up, cpu.nodes_idle, cpu.cores, cpu.cores_free) == (2, 1, 0, 16, 5)
    assert (cpu.cores_per_node, cpu.memory_per_node, cpu.features) == (8, 8000 * MB, ("avx512", "ib"))
    assert gpu.gpus == (
        GpuCount(type="a100", total=2, free=1, per_node=2),
        GpuCount(type="v100", total=2, free=2, per_node=2),
    )
    assert (offer.catalog.cores, offer.catalog.memory) == (24, 24000 * MB)
    assert (offer.catalog.enforced, offer.catalog.notes, offer.catalog.kind) == (True, (), "slurm")
    assert offer.grants["bob"].default_account == "bio"
    assert len(commands.asked) == 7
    assert [one.name for one in offer.catalog.accounts] == ["bio", "physics", "root"]
    assert (offer.catalog.safe, offer.catalog.nested_accounts) == (False, False)
    assert "cluster=towpath7" in commands.asked[-1]


def test_grants_and_reservations_match_hub_users_in_any_case_of_their_accounts():
    given = {"Alice": Grants(default_account="a"), "BOB": Grants(default_account="b"), "bob": Grants(), "x y": Grants()}
    assert by_hub_user(given) == {"alice": Grants(default_account="a"), "bob": Grants()}
    users = ("Alice", "-Bob", "@Staff", "-@Staff")
    assert for_hub_users(Reservation(name="r", start=0, end=1, users=users)).users == (
        "alice",
        "-bob",
        "@Staff",
        "-@Staff",
    )
    (denied,) = text.reservations_of("ReservationName=g StartTime=10 EndTime=20 Users=-Bob Groups=-staff")
    assert denied.users == ("-Bob", "-@staff")


def test_free_gpus_of_a_node_that_is_down_are_not_free():
    down = Node(name="n", partitions=("gpu",), states=frozenset({"DOWN"}), gpus={"a100": 4}, cores=8)
    up = Node(name="m", partitions=("gpu",), states=frozenset({"IDLE"}), gpus={"a100": 2}, gpus_used={"a100": 5})
    partition = with_nodes(Partition(name="gpu"), [down, up])
    assert partition.gpus == (GpuCount(type="a100", total=6, free=0, per_node=4),)
    assert partition.cores_free == 0


def test_without_reservations_the_rest_is_shown_with_a_note():
    offer, _ = gathered("reservation")
    assert offer.catalog.notes == ("Reservations could not be read.",)
    assert len(offer.catalog.partitions) == 2
    assert offer.grants


def test_without_accounting_everybody_may_try_everything():
    offer, _ = gathered("sacctmgr")
    assert not offer.catalog.enforced
    assert offer.grants == {}
    assert "accounting does not answer" in offer.catalog.notes[0]


def test_the_last_answer_of_accounting_is_kept_when_it_becomes_unavailable():
    async def main():
        commands = Commands()
        gatherer = Gatherer("hpc", text.TextSource(commands.run), ALL_USERS)
        before = await gatherer.gather()
        commands.away = ("sacctmgr",)
        after = await gatherer.gather()
        assert after.grants == before.grants
        assert after.catalog.enforced
        assert "last ones known" in after.catalog.notes[0]
        commands.away = ()
        assert (await gatherer.gather()).catalog.notes == ()

    run(main())


@pytest.mark.parametrize("away", ["node", "partition", "scontrol"])
def test_a_controller_that_does_not_answer_is_an_error(away):
    with pytest.raises(LauncherError):
        gathered(away)


@given(st.text())
def test_no_text_breaks_the_parsers(given_):
    for parse in (
        *(text.nodes_of, text.partitions_of, text.reservations_of, text.version_of, text_fields.fields),
        *(accounting.qos_of, accounting.grants_of, accounting.accounts_of, accounting.usage_of),
    ):
        parse(given_)
    text_fields.seconds_of(given_)
    text_fields.memory_of(given_)
    text_fields.time_of(given_)
    gpus_of(given_)


KEYS = [
    *("NodeName", "PartitionName", "ReservationName", "State", "Gres", "GresUsed", "CPUTot", "CPUAlloc", "RealMemory"),
    *("MaxTime", "StartTime", "EndTime", "Users", "Partitions"),
]
lines = st.lists(st.tuples(st.sampled_from(KEYS), st.text(max_size=20)), max_size=10).map(
    lambda pairs: " ".join(f"{key}={value}" for key, value in pairs)
)


@given(
    st.lists(lines), st.lists(st.lists(st.text(alphabet="aé|=,:/-0129GM gres", max_size=10), min_size=8, max_size=11))
)
def test_no_record_breaks_the_parsers(records, rows):
    joined = "\n".join(records)
    for node in text.nodes_of(joined):
        with_nodes(Partition(name="p"), [node])
    text.partitions_of(joined)
    text.reservations_of(joined)
    table = "\n".join("|".join(row) for row in rows)
    accounting.qos_of(table)
    accounting.grants_of(table)
