"""What goes together on a cluster for one user: partitions, accounts, QOS, limits and which one binds."""

import pytest
from catalogs import ALICE, ALL, CATALOG, CPU, FIXED, GIB, GPU, HOUR
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from state.config.tables import OptionConfig, ProfileConfig, ResourcesConfig
from state.errors import ChoicesError
from state.offer.catalog import (
    DOWN,
    Account,
    Association,
    Catalog,
    GpuCount,
    Grants,
    Limits,
    NodeKind,
    Partition,
    Qos,
    Reservation,
)
from state.offer.choices import choose
from state.offer.combinations import Facts, names_of, ways
from state.offer.limits import bounds
from state.offer.nothing import why_nothing
from state.offer.quantities import memory_of, walltime_of
from state.offer.way import Request, Rules, Way

FACTS = Facts(catalog=CATALOG, grants=ALICE, user="alice")
DEFAULTS = {
    "partition": "cpu", "account": "bio", "qos": "normal", "reservation": "", "gpu": "", "gpus": 0, "cores": 2,
    "memory": "4G", "time": "01:00:00", "note": "",
}  # fmt: skip


def wrong(picked, profile=ALL, facts=FACTS):
    with pytest.raises(ChoicesError) as caught:
        choose(profile, picked, facts)
    return caught.value.fields


def partitions(profile=ALL, facts=FACTS):
    return names_of(way.partition.name for way in ways(profile, facts))


def without(name):
    return replace(ALL, option={key: option for key, option in ALL.option.items() if key != name})


# --- who is let in ---------------------------------------------------------------------------------------------
def test_a_partition_that_lets_none_of_the_accounts_in_is_not_there():
    assert partitions() == ["cpu", "gpu", "old"]
    assert partitions(facts=replace(FACTS, grants=Grants())) == []


@pytest.mark.parametrize(
    ("partition", "there"),
    [
        (replace(CPU, accounts=("bio",)), True),
        (replace(CPU, accounts=()), False),
        (replace(CPU, accounts=("others",)), False),
        (replace(CPU, denied_accounts=("bio", "physics")), False),
        (replace(CPU, denied_accounts=("bio",)), True),
        (replace(CPU, accounts=("bio",), denied_accounts=("bio",)), True),  # slurm.conf(5): an allow list comes first
        (replace(CPU, qos=("long",)), True),
        (replace(CPU, qos=("none",)), False),
        (replace(CPU, denied_qos=("normal", "long", "gpuq")), False),
        (replace(CPU, groups=()), False),
        (replace(CPU, groups=("chem",)), False),
        (replace(CPU, groups=("chem", "staff")), True),
    ],
)
def test_allow_and_deny_lists_are_honoured(partition, there):
    catalog = replace(CATALOG, partitions=(partition,))
    assert bool(partitions(facts=replace(FACTS, catalog=catalog, grants=replace(ALICE, groups=("staff",))))) is there


@pytest.mark.parametrize(
    ("lists", "there"),
    [
        ({"accounts": ("FACULTY",)}, True),
        ({"accounts": ("Institute",)}, True),
        ({"accounts": ("other",)}, False),
        ({"denied_accounts": ("Faculty",)}, False),
        ({"denied_accounts": ("other",)}, True),
        ({"accounts": ("FÍSICA",)}, False),  # strcasecmp(3) knows ASCII letters only
        ({"accounts": ("FíSICA",)}, True),
    ],
)
def test_lists_of_accounts_hold_for_the_accounts_below_and_ignore_the_case_of_ascii_letters(lists, there):
    accounts = (
        Account(name="física", parent="faculty"),
        Account(name="institute", parent="faculty"),
        Account(name="deep", parent="institute"),
        Account(name="faculty"),
    )
    catalog = replace(CATALOG, partitions=(replace(CPU, **lists),), accounts=accounts, nested_accounts=True)
    physics = "física" in repr(lists).lower() or "SICA" in repr(lists)
    grants = Grants(associations=(Association(account="física" if physics else "deep", qos=("normal",)),))
    facts = replace(FACTS, catalog=catalog, grants=grants)
    assert bool(partitions(facts=facts)) is there
    if not physics:  # before Slurm 23.02 the lists are of the very account
        flat = replace(facts, catalog=replace(catalog, nested_accounts=False))
        assert bool(partitions(facts=flat)) is ("denied_accounts" in lists)


@pytest.mark.parametrize(
    ("reservation", "there"),
    [
        ({"users": ("alice",)}, True),
        ({"users": ("bob",)}, False),
        ({"users": ("-bob",)}, True),
        ({"users": ("-alice",)}, False),
        ({"users": ("@staff",)}, True),
        ({"users": ("@chem",)}, False),
        ({"accounts": ("Bio",)}, True),
        ({"accounts": ("science",)}, True),
        ({"accounts": ("-science",)}, False),
        ({"users": ("alice",), "accounts": ("others",)}, False),
        ({"users": ("bob",), "accounts": ("bio",)}, False),
        ({"users": ("alice",), "accounts": ("bio",)}, True),
    ],
)
def test_a_reservation_is_offered_to_its_users(reservation, there):
    one = Reservation(name="r", start=CATALOG.time, end=CATALOG.time + HOUR, **reservation)
    accounts = (Account(name="bio", parent="science"), Account(name="science"))
    catalog = replace(CATALOG, partitions=(CPU,), accounts=accounts, reservations=(one,))
    grants = Grants(associations=(Association(account="bio", qos=("normal",)),), groups=("staff",))
    facts = replace(FACTS, catalog=catalog, grants=grants)
    if there:
        assert choose(ALL, {"reservation": "r"}, facts)["reservation"] == "r"
    else:
        assert "reservation" in wrong({"reservation": "r"}, facts=facts)


