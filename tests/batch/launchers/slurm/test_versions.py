"""Three versions of Slurm in the same state give the same facts, through commands and REST."""

import re

import pytest
from msgspec.structs import replace

from batch.launchers.slurm.catalog import rest, rest_accounting, text, text_accounting
from batch.launchers.slurm.catalog.tres import nested
from batch.launchers.slurm.clients.cli import QUEUE_FIELDS, job_of
from batch.launchers.slurm.clients.rest_ended import from_rest
from batch.launchers.slurm.clients.rest_shapes import jobs_of
from batch.launchers.slurm.clients.sacct import from_sacct
from batch.launchers.slurm.messages.ending import cause
from state.offer.catalog import Limits
from tests.batch.launchers.slurm import seen

NEWER = seen.VERSIONS[1:]
ENDS = (
    (None, "An admin cancelled the job while it was waiting in the queue."),
    (None, "The job ran out of memory (asked for 100 MB, used all)."),
    (None, "The job reached its time limit of 1 minute."),
    (3, ""),
    (139, ""),
    (0, ""),
    (None, "alice cancelled the job outside the hub."),
    (None, "An admin cancelled the job."),
    (None, "Slurm could not start the job on cn1."),
    (1, "The node gn1 failed while the job was running on it."),
)
"""Return exit code and message, in the order of the jobs' numbers."""


def shown(ended):
    reason = cause(ended, user="alice", name_of=lambda uid: {0: "root", 1001: "alice"}.get(uid, ""))
    return ended.exit_code, re.sub(r"used (100|99\.[0-9]) MB", "used all", reason.message) if reason else ""


@pytest.mark.parametrize("version", NEWER)
def test_commands_tell_the_catalog_as_those_of_the_oldest_do(version):
    nodes = text.nodes_of(seen.text("nodes.txt", version))
    old = text.nodes_of(seen.text("nodes.txt"))
    for one, other in zip(nodes, old, strict=True):
        planned = replace(one, states=one.states - {"PLANNED"}, gpus_used={})
        assert planned == replace(other, gpus_used={}), one.name
        assert {kind: one.gpus_used.get(kind, 0) for kind in other.gpus} == {
            kind: other.gpus_used[kind] for kind in other.gpus
        }
    for read, name in (
        (text.partitions_of, "partitions.txt"),
        (text_accounting.qos_of, "qos.txt"),
        (text_accounting.grants_of, "users.txt"),
        (text_accounting.accounts_of, "accounts.txt"),
    ):
        assert read(seen.text(name, version)) == read(seen.text(name)), name
    for one, other in zip(
        text.reservations_of(seen.text("reservations.txt", version)),
        text.reservations_of(seen.text("reservations.txt")),
        strict=True,
    ):
        assert replace(one, start=0.0, end=one.end - one.start) == replace(
            other, start=0.0, end=other.end - other.start
        )
    assert text.enforces(text.configuration_of(seen.text("config.txt", version))["AccountingStorageEnforce"])


@pytest.mark.parametrize("version", NEWER)
def test_slurmrestd_tells_the_catalog_as_the_commands_do(version):
    assert rest.nodes_of(seen.answer("nodes.json", version)) == text.nodes_of(seen.text("nodes.txt", version))
    partitions = rest.partitions_of(seen.answer("partitions.json", version))
    if version == "24.11":  # it does not say which partition is the default
        partitions = [replace(one, default=one.name == "cpu") for one in partitions]
    assert partitions == text.partitions_of(seen.text("partitions.txt", version))
    qos = text_accounting.qos_of(seen.text("qos.txt", version))
    assert rest_accounting.qos_of(seen.answer("qos.json", version)) == qos
    associations = seen.answer("associations.json", version)
    assert rest_accounting.grants_of(associations) == text_accounting.grants_of(seen.text("users.txt", version))
    written = text.reservations_of(seen.text("reservations.txt", version))
    for one, other in zip(rest.reservations_of(seen.answer("reservations.json", version)), written, strict=True):
        assert replace(one, start=0.0, end=one.end - one.start) == replace(
            other, start=0.0, end=other.end - other.start
        )


