"""The responses of a real slurmrestd give the same facts as the commands, in newer shapes and with odd values too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.contract import LauncherError
from batch.launchers.slurm.catalog import rest, rest_accounting, rest_fields, text, text_accounting
from batch.launchers.slurm.catalog.gather import Gatherer
from state.offer.catalog import Partition
from tests.batch.launchers.slurm import seen
from tests.conftest import run


def test_slurmrestd_tells_the_same_nodes_partitions_and_limits_as_the_commands():
    assert rest.nodes_of(seen.answer("nodes.json")) == text.nodes_of(seen.text("nodes.txt"))
    assert rest.partitions_of(seen.answer("partitions.json")) == text.partitions_of(seen.text("partitions.txt"))
    assert rest_accounting.qos_of(seen.answer("qos.json")) == text_accounting.qos_of(seen.text("qos.txt"))
    associations = seen.answer("associations.json")
    assert rest_accounting.grants_of(associations) == text_accounting.grants_of(seen.text("users.txt"))
    accounts = rest_accounting.accounts_of(associations)
    assert accounts == text_accounting.accounts_of(seen.text("accounts.txt"))


def test_slurmrestd_tells_the_same_reservations():
    ours, theirs = (
        text.reservations_of(seen.text("reservations.txt")),
        rest.reservations_of(seen.answer("reservations.json")),
    )
    for one, other in zip(ours, theirs, strict=True):
        assert (one.name, one.users, one.accounts, one.partition, one.nodes) == (
            (other.name, other.users, other.accounts, other.partition, other.nodes)
        )
        assert one.end - one.start == other.end - other.start


def test_the_shapes_of_newer_versions_are_read_too():
    """The names of the data parsers 0.0.43 to 0.0.45."""
    answer = {
        "partitions": [
            {
                "name": "gpu",
                "partition": {"state": ["UP"]},
                "maximums": {
                    "time": {"set": True, "infinite": False, "number": 480},
                    "nodes": {"set": True, "infinite": False, "number": 4},
                },
                "defaults": {"time": {"set": True, "infinite": False, "number": 30}},
                "accounts": {"allowed": "physics,bio", "deny": ""},
                "qos": {"allowed": "", "deny": "debug"},
                "groups": {"allowed": "staff"},
                "flags": ["DEFAULT"],
            },
            {
                "name": "all",
                "partition": {"state": ["DOWN"]},
                "maximums": {"time": {"set": False, "infinite": True, "number": 0}},
            },
            {"name": "admin", "flags": ["ROOT_ONLY"]},
        ]
    }
    assert rest.partitions_of(answer) == [
        Partition(
            name="gpu",
            default=True,
            max_walltime=28800,
            default_walltime=1800,
            max_nodes=4,
            accounts=("physics", "bio"),
            denied_qos=("debug",),
            groups=("staff",),
        ),
        Partition(name="all", state="DOWN"),
    ]
    node = {
        "name": "n1",
        "state": ["MIXED", "DRAIN"],
        "partitions": ["gpu"],
        "effective_cpus": 62,
        "cpus": 64,
        "alloc_cpus": 3,
        "real_memory": 1000,
        "gres": "gpu:a100:4",
        "gres_used": "gpu:a100:1(IDX:0)",
        "active_features": ["ib", "avx"],
    }
    (read,) = rest.nodes_of({"nodes": [node]})
    assert (read.cores, read.cores_used, read.up, read.features, read.gpus_used) == (
        62,
        3,
        False,
        ("ib", "avx"),
        {"a100": 1},
    )


class Answers:
    def __init__(self, *away: str) -> None:
        self.away = away

    async def get(self, kind, path):
        if path in self.away or kind in self.away:
            raise LauncherError("It does not answer.", transient=True)
        assert (kind == "slurmdb") == (path in ("qos", "associations"))
        return seen.answer(f"{path}.json")


def test_the_catalog_is_gathered_by_slurmrestd_alone():
    offer = run(Gatherer("hpc", rest.RestSource(Answers().get)).gather())
    assert offer.catalog.enforced
    assert [one.name for one in offer.catalog.partitions] == ["cpu", "gpu"]
    assert offer.catalog.partition("gpu").gpus[0].free == 1
    assert offer.grants["alice"].default_account == "physics"


def test_associations_of_other_clusters_are_left_out():
    answer = seen.answer("associations.json")
    for cluster, users in (("towpath7", {"alice", "bob", "carol", "root"}), ("elsewhere", set())):
        assert set(rest_accounting.grants_of({**answer, "meta": {"slurm": {"cluster": cluster}}})) == users


def test_without_slurmdbd_the_rest_is_shown():
    offer = run(Gatherer("hpc", rest.RestSource(Answers("slurmdb").get)).gather())
    assert not offer.catalog.enforced
    assert len(offer.catalog.partitions) == 2
    assert offer.catalog.notes


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (7, 7),
        ({"set": True, "infinite": False, "number": 7}, 7),
        ({"set": True, "infinite": True, "number": 0}, None),
        ({"set": False, "number": 0}, None),
        (4294967294, None),
        (-1, None),
        (None, None),
        (True, None),
        ("7", None),
    ],
)
def test_numbers_wrapped_or_not(value, wanted):
    assert rest_fields.number({"key": value}, "key") == wanted


WORDS = [
    *(
        "nodes",
        "partitions",
        "reservations",
        "qos",
        "QOS",
        "associations",
        "users",
        "name",
        "state",
        "flags",
        "partition",
    ),
    *(
        "maximums",
        "time",
        "limits",
        "max",
        "tres",
        "per",
        "user",
        "job",
        "account",
        "default",
        "number",
        "set",
        "count",
    ),
    *("type", "active_features", "gres", "start_time", "end_time", "jobs"),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(WORDS), anything), st.dictionaries(st.sampled_from(WORDS), anything))
def test_no_answer_breaks_the_reading(one, other):
    rest.nodes_of(one)
    rest.partitions_of(one)
    rest.reservations_of(one)
    rest_accounting.qos_of(one)
    rest_accounting.grants_of(one)
    rest_accounting.accounts_of(one)
    rest_accounting.usage_of(one)
    rest.version_of(one)
