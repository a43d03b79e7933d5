"""What the form offers, Slurm takes: every corner of the form, asked of a real slurmctld with odd partitions and limits.

Its further nodes are those of a cloud, powered down: they need no slurmd, and Slurm gives jobs to them.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator

import pytest

from batch.contract import Resources
from batch.jobs.job_builder import resources as resources_of
from batch.launchers.slurm.script import resource_options
from deploy.devcluster.clients import version
from deploy.devcluster.users import provide
from state.config.tables import OptionConfig, ProfileConfig, ResourcesConfig
from state.errors import ChoicesError
from state.offer.access import Facts
from state.offer.catalog import Grants
from state.offer.choices import choose
from state.offer.combinations import Combinations, names_of, ways
from state.offer.fields import offer_of
from state.offer.limits import bounds
from state.offer.option_kinds import COUNTED, KINDS, NAMED, amount, canonical
from state.offer.quantities import MEBIBYTE, MINUTE
from state.offer.resolution import settle
from tests import slurm as rig
from tests.batch.launchers.slurm.making import gathered, job, record, slurm_config, slurm_maker

QOS = (
    "add qos ofpart MaxTRESPerJob=cpu=3 Flags=DenyOnLimit",
    "add qos mint MinTRESPerJob=cpu=4,gres/gpu=1 Flags=DenyOnLimit",
    "add qos pernode MaxTRESPerNode=cpu=3,mem=5000 Flags=DenyOnLimit",
    "add qos grp GrpTRES=cpu=5,mem=20000 Flags=DenyOnLimit",
    "add qos mins MaxTRESMinsPerJob=cpu=60,gres/gpu=30 Flags=DenyOnLimit",
    "add qos budget GrpTRESMins=cpu=900 GrpWall=600 Flags=DenyOnLimit",
    "add qos spent GrpTRESMins=cpu=0 Flags=DenyOnLimit",
    "add qos peruser MaxTRESPerUser=gres/gpu:a100=1,cpu=12 Flags=DenyOnLimit",
    "add qos lifts MaxTRESPerJob=cpu=7 Flags=DenyOnLimit,PartitionMinNodes,PartitionMaxNodes,PartitionTimeLimit",
    "add qos runs GrpTRESRunMins=cpu=120 Flags=DenyOnLimit",
    "add qos free Flags=DenyOnLimit",
)
ALL_QOS = "ofpart,mint,pernode,grp,mins,budget,spent,peruser,lifts,runs,free"
ACCOUNTS = (
    "add account faculty Description=x GrpTRES=cpu=6 GrpTRESMins=cpu=5000 GrpWall=100",
    "add account institute parent=faculty Description=x MaxTRESPerNode=cpu=5",
    "add account deep parent=institute Description=x",
    "add account wide Description=x",
    f"modify account faculty set qos={ALL_QOS} defaultqos=free",
    f"modify account wide set qos={ALL_QOS} defaultqos=free",
    "add user alice account=deep",
    "modify user alice where account=deep set MaxTRESMinsPerJob=cpu=100",
    "add user bob account=wide",
)
ODD_NAMES = (
    ("add", "qos", "größe 2", "Flags=DenyOnLimit"),
    ("add", "account", "física/lab 1", "parent=faculty", "Description=x"),
    ("modify", "account", "física/lab 1", "set", "qos=größe 2,free", "defaultqos=größe 2"),
    ("add", "user", "Dora", "account=física/lab 1"),
    ("add", "user", "Dora", "account=deep"),
)
"""Names that sacctmgr reads from its arguments only."""
LINES = (
    *("SuspendTime=60000", "ResumeTimeout=65000", "SuspendTimeout=2"),
    *("ResumeProgram=/bin/true", "SuspendProgram=/bin/true"),
    "EnforcePartLimits=ALL",
    "NodeName=DEFAULT State=CLOUD",
    "NodeName=big[1-2] CPUs=16 RealMemory=64000 Feature=bigmem",
    "NodeName=acc[1-3] CPUs=8 RealMemory=16000 Gres=gpu:a100:4 Feature=a100,fast",
    "NodeName=mix1 CPUs=8 RealMemory=16000 Gres=gpu:a100:2,gpu:v100:3",
    "NodeName=spec1 CPUs=8 RealMemory=16000 CoreSpecCount=2 MemSpecLimit=4000",
    "NodeName=old[1-3] CPUs=4 RealMemory=8000 Gres=gpu:2",
    "PartitionName=DEFAULT MaxTime=12:00:00 DefaultTime=30",
    "PartitionName=odd Nodes=big[1-2],acc[1-3]",
    "PartitionName=mixed Nodes=mix1",
    "PartitionName=spec Nodes=spec1",
    "PartitionName=minnodes Nodes=old[1-3] MinNodes=2",
    "PartitionName=maxnodes Nodes=old[1-3] MaxNodes=2",
    "PartitionName=maxcpus Nodes=big1 MaxCPUsPerNode=6",
    "PartitionName=maxmem Nodes=big1 MaxMemPerNode=20000",
    "PartitionName=mempercpu Nodes=big1 MaxMemPerCPU=1000",
    "PartitionName=memtwo Nodes=big1 MaxMemPerCPU=1000 MaxCPUsPerNode=4",
    "PartitionName=ofqos Nodes=old[1-3] QOS=ofpart",
    "PartitionName=reserved Nodes=big1 ReqResv=YES",
    "PartitionName=empty",
    "PartitionName=drained Nodes=big1 State=DRAIN",
    "PartitionName=inactive Nodes=big1 State=INACTIVE",
    "PartitionName=closed Nodes=big1 State=DOWN",
    "PartitionName=hidden Nodes=big1 Hidden=YES",
    "PartitionName=allowed Nodes=big1 AllowAccounts=FACULTY",
    "PartitionName=denied Nodes=big1 DenyAccounts=Institute",
)
FORM = ProfileConfig(name="form", cluster="odd", option={kind: OptionConfig(kind=kind) for kind in KINDS})
ORDERS = (
    ("nodes", "gpus", "cores", "memory", "walltime"),
    ("memory", "cores", "gpus", "nodes", "walltime"),
    ("walltime", "cores", "memory", "gpus", "nodes"),
    ("gpus", "memory", "nodes", "walltime", "cores"),
)
ALL_GPUS = {"partition": "gpu", "account": "wide", "qos": "free", "gpus": 4, "memory": "100M"}
STEP = {"memory": MEBIBYTE, "walltime": MINUTE}
LENIENT = {(22, 5): {("cores", "spec"), ("memory", "memtwo")}}
"""What slurmctld gives beyond a limit of slurm.conf: cores that are kept for the system, or more than MaxCPUsPerNode."""
NEVER = ("reserved", "empty", "drained", "inactive", "hidden")
UNTOLD = {("rest", (22, 5)): {"spec", "spent", "budget"}, ("rest", (24, 11)): {"reserved", "hidden"}}
"""By client and version: partitions and QOS of which slurmrestd does not say what makes them odd (docs/slurm.md)."""


@pytest.fixture(scope="module")
def odd() -> Iterator[rig.Slurm]:
    """A cluster of its own, with these lines in slurm.conf."""
    with rig.running() as cluster:
        provide(cluster.layout, "Dora")
        cluster.sacctmgr(*QOS, *ACCOUNTS)
        for command in ODD_NAMES:
            cluster.run("sacctmgr", "--immediate", *command)
        # Before 23.02 nodes of a cloud are not shown while they are powered down, unless slurm.conf says so.
        seen = ("PrivateData=cloud",) if version(cluster.layout) < (23, 2) else ()
        cluster.reconfigure(*seen, *LINES)
        # A slurmctld that has just begun does not know the devices of a node before it has heard of it.
        asker, end = Asker(cluster, "bob", {}), time.monotonic() + 90
        while asker.submit(ALL_GPUS, "--test-only")[1].startswith("allocation failure"):
            assert time.monotonic() < end, "gn1 does not register its GPUs"
            time.sleep(0.2)
        yield cluster


class Asker:
    """Asks Slurm whether it takes a job, each once; what it takes is not to begin before tomorrow.

    Not on hold: of such a job slurmctld does not look whether any node fits it.
    """

    def __init__(self, slurm: rig.Slurm, user: str, messages: dict[str, str]) -> None:
        self.slurm, self.user, self.messages = slurm, user, messages

    def refusal(self, choices: dict, *more: str) -> str:
        """Why Slurm refuses a job with these choices; `""`: it takes it."""
        asked = repr((self.user, sorted(choices.items()), more))
        if asked not in self.messages:
            self.messages[asked] = self.submit(choices, "--begin=now+1day", *more)[1]
        return self.messages[asked]

    def submit(self, choices: dict, *more: str) -> tuple[str, str]:
        """The job's id, or why Slurm refuses it."""
        asked = resources_of(record(self.user, choices=choices), FORM)
        options = [f"--{name}={value}" if value else f"--{name}" for name, value in resource_options(asked)]
        argv = ("sbatch", "--parsable", "--output=/dev/null", *options, *more)
        done = self.slurm.attempt(*argv, user=self.user, stdin="#!/bin/sh\nsleep 600\n")
        return done.stdout.strip(), done.stderr.strip() if done.returncode else ""

    def waits_for_ever(self, choices: dict) -> bool:
        """Whether a limit keeps a job waiting that Slurm has taken."""
        job, refusal = self.submit(choices)
        assert not refusal, choices
        end = time.monotonic() + 90
        while (reason := self.slurm.field(job, "Reason")) in ("None", "Priority", "Resources", ""):
            if self.slurm.state(job) in ("CONFIGURING", "RUNNING"):
                break
            assert time.monotonic() < end, (choices, reason)
            time.sleep(0.1)
        self.slurm.run("scancel", job)
        return reason.startswith(("QOS", "Assoc"))

    def clear(self) -> None:
        self.slurm.run("scancel", f"--user={self.user}")


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    """What Slurm has said to each job."""
    return {}


