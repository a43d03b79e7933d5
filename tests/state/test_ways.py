"""What goes together on a cluster for one person: partitions, accounts, QOS, limits and which one binds."""

import pytest
from catalogs import ALICE, ALL, CATALOG, CPU, FIXED, GIB, GPU, HOUR
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from state.config.tables import OptionConfig, ProfileConfig, ResourcesConfig
from state.errors import ChoicesError
from state.offer.catalog import Association, Catalog, GpuCount, Grants, Limits, Partition, Qos
from state.offer.choices import choose
from state.offer.combinations import Facts, names_of, ways, why_nothing
from state.offer.limits import Way, limit

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
            Association(account="bio", qos=("normal",), limits=Limits(cores=1)),
            Association(account="bio", partition="cpu", qos=("normal",), limits=Limits(cores=6)),
            Association(account="bio", partition="elsewhere", qos=("long",)),
        ),
    )
    facts = replace(FACTS, grants=grants)
    assert choose(ALL, {"cores": 6}, facts)["cores"] == 6
    assert wrong({"cores": 7}, facts=facts)["cores"] == "Account bio allows you 6 cores."
    assert (
        wrong({"qos": "long"}, facts=facts)["qos"] == "QOS long may not be used in this cluster. Pick one of: normal."
    )


def test_a_cluster_without_accounting_has_no_accounts_to_choose():
    facts = Facts(catalog=replace(CATALOG, enforced=False), user="bob")
    assert partitions(facts=facts) == ["cpu", "gpu", "secret", "old"]
    assert choose(ALL, {"partition": "gpu"}, facts)["account"] == ""


# --- defaults that work ------------------------------------------------------------------------------------------
def test_what_is_left_alone_works():
    assert choose(ALL, {}, FACTS) == DEFAULTS
    assert choose(ALL, {"partition": "", "account": "", "qos": " ", "time": "", "gpus": ""}, FACTS) == DEFAULTS


def test_what_is_left_alone_follows_what_was_picked():
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
    catalog = replace(CATALOG, partitions=(replace(CPU, up=False), *CATALOG.partitions[1:3]))
    facts = replace(FACTS, catalog=catalog)
    assert choose(ALL, {}, facts)["partition"] == "gpu"
    assert choose(ALL, {"partition": "cpu"}, facts)["partition"] == "cpu"


# --- which limit binds -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("picked", "field", "said"),
    [
        ({"partition": "gpu", "time": "9h"}, "time", "At most 8 hours in partition gpu."),
        (
            {"partition": "gpu", "qos": "normal", "gpu": "a100", "gpus": 5},
            "gpus",
            "A node of partition gpu has 4 a100.",
        ),
        ({"partition": "gpu", "gpu": "a100", "gpus": 3}, "gpus", "QOS gpuq allows one person 2 GPUs."),
        ({"partition": "gpu", "memory": "40G"}, "memory", "A node of partition gpu has 31G of memory."),
        ({"partition": "gpu", "cores": 9}, "cores", "A node of partition gpu has 8 cores."),
        ({"cores": 5}, "cores", "Account bio allows you 4 cores."),
        ({"partition": "cpu", "gpus": 1}, "gpus", "Partition cpu has no GPUs."),
        ({"partition": "cpu", "gpu": "a100"}, "gpu", "There is no a100 for you in partition cpu; there is in: gpu."),
        (
            {"partition": "gpu", "gpu": "h100"},
            "gpu",
            "There is no h100 for you in partition gpu. Pick one of: a100, v100.",
        ),
        (
            {"partition": "gpu", "account": "bio"},
            "account",
            "Account bio may not be used in partition gpu. Pick one of: physics.",
        ),
        (
            {"partition": "gpu", "qos": "long"},
            "qos",
            "QOS long may not be used in partition gpu. Pick one of: normal, gpuq.",
        ),
        ({"partition": "secret"}, "partition", "Partition secret is not open to you here. Pick one of: cpu, gpu, old."),
        ({"partition": "none"}, "partition", "There is no partition none here. Pick one of: cpu, gpu, old."),
        (
            {"reservation": "theirs"},
            "reservation",
            "Reservation theirs is not open to you in this cluster. Pick one of: course.",
        ),
        (
            {"reservation": "over"},
            "reservation",
            "Reservation over is not open to you in this cluster. Pick one of: course.",
        ),
        ({"gpu": "a100", "gpus": 0}, "gpus", "At least 1, as a100 is asked for."),
    ],
)
def test_the_limit_that_binds_is_named_beside_the_field(picked, field, said):
    assert wrong(picked) == {field: said}