@pytest.mark.parametrize("name", ["Lab 1/2", "física", "Groß-Söhne (EU)"])
def test_accounts_and_qos_may_have_spaces_slashes_and_letters_of_any_language(name):
    catalog = replace(CATALOG, partitions=(CPU,), qos=(Qos(name=name),))
    grants = Grants(associations=(Association(account=name, qos=(name,)),))
    found = choose(ALL, {"account": name, "qos": name}, replace(FACTS, catalog=catalog, grants=grants))
    assert (found["account"], found["qos"]) == (name, name)


def test_without_a_field_for_the_account_the_persons_own_decides():
    assert partitions(without("account")) == ["cpu", "old"]
    assert partitions(replace(without("account"), resources=ResourcesConfig(account="physics"))) == [
        "cpu",
        "gpu",
        "old",
    ]
    assert partitions(replace(without("account"), resources=ResourcesConfig(account="others"))) == []


def test_without_a_field_for_the_partition_the_clusters_default_or_the_profiles_decides():
    assert partitions(without("partition")) == ["cpu"]
    assert partitions(FIXED) == ["gpu"]
    assert partitions(replace(FIXED, resources=replace(FIXED.resources, account="bio"))) == []


def test_an_association_of_one_partition_goes_before_one_of_any():
    grants = Grants(
        default_account="bio",
        associations=(
            Association(account="bio", qos=("normal",), limits=Limits(job={"cores": 1})),
            Association(account="bio", partition="cpu", qos=("normal",), limits=Limits(job={"cores": 6})),
            Association(account="bio", partition="elsewhere", qos=("long",)),
        ),
    )
    facts = replace(FACTS, grants=grants)
    assert choose(ALL, {"cores": 6}, facts)["cores"] == 6
    assert wrong({"cores": 7}, facts=facts)["cores"] == "Account bio allows at most 6 cores for each job."
    assert wrong({"qos": "long"}, facts=facts)["qos"] == "QOS long cannot be used in this cluster. Pick one of: normal."


def test_a_cluster_without_accounting_has_no_accounts_to_choose():
    facts = Facts(catalog=replace(CATALOG, enforced=False), user="bob")
    assert partitions(facts=facts) == ["cpu", "gpu", "secret", "old"]
    assert choose(ALL, {"partition": "gpu"}, facts)["account"] == ""


# --- defaults that work ------------------------------------------------------------------------------------------
def test_defaults_work():
    assert choose(ALL, {}, FACTS) == DEFAULTS
    assert choose(ALL, {"partition": "", "account": "", "qos": " ", "time": "", "gpus": ""}, FACTS) == DEFAULTS


def test_defaults_follow_earlier_choices():
    found = choose(ALL, {"gpu": "a100"}, FACTS)
    assert (found["partition"], found["account"], found["qos"], found["gpus"]) == ("gpu", "physics", "gpuq", 1)
    assert choose(ALL, {"account": "physics"}, FACTS)["qos"] == "gpuq"
    assert choose(ALL, {"qos": "long"}, FACTS)["account"] == "bio"
    assert choose(ALL, {"reservation": "course"}, FACTS)["partition"] == "gpu"


def test_a_default_that_is_not_to_be_had_gives_way():
    profile = replace(
        ALL,
        option=ALL.option
        | {
            "partition": OptionConfig(kind="partition", default="secret"),
            "account": OptionConfig(kind="account", default="others"),
            "cores": OptionConfig(kind="cores", default=32),
            "memory": OptionConfig(kind="memory", default="64G"),
            "time": OptionConfig(kind="walltime", default="7d"),
        },
    )
    found = choose(profile, {}, FACTS)
    assert (found["partition"], found["account"]) == ("cpu", "bio")
    assert (found["cores"], found["memory"], found["time"]) == (4, "15G", "1-00:00:00")


def test_a_partition_that_is_down_may_be_picked_and_is_not_the_default():
    catalog = replace(CATALOG, partitions=(replace(CPU, state=DOWN), *CATALOG.partitions[1:3]))
    facts = replace(FACTS, catalog=catalog)
    assert choose(ALL, {}, facts)["partition"] == "gpu"
    assert choose(ALL, {"partition": "cpu"}, facts)["partition"] == "cpu"