@pytest.fixture
def asker(odd, messages, request):
    made = Asker(odd, request.param, messages)
    yield made
    made.clear()


def facts_of(slurm: rig.Slurm, account: str, client: str = "cli") -> Facts:
    user = account.lower()
    offer = asyncio.run(gathered(slurm_config(slurm, client)))
    assert offer.catalog.notes == ()
    return Facts(catalog=offer.catalog, grants=offer.grants.get(user, Grants()), user=user)


def named(form: Combinations) -> Iterator[dict]:
    """Every combination of names that the form leads to, one field after the other."""

    def further(picks: dict, kinds: tuple[str, ...]) -> Iterator[dict]:
        if not kinds:
            yield picks
            return
        field = offer_of(form, picks, narrow=True).fields[kinds[0]]
        values = [entry.value for entry in field.entries or ()] or ["", *field.suggestions]
        for value in values:
            yield from further({**picks, kinds[0]: value}, kinds[1:])

    yield from further({}, NAMED)


def most_of(form: Combinations, picks: dict, kind: str) -> tuple[int | None, str]:
    """The most of a kind that the form lets one ask for beside these picks, and which limit that is."""
    settled = settle(form, picks)
    assert settled.wrong == {}, (picks, settled.wrong)
    found = bounds(kind, settled.way, settled.request).most
    return (found.amount, found.why) if found else (None, "")


