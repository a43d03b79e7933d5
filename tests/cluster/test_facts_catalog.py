"""The catalog of a real cluster: by commands and by slurmrestd, with parts of Slurm stopped."""

import time

from msgspec.structs import replace

from batch.contract import LauncherError
from batch.launchers.slurm.catalog.gather import Gatherer
from batch.launchers.slurm.factory import open_client
from state.offer.catalog import GpuCount, Limits
from tests.batch.launchers.slurm.making import gathered, slurm_config
from tests.conftest import run

SLEEP = "#!/bin/sh\nsleep 120\n"


def by_text(slurm):
    return run(gathered(slurm_config(slurm, "cli")))


def by_rest(slurm):
    return run(gathered(slurm_config(slurm, "rest")))


def test_partitions_gpus_and_who_may_use_what(slurm):
    offer = by_text(slurm)
    catalog = offer.catalog
    assert catalog.enforced
    assert catalog.notes == ()
    assert [(one.name, one.default, one.nodes, one.nodes_up, one.nodes_idle) for one in catalog.partitions] == [
        ("cpu", True, 2, 2, 2),
        ("gpu", False, 1, 1, 1),
    ]
    assert catalog.partition("gpu").gpus == (
        GpuCount(type="a100", total=2, free=2, per_node=2),
        GpuCount(type="v100", total=2, free=2, per_node=2),
    )
    limits = {qos.name: qos.limits for qos in catalog.qos}
    assert limits["gpuq"] == Limits(user={"gpus": 2})
    assert limits["debug"] == Limits(job={"walltime": 1800}, running_jobs=2)
    assert [(one.name, one.parent) for one in catalog.accounts] == [("bio", "root"), ("physics", "root"), ("root", "")]
    alice = offer.grants["alice"]
    assert alice.default_account == "physics"
    assert [(one.account, one.partition) for one in alice.associations] == [("physics", ""), ("bio", "cpu")]
    assert "gpuq" not in offer.grants["bob"].associations[0].qos


def test_slurmrestd_gathers_the_same_catalog_while_jobs_run_and_nodes_are_drained(slurm):
    job = slurm.sbatch("--partition=gpu", "--gres=gpu:a100:1", "--cpus-per-task=2", script=SLEEP)
    slurm.run("scontrol", "update", "NodeName=cn2", "State=DRAIN", "Reason=State=IDLE Gres=gpu:h100:8")
    slurm.run(
        *("scontrol", "create", "reservation", "ReservationName=course", "Users=alice,bob", "Nodes=cn1"),
        *("StartTime=now+3600", "Duration=60", "PartitionName=cpu"),
    )
    slurm.run(
        *("scontrol", "create", "reservation", "ReservationName=repair", "Users=root", "Nodes=ALL"),
        *("StartTime=now+7200", "Duration=60", "Flags=MAINT"),
    )
    end = time.monotonic() + 90
    while slurm.state(job) != "RUNNING":
        assert time.monotonic() < end
        time.sleep(0.1)
    text, rest = by_text(slurm), by_rest(slurm)
    partitions = rest.catalog.partitions
    if not any(one.default for one in partitions):  # 0.0.40 to 0.0.44 do not report it
        partitions = tuple(replace(one, default=one.name == "cpu") for one in partitions)
    assert replace(rest, catalog=replace(rest.catalog, time=text.catalog.time, partitions=partitions)) == text
    cpu, gpu = text.catalog.partitions
    assert (cpu.nodes_up, cpu.nodes_idle, cpu.cores_free, cpu.gpus) == (1, 1, 8, ())
    assert gpu.gpus[0] == GpuCount(type="a100", total=2, free=1, per_node=2)
    assert gpu.cores_free == 6
    course, repair = sorted(text.catalog.reservations, key=lambda one: one.name)
    assert (repair.maintenance, repair.whole_partitions) == (True, ("cpu", "gpu"))
    assert course.whole_partitions == ("cpu",)  # cn2 is drained
    assert (course.users, course.partition, course.nodes) == (("alice", "bob"), "cpu", 1)
    assert abs(course.start - time.time() - 3600) < 300


def test_a_partitions_groups_and_its_own_qos_are_known(slurm):
    slurm.run("scontrol", "update", "PartitionName=gpu", "AllowGroups=bob", "QoS=gpuq")
    try:
        text, rest = by_text(slurm), by_rest(slurm)
    finally:
        slurm.run("scontrol", "update", "PartitionName=gpu", "AllowGroups=ALL", "QoS=")
    for offer in (text, rest):
        gpu = offer.catalog.partition("gpu")
        assert (gpu.groups, gpu.own_qos) == (("bob",), "gpuq")
        assert (offer.grants["bob"].groups, offer.grants["alice"].groups) == (("bob",), ())
    gpu = by_text(slurm).catalog.partition("gpu")
    assert (gpu.groups, gpu.own_qos) == (None, "")


def test_without_slurmdbd_its_last_data_is_used(slurm):
    async def main():
        gatherer = Gatherer("hpc", open_client(slurm_config(slurm, "cli")).source())
        before = await gatherer.gather()
        slurm.daemon("slurmdbd").stop()
        try:
            after = await gatherer.gather()
        finally:
            slurm.daemon("slurmdbd").start()
        assert after.grants == before.grants
        assert after.catalog.qos == before.catalog.qos
        assert "last ones known" in after.catalog.notes[0]

    run(main())


def test_without_slurmctld_there_is_a_transient_error(slurm):
    slurm.daemon("slurmctld").stop()
    try:
        by_text(slurm)
    except LauncherError as error:
        assert error.transient
    else:
        raise AssertionError("a catalog was returned")
    finally:
        slurm.daemon("slurmctld").start()


def test_a_refresh_costs_slurmctld_at_most_eight_requests(slurm):
    def requests():
        lines = slurm.run("sdiag").splitlines()
        at = next(
            at for at, line in enumerate(lines) if line.startswith("Remote Procedure Call statistics by message type")
        )
        counts = (
            line.split("count:")[1].split()[0] for line in lines[at + 1 :] if "count:" in line and "REQUEST_" in line
        )
        return sum(int(count) for count in counts)

    before = requests()
    cost_of_asking = requests() - before
    before = requests()
    by_text(slurm)
    assert requests() - before - cost_of_asking <= 8