# --- which limit binds -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("picked", "field", "said"),
    [
        ({"partition": "gpu", "time": "9h"}, "time", "Partition gpu allows at most 8 hours."),
        (
            {"partition": "gpu", "qos": "normal", "gpu": "a100", "gpus": 5},
            "gpus",
            "Nodes of partition gpu have at most 4 a100 GPUs.",
        ),
        ({"partition": "gpu", "gpu": "a100", "gpus": 3}, "gpus", "QOS gpuq allows at most 2 GPUs for each user."),
        ({"partition": "gpu", "memory": "40G"}, "memory", "Nodes of partition gpu have at most 31G of memory."),
        ({"partition": "gpu", "cores": 9}, "cores", "Nodes of partition gpu have at most 8 cores."),
        ({"cores": 5}, "cores", "Account bio allows at most 4 cores for each job."),
        ({"partition": "cpu", "gpus": 1}, "gpus", "Partition cpu has no GPUs."),
        (
            {"partition": "cpu", "gpu": "a100"},
            "gpu",
            "No a100 GPUs are available to you in partition cpu. They are in: gpu.",
        ),
        (
            {"partition": "gpu", "gpu": "h100"},
            "gpu",
            "No h100 GPUs are available to you in partition gpu. Pick one of: a100, v100.",
        ),
        (
            {"partition": "gpu", "account": "bio"},
            "account",
            "Account bio cannot be used in partition gpu. Pick one of: physics.",
        ),
        (
            {"partition": "gpu", "qos": "long"},
            "qos",
            "QOS long cannot be used in partition gpu. Pick one of: normal, gpuq.",
        ),
        (
            {"partition": "secret"},
            "partition",
            "Partition secret is not available to you with this profile. Pick one of: cpu, gpu, old.",
        ),
        ({"partition": "none"}, "partition", "Partition none does not exist. Pick one of: cpu, gpu, old."),
        (
            {"reservation": "theirs"},
            "reservation",
            "Reservation theirs is not available to you in this cluster. Pick one of: course.",
        ),
        (
            {"reservation": "over"},
            "reservation",
            "Reservation over is not available to you in this cluster. Pick one of: course.",
        ),
        ({"gpu": "a100", "gpus": 0}, "gpus", "At least 1, because a100 was picked."),
    ],
)
def test_the_limit_that_binds_is_named_beside_the_field(picked, field, said):
    assert wrong(picked) == {field: said}


def test_all_faults_are_reported_at_once():
    found = wrong(
        {"partition": "gpu", "account": "bio", "gpu": "h100", "time": "soon", "cores": 99, "memory": "1P", "x": 1}
    )
    assert set(found) == {"account", "gpu", "time", "cores", "memory", "x"}


def way_of(partition=CPU, *, safe=False, **rules):
    return Way(partition, Rules(**rules), safe)


def most(kind, way, **asked):
    """Return the maximum of a kind with the given choices, and why; None: no limit."""
    found = bounds(kind, way, Request(**asked)).most
    return (found.amount, found.why) if found else None


BARE = Partition(name="p", nodes=4)


def test_a_limit_of_the_qos_takes_the_place_of_the_associations():
    association = Association(account="bio", qos=("long",), limits=Limits(job={"walltime": HOUR, "cores": 2}))
    qos = Qos(name="long", limits=Limits(job={"walltime": 48 * HOUR}))
    rules = {"account": "bio", "qos": qos, "association": association}
    assert most("walltime", way_of(BARE, **rules))[0] == 48 * HOUR
    assert most("cores", way_of(BARE, **rules)) == (2, "Account bio allows at most 2 cores for each job.")
    assert most("walltime", way_of(replace(BARE, max_walltime=HOUR), **rules))[0] == HOUR
    assert most("memory", way_of(BARE, **rules)) is None


def test_limits_of_different_types_on_the_same_thing_all_count():
    association = Association(account="bio", limits=Limits(group={"cores": 6}))
    qos = Qos(name="q", limits=Limits(job={"cores": 100}))
    way = way_of(BARE, account="bio", qos=qos, association=association)
    assert most("cores", way) == (6, "Account bio allows at most 6 cores for all its jobs together.")


def test_a_limit_of_the_partitions_qos_comes_first_unless_the_jobs_qos_is_over_it():
    own = Qos(name="own", limits=Limits(job={"walltime": HOUR}, user={"gpus": 1}))
    job = Qos(name="long", limits=Limits(job={"walltime": 48 * HOUR, "cores": 4}, user={"gpus": 3}))
    partition = replace(GPU, name="p", max_walltime=None)
    way = way_of(partition, qos=job, own=(own, "p"))
    assert most("walltime", way) == (HOUR, "Partition p (its QOS own) allows at most 1 hour for each job.")
    assert most("cores", way)[0] == 4  # which the partition's leaves open
    assert most("gpus", way)[0] == 1
    over = way_of(partition, qos=replace(job, over_partition=True), own=(own, "p"))
    assert most("walltime", over)[0] == 48 * HOUR
    assert most("gpus", over)[0] == 3