def corner(form: Combinations, names: dict, order: tuple[str, ...]) -> dict:
    """The most of one kind after the other, and what the form makes of it."""
    picks = dict(names)
    for kind in order:
        most, _ = most_of(form, picks, kind)
        if most is not None:
            picks[kind] = canonical(kind, most)
    return picked(form, picks)


def picked(form: Combinations, picks: dict) -> dict:
    """What the form makes of picks, which are to be fine."""
    settled = settle(form, {name: value for name, value in picks.items() if value != ""})
    assert settled.wrong == {}, (picks, settled.wrong)
    return settled.values


CLIENTS = pytest.mark.parametrize("client", ["cli", "rest"])


@CLIENTS
@pytest.mark.parametrize("asker", ["alice", "bob", "Dora"], indirect=True)
def test_slurm_takes_every_corner_of_the_form(odd, asker, client):
    facts = facts_of(odd, asker.user, client)
    untold = UNTOLD.get((client, version(odd.layout)), set())
    orders = itertools.cycle(ORDERS)
    refused, asked = [], 0
    form = Combinations(FORM, facts)
    for names in named(form):
        if untold & {names["partition"], names["qos"]}:
            continue
        bare, most = picked(form, names), corner(form, names, next(orders))
        assert picked(form, most) == most
        for picks in (bare, most):
            asked += 1
            if said := asker.refusal(picks):
                refused.append((picks, said))
    assert refused == []
    assert asked > 80