def by_name(found):
    return {one.name: one for one in found}


@pytest.mark.parametrize("version", seen.VERSIONS)
def test_slurmrestd_tells_odd_limits_as_the_commands_do_but_for_what_it_never_tells(version):
    """What is left out: docs/slurm.md, Versions."""
    written = by_name(text.partitions_of(seen.text("odd/partitions.txt", version)))
    told = by_name(rest.partitions_of(seen.answer("odd/partitions.json", version)))
    if version == "24.11":
        told["reserved"] = replace(told["reserved"], needs_reservation=True)
        told["hidden"] = replace(told["hidden"], hidden=True)
    assert told == written
    nodes = by_name(text.nodes_of(seen.text("odd/nodes.txt", version)))
    told = by_name(rest.nodes_of(seen.answer("odd/nodes.json", version)))
    if version == "22.05":
        told["spec1"] = replace(told["spec1"], memory=nodes["spec1"].memory)
    assert {name: (one.cores, one.memory, one.gpus, one.up, one.any_gpus) for name, one in told.items()} == {
        name: (one.cores, one.memory, one.gpus, one.up, one.any_gpus) for name, one in nodes.items()
    }
    qos = by_name(text_accounting.qos_of(seen.text("odd/qos.txt", version)))
    told = by_name(rest_accounting.qos_of(seen.answer("odd/qos.json", version)))
    if version == "22.05":
        qos["budget"] = replace(qos["budget"], limits=Limits(budget={"walltime": 36000}))
        qos["spent"] = replace(qos["spent"], limits=Limits())
    assert told == qos
    associations = seen.answer("odd/associations.json", version)
    accounts = by_name(text_accounting.accounts_of(seen.text("odd/accounts.txt", version)))
    assert by_name(rest_accounting.accounts_of(associations)) == accounts
    users = text_accounting.grants_of(seen.text("odd/users.txt", version))
    granted = rest_accounting.grants_of(associations)
    for name in ("alice", "bob"):
        pairs = ({one.account: one for one in each[name].associations} for each in (users, granted))
        mine, theirs = (
            {account: replace(one, qos=tuple(sorted(one.qos))) for account, one in each.items()} for each in pairs
        )
        assert mine == theirs
    release = (int(version[:2]), int(version[3:]))
    assert rest.version_of(associations) == release
    assert nested(release) is (version != "22.05")  # slurm.conf(5): AllowAccounts, from 23.02 on


@pytest.mark.parametrize("version", NEWER)
def test_shares_tell_what_is_used_of_accounts_budgets(version):
    answer = seen.answer("odd/shares.json", version)
    for one in answer["shares"]["shares"]:
        for entry in one["tres"]["usage"]:
            if entry["name"] == "cpu" and one["name"] == "faculty":
                entry["value"] = 2419.97
    usage = rest_accounting.usage_of(answer)
    assert usage["account", "faculty", "", ""]["cores"] == 2419
    assert usage["account", "deep", "alice", ""]["cores"] == 0


@pytest.mark.parametrize("version", seen.VERSIONS)
def test_squeue_and_slurmrestd_tell_the_same_jobs(version):
    by_command = [job_of([row[field] for field in QUEUE_FIELDS]) for row in seen.answer("squeue.json", version)]
    by_rest = {job.id: job for job in jobs_of(seen.answer("queue.json", version))}
    assert len(by_command) == len(by_rest) == 9
    for job in by_command:
        assert by_rest[job.id] == job


@pytest.mark.parametrize("version", NEWER)
def test_sacct_and_slurmrestd_report_the_cause_of_each_end(version):
    by_sacct = from_sacct(seen.text("sacct.txt", version))
    assert tuple(shown(by_sacct[number]) for number in sorted(by_sacct, key=int)) == ENDS
    by_rest = {job["job_id"]: from_rest(job) for job in seen.answer("jobs.json", version)["jobs"]}
    assert tuple(shown(by_rest[number]) for number in sorted(by_rest)) == ENDS