def test_the_accounts_above_limit_too_what_no_qos_limits():
    """Each level of the tree: "Resource Limits" in Slurm's documentation."""
    accounts = (
        Account(name="bio", parent="life"),
        Account(name="life", limits=Limits(group={"cores": 5, "memory": GIB})),
    )
    association = Association(account="bio", limits=Limits(group={"cores": 7}))
    way = way_of(BARE, account="bio", association=association, ancestry=accounts)
    assert most("cores", way) == (5, "Account life allows at most 5 cores for all its jobs together.")
    qos = Qos(name="q", limits=Limits(group={"cores": 9}))
    way = way_of(BARE, account="bio", qos=qos, association=association, ancestry=accounts)
    assert most("cores", way)[0] == 9
    assert most("memory", way)[0] == GIB


def test_users_in_none_of_the_groups_see_which_groups_are_allowed():
    catalog = replace(CATALOG, partitions=(replace(CPU, groups=("chem", "bio")),))
    said = why_nothing(ALL, replace(FACTS, catalog=catalog))
    assert said == "This is for members of chem or bio, and you are not one. Ask the cluster's admins."


def test_a_partition_with_a_qos_of_its_own_brings_it_on_every_way():
    catalog = replace(CATALOG, partitions=(replace(CPU, own_qos="gpuq"),))
    found = ways(ALL, replace(FACTS, catalog=catalog))
    assert {way.rules.own[0].name for way in found} == {"gpuq"}
    (bare,) = ways(ALL, Facts(catalog=replace(catalog, enforced=False)))
    assert bare.rules.own[0].name == "gpuq"


def test_accounting_limits_apply_to_the_sum_over_the_nodes():
    partition = Partition(name="p", nodes=4, kinds=(NodeKind(count=4, cores=8, memory=GIB, gpus={"a": 4}, any_gpus=4),))
    way = way_of(partition, qos=Qos(name="q", limits=Limits(job={"cores": 8, "gpus": 4})))
    assert most("cores", way)[0] == 8
    assert most("cores", way, nodes=2)[0] == 4
    assert most("gpus", way, gpu="a", nodes=2) == (2, "QOS q allows at most 4 GPUs for each job, over 2 nodes.")
    why = "QOS q allows at most 8 cores for each job, and this asks for 3 cores on each node."
    assert most("nodes", way, cores=3) == (2, why)


# --- what no single node has ---------------------------------------------------------------------------------------
MIXED = Partition(
    name="m",
    nodes=5,
    gpus=(GpuCount(type="a", total=12, free=12, per_node=4),),
    kinds=(
        NodeKind(count=2, cores=64, memory=512 * GIB, features=("big",)),
        NodeKind(count=3, cores=16, memory=64 * GIB, gpus={"a": 4}, any_gpus=4, features=("fast",)),
    ),
)


@pytest.mark.parametrize(
    ("kind", "asked", "amount", "why"),
    [
        ("memory", {}, 512 * GIB, "Nodes of partition m have at most 512G of memory."),
        ("memory", {"gpus": 2}, 64 * GIB, "With 2 GPUs, nodes of partition m have at most 64G of memory."),
        ("memory", {"gpu": "a"}, 64 * GIB, "With 1 a GPU, nodes of partition m have at most 64G of memory."),
        ("cores", {"gpus": 1, "cores": 2}, 16, "With 1 GPU, nodes of partition m have at most 16 cores."),
        ("cores", {"constraint": "fast"}, 16, "With the features fast, nodes of partition m have at most 16 cores."),
        ("cores", {"constraint": "fast|big"}, 64, "Nodes of partition m have at most 64 cores."),
        ("cores", {"nodes": 3}, 16, "With 3 nodes, nodes of partition m have at most 16 cores."),
        ("gpus", {"memory": 65 * GIB}, 0, "With 65G of memory, nodes of partition m have at most no GPUs."),
        ("gpus", {}, 4, "Nodes of partition m have at most 4 GPUs."),
        ("nodes", {}, 5, "Partition m has 5 nodes."),
        ("nodes", {"cores": 17}, 2, "2 nodes of partition m have 17 cores."),
        ("nodes", {"gpus": 1, "cores": 16}, 3, "3 nodes of partition m have 1 GPU and 16 cores."),
    ],
)
def test_a_nodes_remaining_resources_are_the_limit(kind, asked, amount, why):
    assert most(kind, way_of(MIXED), **asked) == (amount, why)


def test_the_most_of_one_kind_leaves_what_goes_with_it():
    facts = Facts(catalog=replace(CATALOG, enforced=False, partitions=(MIXED,)), user="bob")
    assert choose(ALL, {"partition": "m", "cores": 64}, facts)["gpus"] == 0
    assert wrong({"partition": "m", "gpus": 4, "memory": "65G"}, facts=facts) == {
        "memory": "With 4 GPUs, nodes of partition m have at most 64G of memory."
    }
    assert choose(ALL, {"partition": "m", "memory": "400G", "cores": 64}, facts)["memory"] == "400G"


@pytest.mark.parametrize(
    ("constraint", "met"),
    [
        ("", True),
        ("x", True),
        ("z", False),
        ("x&y", True),
        ("x&z", False),
        ("z|y", True),
        ("z,y", True),
        ("z|y&z", False),
    ],
)
def test_features_are_joined_from_left_to_right(constraint, met):
    partition = Partition(name="p", nodes=1, kinds=(NodeKind(count=1, cores=1, memory=GIB, features=("x", "y")),))
    assert bool(most("cores", way_of(partition), constraint=constraint)[0]) is met