@pytest.mark.parametrize("asker", ["alice", "bob"], indirect=True)
def test_one_more_than_the_form_lets_one_ask_for_is_refused_or_never_starts(odd, asker):
    """Each limit that the form names, once: it is neither too wide nor too narrow."""
    form = Combinations(FORM, facts_of(odd, asker.user))
    started, messages = [], set()
    for names in named(form):
        for kind in COUNTED:
            most, why = most_of(form, names, kind)
            if most is None or (kind, why) in messages or names["partition"] == "closed":
                continue
            messages.add((kind, why))
            picks = picked(form, {**names, kind: canonical(kind, most)} if most else names)
            assert asker.refusal(picks) == "", (picks, why)
            over = {**picks, kind: canonical(kind, most + STEP.get(kind, 1))}
            assert kind in settle(form, over).wrong, over
            lenient = (kind, names["partition"]) in LENIENT.get(version(odd.layout), ())
            if not asker.refusal(over) and not lenient and not asker.waits_for_ever(over):
                started.append((over, why))
    assert started == []
    assert len(messages) > 50


@pytest.mark.parametrize("asker", ["bob"], indirect=True)
def test_slurm_starts_the_jobs_that_it_takes(odd, asker):
    """The most of everything, in each partition: a limit that only the scheduler looks at would leave it waiting."""
    form = Combinations(FORM, facts_of(odd, "bob"))
    seen = set()
    for names in named(form):
        partition = names["partition"]
        if partition in seen or partition == "closed" or names["qos"] != "free":
            continue
        seen.add(partition)
        picks = corner(form, names, ORDERS[len(seen) % len(ORDERS)])
        job, refusal = asker.submit(picks)
        assert not refusal, picks
        try:
            odd.until(job, "CONFIGURING", "RUNNING")
        finally:
            odd.run("scancel", job)
            odd.until(job, "CANCELLED", "")
    assert {"odd", "mixed", "maxcpus", "maxmem", "mempercpu"} <= seen


@CLIENTS
def test_partitions_that_refuse_every_job_are_not_offered_and_the_reason_is_shown(odd, client):
    facts = facts_of(odd, "bob", client)
    untold = UNTOLD.get((client, version(odd.layout)), set())
    offered = names_of(way.partition.name for way in ways(FORM, facts))
    assert not (set(NEVER) - untold) & set(offered)
    assert "closed" in offered
    assert "spent" not in set(names_of(way.qos.name for way in ways(FORM, facts))) - untold

    def wrong(partition):
        with pytest.raises(ChoicesError) as caught:
            choose(FORM, {"partition": partition}, facts)
        return caught.value.fields["partition"]

    assert wrong("drained").startswith("Partition drained takes no new jobs now (DRAIN). Pick one of: ")
    assert wrong("inactive").startswith("Partition inactive takes no new jobs now (INACTIVE).")
    assert wrong("empty").startswith("Partition empty has no nodes.")
    resources = ResourcesConfig(partition="hidden", account="wide", qos="free")
    fixed = ProfileConfig(name="fixed", cluster="odd", resources=resources)
    assert names_of(way.partition.name for way in ways(fixed, facts)) == ["hidden"]