def test_every_fault_is_told_at_once():
    found = wrong(
        {"partition": "gpu", "account": "bio", "gpu": "h100", "time": "soon", "cores": 99, "memory": "1P", "x": 1}
    )
    assert set(found) == {"account", "gpu", "time", "cores", "memory", "x"}


def test_a_limit_of_the_qos_takes_the_place_of_the_associations():
    association = Association(account="bio", qos=("long",), limits=Limits(walltime=HOUR, cores=2))
    way = Way(
        partition=Partition(name="p"),
        account="bio",
        qos=Qos(name="long", per_job=Limits(walltime=48 * HOUR)),
        association=association,
    )
    assert limit("walltime", way).most == 48 * HOUR
    assert limit("cores", way).why == "Account bio allows you 2 cores."
    assert limit("walltime", replace(way, partition=Partition(name="p", max_walltime=HOUR))).most == HOUR
    assert limit("memory", way) is None


def test_a_limit_of_the_partitions_qos_comes_first_unless_the_jobs_qos_is_over_it():
    own = Qos(name="own", per_job=Limits(walltime=HOUR), per_user=Limits(gpus=1))
    job = Qos(name="long", per_job=Limits(walltime=48 * HOUR, cores=4), per_user=Limits(gpus=3))
    way = Way(partition=Partition(name="p", gpus=GPU.gpus, nodes=1), qos=job, own=own)
    assert limit("walltime", way).why == "Partition p (its QOS own) allows one job 1 hour."
    assert limit("cores", way).most == 4  # which the partition's leaves open
    assert limit("gpus", way).most == 1
    over = replace(way, qos=replace(job, over_partition=True))
    assert limit("walltime", over).most == 48 * HOUR
    assert limit("gpus", over).most == 3


def test_who_is_in_none_of_the_groups_is_told_which_those_are():
    catalog = replace(CATALOG, partitions=(replace(CPU, groups=("chem", "bio")),))
    said = why_nothing(ALL, replace(FACTS, catalog=catalog))
    assert said == "This is for members of chem or bio, and you are not one. Ask the people who run it."


def test_a_partition_with_a_qos_of_its_own_brings_it_on_every_way():
    catalog = replace(CATALOG, partitions=(replace(CPU, own_qos="gpuq"),))
    found = ways(ALL, replace(FACTS, catalog=catalog))
    assert {way.own.name for way in found} == {"gpuq"}
    (bare,) = ways(ALL, Facts(catalog=replace(catalog, enforced=False)))
    assert bare.own.name == "gpuq"


def test_what_accounting_limits_is_the_sum_over_the_nodes():
    way = Way(
        partition=replace(CPU, gpus=(GpuCount(type="a", total=8, free=8, per_node=4),)),
        qos=Qos(name="q", per_job=Limits(cores=8, gpus=4)),
    )
    assert limit("cores", way).most == 8
    assert limit("cores", way, nodes=2) == limit("cores", way, nodes=2)
    assert limit("cores", way, nodes=2).most == 4
    assert limit("gpus", way, gpu="a", nodes=2).why == "QOS q allows one job 4 GPUs, over 2 nodes."


def test_any_gpu_counts_types_together_only_where_they_are_on_one_node():
    assert limit("gpus", Way(partition=GPU)).most == 6
    assert limit("gpus", Way(partition=replace(GPU, nodes=2))).most == 4
    shards = (GpuCount(type="shard", total=64, free=64, per_node=64), GpuCount(type="", total=1, free=1, per_node=1))
    assert limit("gpus", Way(partition=replace(GPU, gpus=shards))).most == 1