def test_gpus_of_any_type_are_what_one_node_has_of_all_or_of_one():
    """Of all together where Slurm has seen the devices, of one type where it has not (tests/cluster/test_odd_clusters.py)."""
    assert most("gpus", way_of(GPU))[0] == 6
    unseen = replace(GPU, kinds=(replace(GPU.kinds[0], any_gpus=4),))
    assert most("gpus", way_of(unseen))[0] == 4
    shards = (GpuCount(type="shard", total=64, free=64, per_node=64), GpuCount(type="", total=1, free=1, per_node=1))
    kinds = (NodeKind(count=1, cores=8, memory=GIB, gpus={"shard": 64, "": 1}, any_gpus=1),)
    shared = way_of(replace(GPU, gpus=shards, kinds=kinds), qos=Qos(name="q", limits=Limits(job={"gpus:shard": 8})))
    assert most("gpus", shared)[0] == 1
    assert most("gpus", shared, gpu="shard") == (8, "QOS q allows at most 8 GPU shares for each job.")


# --- limits of the partition ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("limits", "kind", "amount", "why"),
    [
        ({"max_cores_per_node": 6}, "cores", 6, "Partition cpu allows at most 6 cores on each node."),
        ({"max_memory_per_node": GIB}, "memory", GIB, "Partition cpu allows at most 1G of memory on each node."),
        ({"max_nodes": 1}, "nodes", 1, "Partition cpu allows at most 1 node."),
        (
            {"max_memory_per_core": GIB},
            "memory",
            8 * GIB,
            "Partition cpu allows at most 1G of memory per core. Nodes of partition cpu have at most 8 cores.",
        ),
        (
            {"max_memory_per_core": GIB, "max_cores_per_node": 4},
            "memory",
            4 * GIB,
            "Partition cpu allows at most 1G of memory per core. Partition cpu allows at most 4 cores on each node.",
        ),
    ],
)
def test_limits_of_a_partition_in_slurm_conf_apply(limits, kind, amount, why):
    assert most(kind, way_of(replace(CPU, **limits))) == (amount, why)


def test_a_qos_may_have_its_jobs_ignore_limits_of_the_partition():
    partition = replace(CPU, min_nodes=2, max_nodes=1, max_walltime=60)
    qos = Qos(name="q", ignores=("min_nodes", "max_nodes", "max_walltime"))
    way = way_of(partition, qos=qos)
    assert most("walltime", way) is None
    assert most("nodes", way)[0] == 2
    assert bounds("nodes", way, Request()).least is None


def test_a_partition_that_wants_more_nodes_is_for_profiles_that_ask_for_them():
    catalog = replace(CATALOG, partitions=(replace(CPU, min_nodes=2),))
    facts = replace(FACTS, catalog=catalog)
    assert partitions(facts=facts) == []
    profile = replace(ALL, option={**ALL.option, "nodes": OptionConfig(kind="nodes")})
    assert choose(profile, {}, facts)["nodes"] == 2
    assert wrong({"nodes": 1}, profile=profile, facts=facts) == {"nodes": "Partition cpu wants at least 2 nodes."}


@pytest.mark.parametrize("state", ["DRAIN", "INACTIVE"])
def test_a_partition_that_refuses_jobs_is_not_offered_and_the_reason_is_shown(state):
    catalog = replace(CATALOG, partitions=(replace(CPU, state=state), GPU))
    facts = replace(FACTS, catalog=catalog)
    assert partitions(facts=facts) == ["gpu"]
    said = f"Partition cpu takes no new jobs now ({state}). Pick one of: gpu."
    assert wrong({"partition": "cpu"}, facts=facts) == {"partition": said}
    alone = replace(FACTS, catalog=replace(CATALOG, partitions=(replace(CPU, state=state),)))
    assert why_nothing(ALL, alone) == f"Partition cpu takes no new jobs now ({state}). Ask the cluster's admins."


def test_a_partition_without_nodes_and_a_hidden_one_are_not_offered():
    catalog = replace(CATALOG, partitions=(replace(CPU, nodes=0), replace(GPU, hidden=True)))
    facts = replace(FACTS, catalog=catalog)
    assert partitions(facts=facts) == []
    assert partitions(FIXED, facts) == ["gpu"]
    named = replace(ALL, option={**ALL.option, "partition": OptionConfig(kind="partition", values=("gpu",))})
    assert partitions(named, facts) == ["gpu"]


def test_a_partition_or_a_qos_that_needs_a_reservation_is_offered_with_one():
    catalog = replace(CATALOG, partitions=(CPU, replace(GPU, needs_reservation=True)))
    facts = replace(FACTS, catalog=catalog)
    assert choose(ALL, {"partition": "gpu"}, facts)["reservation"] == "course"
    assert partitions(without("reservation"), facts) == ["cpu"]
    qos = (*CATALOG.qos[:1], replace(CATALOG.qos[1], needs_reservation=True), CATALOG.qos[2])
    facts = replace(FACTS, catalog=replace(CATALOG, qos=qos))
    assert choose(ALL, {"partition": "gpu", "qos": "gpuq"}, facts)["reservation"] == "course"
    assert "gpuq" not in {way.qos.name for way in ways(without("reservation"), facts)}