@pytest.mark.parametrize("asker", ["bob"], indirect=True)
def test_a_partition_that_needs_a_reservation_is_offered_with_one(odd, asker):
    odd.run(
        *("scontrol", "create", "reservation", "ReservationName=course", "Users=bob", "Nodes=big1"),
        *("StartTime=now", "Duration=600", "PartitionName=reserved"),
    )
    try:
        facts = facts_of(odd, "bob")
        picks = choose(FORM, {"partition": "reserved", "qos": "free"}, facts)
        assert picks["reservation"] == "course"
        assert asker.refusal(picks) == ""
        fields = offer_of(Combinations(FORM, facts), {"partition": "reserved"}, narrow=True).fields
        assert [entry.value for entry in fields["reservation"].entries] == ["course"]
        asker.clear()
    finally:
        odd.run("scontrol", "delete", "ReservationName=course")


@CLIENTS
def test_nodes_of_a_cloud_are_up_and_drained_ones_are_not_down(odd, client):
    odd.run("scontrol", "update", "NodeName=big2", "State=DRAIN", "Reason=fans")
    odd.run("scontrol", "update", "NodeName=acc3", "State=POWER_UP")
    try:
        partition = facts_of(odd, "bob", client).catalog.partition("odd")
        assert (partition.nodes, partition.nodes_up, partition.nodes_drained) == (5, 4, 1)
        assert partition.cores_free == 40
    finally:
        odd.run("scontrol", "update", "NodeName=big2", "State=RESUME")


@pytest.mark.parametrize("asker", ["bob"], indirect=True)
@pytest.mark.parametrize("constraint", ["bigmem", "a100&fast", "bigmem|a100", "bigmem|a100&fast", "bigmem&a100"])
def test_a_constraint_is_read_as_slurm_reads_it(odd, asker, constraint):
    facts = facts_of(odd, "bob")
    names = {"partition": "odd", "qos": "free", "constraint": constraint}
    try:
        picks = choose(FORM, names, facts)
    except ChoicesError as error:
        assert list(error.fields) == ["constraint"]
        picks = choose(FORM, {**names, "constraint": ""}, facts)
        assert asker.refusal(picks, f"--constraint={constraint}") != ""
        return
    most, _ = most_of(Combinations(FORM, facts), picks, "memory")
    assert asker.refusal({**picks, "memory": canonical("memory", most)}) == ""
    assert asker.refusal({**picks, "memory": canonical("memory", most + MEBIBYTE)}) != ""
    assert amount("memory", canonical("memory", most)) == most


@CLIENTS
def test_accounts_of_any_name_and_case_and_the_lists_that_name_those_above_them(odd, client):
    facts = facts_of(odd, "Dora", client)
    assert {one.account for one in facts.grants.associations} == {"física/lab 1", "deep"}
    ways_in = {(way.partition.name, way.account) for way in ways(FORM, facts)}
    nested = version(odd.layout) >= (23, 2)
    assert (("allowed", "física/lab 1") in ways_in, ("allowed", "deep") in ways_in) == (nested, nested)
    assert (("denied", "física/lab 1") in ways_in, ("denied", "deep") in ways_in) == (True, not nested)


@CLIENTS
def test_a_user_whose_account_has_capital_letters_starts_a_job_as_that_account(odd, client):
    async def body():
        launcher = slurm_maker(slurm_config(odd, client))()
        spec = job(user="dora", resources=Resources(partition="odd", account="física/lab 1", qos="größe 2"))
        ref = await launcher.submit(spec)
        view = (await launcher.poll())[spec.attempt]
        owner = odd.field(ref.native_id, "UserId")
        account = odd.run("squeue", "--noheader", "--format=%a|%q", f"--jobs={ref.native_id}").strip()
        await launcher.cancel(ref, spec.attempt)
        await launcher.close()
        return view.user, owner.partition("(")[0], account

    assert asyncio.run(body()) == ("dora", "Dora", "física/lab 1|größe 2")
