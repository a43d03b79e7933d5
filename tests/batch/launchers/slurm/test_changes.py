"""Which parts of a waiting job can be changed, and how Slurm is called for it."""

import pytest

from batch.contract import LauncherError, Resources
from batch.launchers.slurm.changes import changes, rest_body, scontrol_line

GIB = 1024**3
BEFORE = Resources(partition="cpu", account="bio", cores=2, memory=GIB, walltime=3600)
NAME = "towpath-" + "a" * 32


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"walltime": 7200}, "TimeLimit=0-02:00:00"),
        ({"memory": 2 * GIB}, "MinMemoryNode=2048"),
        ({"cores": 4}, "CPUsPerTask=4 MinCPUsNode=4 NumCPUs=4"),
        ({"partition": "gpu", "gpus": 1, "gpu_type": "a100"}, "Partition=gpu Gres=gpu:a100:1"),
        ({"account": "physics"}, "Account=physics"),
        ({"qos": "long"}, "QOS=long"),
        ({"constraint": "avx512&ib"}, "Features=avx512&ib"),
        ({"reservation": "course"}, "ReservationName=course"),
    ],
)
def test_each_option_has_its_argument_for_scontrol(after, words):
    found = changes(BEFORE, Resources(**{**resources(BEFORE), **after}))
    assert scontrol_line(NAME, 1001, found) == f"update JobName={NAME} UserID=1001 {words}\n"


def resources(one):
    return {name: getattr(one, name) for name in one.__struct_fields__}


@pytest.mark.parametrize(
    "after", [{"memory": None}, {"partition": ""}, {"nodes": 2}, {"signal": 60}, {"more": (("x", "y"),)}]
)
def test_changes_that_need_a_new_job_are_none(after):
    assert changes(BEFORE, Resources(**{**resources(BEFORE), **after})) is None


def test_the_same_request_changes_nothing():
    assert changes(BEFORE, BEFORE) == ()


def test_a_name_with_a_space_is_not_written_and_a_hostile_one_is_refused():
    assert scontrol_line(NAME, 1001, [("account", "lab 1")]) is None
    with pytest.raises(LauncherError):
        changes(BEFORE, Resources(**{**resources(BEFORE), "account": "a\nupdate JobId=1"}))


def test_slurmrestd_gets_properties_of_its_version():
    options = (("cpus-per-task", "4"), ("gres", "gpu:a100:1"), ("time", "0-02:00:00"))
    assert rest_body(options, 38) == {
        "cpus_per_task": 4,
        "minimum_cpus_per_node": 4,
        "gres": "gpu:a100:1",
        "time_limit": 120,
    }
    assert rest_body(options, 42)["tres_per_node"] == "gres/gpu:a100:1"
    assert rest_body(options, 42)["minimum_cpus"] == 4