# --- limits of accounting --------------------------------------------------------------------------------------------
def test_the_least_that_a_qos_wants_binds():
    qos = Qos(name="q", limits=Limits(least={"cores": 4, "gpus": 1}))
    way = way_of(GPU, qos=qos)
    assert bounds("cores", way, Request()).least.why == "QOS q wants at least 4 cores for each job."
    assert bounds("cores", way, Request(nodes=2)).least.amount == 2
    catalog = replace(CATALOG, enforced=True, qos=(qos,))
    grants = Grants(default_account="physics", associations=(Association(account="physics", qos=("q",)),))
    facts = Facts(catalog=catalog, grants=grants, user="alice")
    assert partitions(facts=facts) == ["gpu"]  # the others have no GPU
    found = choose(ALL, {}, facts)
    assert (found["cores"], found["gpus"]) == (4, 1)
    assert wrong({"cores": 3}, facts=facts) == {"cores": "QOS q wants at least 4 cores for each job."}
    assert partitions(without("cores"), facts) == []


def test_more_than_one_node_gives_needs_more_nodes():
    way = way_of(CPU, qos=Qos(name="q", limits=Limits(least={"cores": 12})))
    found = bounds("nodes", way, Request()).least
    assert (found.amount, found.why) == (2, "QOS q wants at least 12 cores for each job.")
    assert bounds("nodes", way, Request(cores=4)).least.amount == 3


def test_limits_on_each_node_apply_to_any_number_of_nodes():
    way = way_of(CPU, qos=Qos(name="q", limits=Limits(node={"cores": 3, "memory": GIB})))
    assert most("cores", way, nodes=2) == (3, "QOS q allows at most 3 cores on each node.")
    assert most("memory", way)[0] == GIB


@pytest.mark.parametrize(
    ("kind", "asked", "amount", "why"),
    [
        ("walltime", {}, HOUR, "QOS q allows at most 1 core-hour for each job, and this asks for 1 core."),
        ("walltime", {"cores": 7}, 480, "QOS q allows at most 1 core-hour for each job, and this asks for 7 cores."),
        ("walltime", {"cores": 2, "nodes": 2}, 900, None),
        ("cores", {"walltime": 900}, 4, "QOS q allows at most 1 core-hour for each job, and this asks for 15 minutes."),
        ("cores", {"walltime": 900, "nodes": 2}, 2, None),
        ("walltime", {"gpu": "a100", "gpus": 2, "cores": 1}, 900, None),
    ],
)
def test_a_limit_on_resources_times_time_binds_both(kind, asked, amount, why):
    limits = Limits(job_time={"cores": HOUR, "gpus:a100": 1800})
    found = most(kind, way_of(BARE, qos=Qos(name="q", limits=limits)), **asked)
    assert found[0] == amount
    assert why is None or found[1] == why


def test_a_budget_binds_when_it_is_used_up_and_where_slurm_looks_at_what_is_left():
    def qos(used, *, strict=False):
        return Qos(name="q", strict=strict, limits=Limits(budget={"cores": 10 * HOUR}, used={"cores": used}))

    assert most("walltime", way_of(BARE, qos=qos(9 * HOUR))) is None
    assert most("walltime", way_of(BARE, qos=qos(9 * HOUR), safe=True), cores=2) == (
        1800,
        "QOS q has 1 core-hour left, and this asks for 2 cores.",
    )
    assert most("walltime", way_of(BARE, qos=qos(9 * HOUR, strict=True)), cores=2)[0] == 5 * HOUR
    assert most("walltime", way_of(BARE, qos=qos(11 * HOUR))) == (
        0,
        "QOS q has no core-hours left, and this asks for 1 core.",
    )
    catalog = replace(CATALOG, qos=(*CATALOG.qos[:1], qos(11 * HOUR), CATALOG.qos[2]))
    grants = replace(ALICE, associations=(replace(ALICE.associations[0], qos=("normal", "q")),))
    assert {way.qos.name for way in ways(ALL, replace(FACTS, catalog=catalog, grants=grants))} == {"normal"}


def test_unset_memory_is_requested_if_the_clusters_default_is_too_much():
    profile = replace(ALL, option={**ALL.option, "memory": OptionConfig(kind="memory")})
    qos = Qos(name="normal", limits=Limits(node={"memory": 2 * GIB}))
    facts = replace(FACTS, catalog=replace(CATALOG, qos=(qos,), partitions=(CPU,)))
    assert choose(profile, {}, facts)["memory"] == "2G"
    small = replace(CPU, default_memory_per_core=GIB)
    facts = replace(FACTS, catalog=replace(CATALOG, qos=(qos,), partitions=(small,)))
    assert choose(profile, {"cores": 2}, facts)["memory"] == ""
    assert choose(profile, {"cores": 3}, facts)["memory"] == "2G"
    facts = replace(FACTS, catalog=replace(CATALOG, qos=(qos,), partitions=(CPU,)))
    assert "normal" not in {way.qos.name for way in ways(without("memory"), facts)}


