"""What three versions of Slurm said of clusters in the same state is read as the same, from commands and from REST."""

import re

import pytest
from msgspec.structs import replace

from batch.launchers.slurm import gather_rest as rest
from batch.launchers.slurm import gather_text as text
from batch.launchers.slurm.cli import QUEUE_FIELDS, job_of
from batch.launchers.slurm.ending import cause, from_rest, from_sacct
from batch.launchers.slurm.rest_shapes import jobs_of
from tests.batch.launchers.slurm import seen

NEWER = seen.VERSIONS[1:]
ENDS = (
    (None, "An administrator cancelled the job while it waited in the queue."),
    (None, "It ran out of memory: it used all of the 100 MB that it asked for."),
    (None, "It reached its walltime of 1 minute."),
    (3, ""),
    (139, ""),
    (0, ""),
    (None, "You cancelled the job outside the hub."),
    (None, "An administrator cancelled the job."),
    (None, "Slurm could not start the job on cn1."),
    (1, "The node gn1 failed while the job ran on it."),
)
"""In the order of their numbers: exit code, sentence."""


def told(ended):
    reason = cause(ended, user="alice", name_of=lambda uid: {0: "root", 1001: "alice"}.get(uid, ""))
    return ended.exit_code, re.sub(r"used (100|99\.[0-9]) MB of", "used all of", reason.message) if reason else ""


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
    for read, name in ((text.partitions_of, "partitions.txt"), (text.qos_of, "qos.txt"), (text.grants_of, "users.txt")):
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
    assert rest.qos_of(seen.answer("qos.json", version)) == text.qos_of(seen.text("qos.txt", version))
    assert rest.grants_of(seen.answer("associations.json", version)) == text.grants_of(seen.text("users.txt", version))
    written = text.reservations_of(seen.text("reservations.txt", version))
    for one, other in zip(rest.reservations_of(seen.answer("reservations.json", version)), written, strict=True):
        assert replace(one, start=0.0, end=one.end - one.start) == replace(
            other, start=0.0, end=other.end - other.start
        )


@pytest.mark.parametrize("version", seen.VERSIONS)
def test_squeue_and_slurmrestd_tell_the_same_jobs(version):
    by_command = [job_of([row[field] for field in QUEUE_FIELDS]) for row in seen.answer("squeue.json", version)]
    by_rest = {job.id: job for job in jobs_of(seen.answer("queue.json", version))}
    assert len(by_command) == len(by_rest) == 9
    for job in by_command:
        assert by_rest[job.id] == job


@pytest.mark.parametrize("version", NEWER)
def test_each_end_is_told_as_what_it_was_by_sacct_and_by_slurmrestd(version):
    by_sacct = from_sacct(seen.text("sacct.txt", version))
    assert tuple(told(by_sacct[number]) for number in sorted(by_sacct, key=int)) == ENDS
    by_rest = {job["job_id"]: from_rest(job) for job in seen.answer("jobs.json", version)["jobs"]}
    assert tuple(told(by_rest[number]) for number in sorted(by_rest)) == ENDS