def test_a_type_has_its_own_limit():
    qos = Qos(name="q", per_user=Limits(gpu_types={"a100": 0, "v100": 1}))
    catalog = replace(CATALOG, qos=(qos,))
    grants = Grants(
        default_account="physics", associations=(Association(account="physics", qos=("q",), default_qos="q"),)
    )
    facts = Facts(catalog=catalog, grants=grants, user="alice")
    assert "gpu" in wrong({"gpu": "a100"}, facts=facts)
    assert wrong({"gpu": "v100", "gpus": 2}, facts=facts) == {"gpus": "QOS q allows one person 1 v100."}


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
            "You have no account on the cluster lake. Ask the people who run it for one.",
        ),
        (replace(FACTS, catalog=replace(CATALOG, partitions=())), "The cluster lake has no partition just now."),
        (
            replace(FACTS, grants=Grants(associations=(Association(account="x", partition="gone"),))),
            "Your account may use no partition of the cluster lake that fits this profile.",
        ),
    ],
)
def test_an_empty_offer_says_why_and_whom_to_ask(facts, said):
    assert said in why_nothing(ALL, facts)
    assert "Ask the people who run it" in why_nothing(ALL, facts)
    assert list(wrong({}, facts=facts)) == ["partition"]
    assert said in wrong({}, facts=facts)["partition"]


def test_a_partition_that_the_profile_needs_and_the_cluster_lacks_is_named():
    profile = ProfileConfig(name="p", cluster="lake", resources=ResourcesConfig(partition="gone"))
    assert "no partition gone" in why_nothing(profile, FACTS)
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
    assert "does not have the features avx2|ib" in wrong({"c": "avx2|ib", "partition": "cpu"}, profile=profile)["c"]


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
LIMITS = st.builds(
    Limits,
    walltime=st.none() | st.integers(60, 10**6),
    cores=st.none() | st.integers(0, 64),
    memory=st.none() | st.integers(0, 2**40),
    gpus=st.none() | st.integers(0, 8),
)
CATALOGS = st.builds(
    lambda partitions, qos, enforced: replace(CATALOG, partitions=tuple(partitions), qos=tuple(qos), enforced=enforced),
    st.lists(
        st.builds(
            lambda base, up, walltime, accounts: replace(base, up=up, max_walltime=walltime, accounts=accounts),
            st.sampled_from(CATALOG.partitions), st.booleans(), st.none() | st.integers(60, 10**6),
            st.none() | st.lists(st.sampled_from(["bio", "physics"]), max_size=2).map(tuple),
        ),
        max_size=4, unique_by=lambda one: one.name,
    ),
    st.lists(st.builds(Qos, name=st.sampled_from(["normal", "gpuq", "long"]), per_job=LIMITS, per_user=LIMITS), max_size=3, unique_by=lambda one: one.name),
    st.booleans(),
)  # fmt: skip


@given(CATALOGS, PICKS)
def test_whatever_is_chosen_is_canonical_goes_together_and_is_chosen_again(catalog, picked):
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
    for name, kind in (("gpus", "gpus"), ("cores", "cores")):
        bound = limit(kind, chosen[0], gpu=found["gpu"])
        assert bound is None or found[name] <= bound.most


@given(CATALOGS)
def test_what_is_left_alone_works_on_any_cluster_that_lets_one_in(catalog):
    facts = Facts(catalog=catalog, grants=ALICE, user="alice")
    if ways(ALL, facts):
        assert set(choose(ALL, {}, facts)) == set(ALL.option)
    else:
        assert wrong({}, facts=facts)["partition"]


def test_large_numbers_of_bytes_are_told_in_words():
    way = Way(partition=replace(CPU, memory_per_node=15 * GIB + 12345))
    assert limit("memory", way).why == "A node of partition cpu has 15G of memory."