def test_a_type_has_its_own_limit():
    qos = Qos(name="q", limits=Limits(user={"gpus:a100": 0, "gpus:v100": 1}))
    catalog = replace(CATALOG, qos=(qos,))
    grants = Grants(
        default_account="physics", associations=(Association(account="physics", qos=("q",), default_qos="q"),)
    )
    facts = Facts(catalog=catalog, grants=grants, user="alice")
    assert "gpu" in wrong({"gpu": "a100"}, facts=facts)
    assert wrong({"gpu": "v100", "gpus": 2}, facts=facts) == {"gpus": "QOS q allows at most 1 v100 GPU for each user."}


def test_a_way_that_has_no_room_for_the_profiles_least_is_not_there():
    def with_(**options):
        return replace(
            ALL, option=ALL.option | {name: OptionConfig(kind=name, **more) for name, more in options.items()}
        )

    assert partitions(with_(gpus={"minimum": 1})) == ["gpu"]
    assert partitions(with_(gpus={"minimum": 5})) == ["gpu"]  # six of any type are on the one node
    assert partitions(with_(gpu={"values": ("a100",)})) == ["gpu"]
    assert partitions(with_(gpu={"values": ("", "a100")})) == ["cpu", "gpu", "old"]
    assert partitions(with_(cores={"minimum": 5})) == ["cpu", "gpu"]
    assert partitions(replace(FIXED, resources=replace(FIXED.resources, gpus=5))) == []
    assert partitions(replace(FIXED, resources=replace(FIXED.resources, walltime="9h"))) == []


# --- nothing at all ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            replace(FACTS, grants=Grants()),
            "You have no Slurm account on cluster lake. Ask its admins for one.",
        ),
        (replace(FACTS, catalog=replace(CATALOG, partitions=())), "Cluster lake has no partitions."),
        (
            replace(FACTS, grants=Grants(associations=(Association(account="x", partition="gone"),))),
            "No partition of cluster lake is available to your account and fits this profile.",
        ),
    ],
)
def test_an_empty_offer_says_why_and_whom_to_ask(facts, said):
    assert said in why_nothing(ALL, facts)
    assert "admins" in why_nothing(ALL, facts)
    assert list(wrong({}, facts=facts)) == ["partition"]
    assert said in wrong({}, facts=facts)["partition"]


def test_a_partition_that_the_profile_needs_and_the_cluster_lacks_is_named():
    profile = ProfileConfig(name="p", cluster="lake", resources=ResourcesConfig(partition="gone"))
    assert "needs partition gone" in why_nothing(profile, FACTS)
    assert list(wrong({}, profile=profile)) == ["profile"]


def test_while_nothing_is_known_the_profiles_own_rules_hold():
    found = choose(ALL, {"partition": "anything", "cores": 64, "memory": "900G"})
    assert (found["partition"], found["cores"], found["memory"], found["time"]) == ("anything", 64, "900G", "")
    assert wrong({"cores": 65}, facts=Facts()) == {"cores": "At most 64."}


def test_a_cluster_without_a_scheduler_decides_nothing():
    facts = Facts(catalog=Catalog(cluster="local", kind="local", time=1.0, cores=2))
    assert choose(ProfileConfig(name="p", cluster="local"), {}, facts) == {}


# --- hostile values ----------------------------------------------------------------------------------------------
HOSTILE = [
    "a\nb", "a\n#SBATCH --uid=0", "#SBATCH", "-x", "--partition=root", "a b", "a;b", "$(id)", "`id`", "a\x00", "a\r", "a\u2028b",
    "a'b", 'a"b', "a=b", "a,b\n", "../x", "x" * 500, "\uff41", "\u202eabc", "a\tb", "*", "a&&b", "%j",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("facts", [FACTS, Facts()])
def test_a_hostile_name_is_refused_whether_or_not_anything_is_known(value, facts):
    for name in ("partition", "account", "qos", "reservation", "gpu"):
        if name in ("account", "qos") and facts == Facts() and value in ("a b", "\uff41"):
            continue  # an account may be called so
        assert name in wrong({name: value}, facts=facts)
    profile = ProfileConfig(name="p", cluster="lake", option={"c": OptionConfig(kind="constraint")})
    assert "c" in wrong({"c": value}, profile=profile, facts=Facts())


@pytest.mark.parametrize("value", [10**30, "9" * 40, -1, 1.5, True, "1e9", "0x10", [1, 2], {}, "\u0661"])
def test_a_hostile_number_is_refused(value):
    for name in ("gpus", "cores"):
        assert name in wrong({name: value})
    for name in ("memory", "time"):
        assert name in wrong({name: value})


def test_features_are_words_that_the_partition_has():
    profile = ProfileConfig(
        name="p",
        cluster="lake",
        option={"c": OptionConfig(kind="constraint"), "partition": OptionConfig(kind="partition")},
    )
    assert choose(profile, {"c": "avx2"}, FACTS)["c"] == "avx2"
    assert choose(profile, {"c": "avx2&avx2"}, FACTS)["c"] == "avx2&avx2"
    assert "has the features avx2|ib" in wrong({"c": "avx2|ib", "partition": "cpu"}, profile=profile)["c"]


NAMES = (
    "cpu",
    "gpu",
    "secret",
    "old",
    "bio",
    "physics",
    "others",
    "normal",
    "gpuq",
    "long",
    "a100",
    "v100",
    "course",
    "",
)
RAW = st.one_of(
    st.none(), st.sampled_from(NAMES), st.sampled_from(HOSTILE), st.integers(-2, 99), st.text(max_size=6),
    st.sampled_from(["4G", "64G", "8h", "2d", "01:00:00", "3", "0"]), st.booleans(), st.lists(st.sampled_from(NAMES), max_size=2),
)  # fmt: skip
PICKS = st.dictionaries(st.sampled_from([*ALL.option, "other"]), RAW, max_size=6)
AMOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "walltime": st.integers(60, 10**6).map(lambda seconds: seconds - seconds % 60), "cores": st.integers(0, 64),
        "memory": st.integers(0, 2**20).map(lambda number: number * 2**20), "gpus": st.integers(0, 8), "nodes": st.integers(0, 3),
    },
)  # fmt: skip
LIMITS = st.builds(Limits, job=AMOUNTS, node=AMOUNTS, user=AMOUNTS, group=AMOUNTS, least=AMOUNTS, job_time=AMOUNTS)
KINDS_OF_NODES = st.builds(
    lambda count, cores, memory, gpus: NodeKind(
        count=count, cores=cores, memory=memory * GIB, gpus=gpus, any_gpus=sum(gpus.values())
    ),
    st.integers(1, 3), st.integers(1, 64), st.integers(1, 64),
    st.fixed_dictionaries({}, optional={"a100": st.integers(1, 4), "v100": st.integers(1, 4)}),
)  # fmt: skip


def of_kinds(base, kinds, **more):
    types = sorted({gpu for kind in kinds for gpu in kind.gpus})
    gpus = tuple(GpuCount(type=gpu, total=1, free=1, per_node=1) for gpu in types)
    return replace(base, kinds=tuple(kinds), nodes=sum(kind.count for kind in kinds), gpus=gpus, **more)


CATALOGS = st.builds(
    lambda partitions, qos, enforced: replace(CATALOG, partitions=tuple(partitions), qos=tuple(qos), enforced=enforced),
    st.lists(
        st.builds(
            lambda base, kinds, state, walltime, accounts, least: of_kinds(
                base, kinds, state=state, max_walltime=walltime, accounts=accounts, min_nodes=least
            ),
            st.sampled_from(CATALOG.partitions), st.lists(KINDS_OF_NODES, min_size=1, max_size=3),
            st.sampled_from(["UP", "DOWN", "DRAIN"]), st.none() | st.integers(60, 10**6),
            st.none() | st.lists(st.sampled_from(["bio", "physics"]), max_size=2).map(tuple), st.integers(0, 2),
        ),
        max_size=4, unique_by=lambda one: one.name,
    ),
    st.lists(st.builds(Qos, name=st.sampled_from(["normal", "gpuq", "long"]), limits=LIMITS), max_size=3, unique_by=lambda one: one.name),
    st.booleans(),
)  # fmt: skip


@given(CATALOGS, PICKS)
def test_choices_are_canonical_compatible_and_stable(catalog, picked):
    facts = Facts(catalog=catalog, grants=ALICE, user="alice")
    try:
        found = choose(ALL, picked, facts)
    except ChoicesError as error:
        assert error.fields
        assert all(message.endswith(".") and "\n" not in message for message in error.fields.values())
        return
    assert set(found) == set(ALL.option)
    assert choose(ALL, found, facts) == found
    assert all(
        "\n" not in str(value) and not str(value).startswith("-") for name, value in found.items() if name != "note"
    )
    chosen = [
        way
        for way in ways(ALL, facts)
        if (way.partition.name, way.account, way.qos.name) == (found["partition"], found["account"], found["qos"])
    ]
    assert chosen
    request = Request(
        gpu=found["gpu"],
        gpus=found["gpus"],
        cores=found["cores"],
        memory=memory_of(found["memory"]) if found["memory"] else None,
        walltime=walltime_of(found["time"]) if found["time"] else None,
    )
    for kind in ("gpus", "cores", "memory", "walltime"):
        least, most = bounds(kind, chosen[0], request)
        asked = getattr(request, kind)
        assert asked is None or most is None or asked <= most.amount, (kind, most)
        assert asked is None or least is None or asked >= least.amount, (kind, least)


@given(CATALOGS)
def test_defaults_work_on_any_cluster_that_allows_the_user(catalog):
    facts = Facts(catalog=catalog, grants=ALICE, user="alice")
    if ways(ALL, facts):
        assert set(choose(ALL, {}, facts)) == set(ALL.option)
    else:
        assert wrong({}, facts=facts)["partition"]


def test_large_numbers_of_bytes_are_shown_with_units():
    way = way_of(replace(CPU, kinds=(NodeKind(count=2, cores=8, memory=15 * GIB + 12345),)))
    assert most("memory", way) == (15 * GIB, "Nodes of partition cpu have at most 15G of memory.")
