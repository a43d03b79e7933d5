"""Which host a job goes to, and which of its GPUs it gets."""

import msgspec
import pytest

from batch.contract import LauncherError, Resources
from batch.launchers.ssh.answers import RawGpu, gpu_of
from batch.launchers.ssh.catalog import offer_of
from batch.launchers.ssh.launcher import gpu_environment, own_address
from batch.launchers.ssh.native_id import Place, parse
from batch.launchers.ssh.placement import GIB, Gpu, HostFacts, Share, choose, in_turn, share_of
from state.config.tables import OptionConfig, ProfileConfig
from state.offer.access import Facts
from state.offer.catalog import Grants
from state.offer.combinations import Combinations
from state.offer.resolution import settle


def host(name, *, cores=16, memory=64, free=None, gpus=(), shares=(), load=0.0, most=0):
    return HostFacts(
        name=name,
        cores=cores,
        memory=memory * GIB,
        memory_available=(memory if free is None else free) * GIB,
        load=load,
        gpus=tuple(gpus),
        shares=tuple(("bob", share) for share in shares),
        max_servers=most,
    )


def a100(count, *, used=()):
    return [Gpu(index=index, type="a100", used=index in used) for index in range(count)]


def pick(hosts, silent=None, **asked):
    return choose(Resources(**asked), hosts, silent=silent or {}, cluster="lab")


def refused(hosts, silent=None, **asked):
    with pytest.raises(LauncherError) as caught:
        pick(hosts, silent, **asked)
    return caught.value


def test_the_host_with_the_most_room_gets_the_job():
    hosts = [host("a", free=8), host("b"), host("c", shares=[Share(memory=60 * GIB)])]
    assert pick(hosts, cores=2, memory=4 * GIB).host == "b"


def test_a_job_without_gpus_leaves_gpu_hosts_to_others_while_there_is_room():
    hosts = [host("gpu", memory=512, gpus=a100(4)), host("cpu", memory=32)]
    assert pick(hosts, cores=1).host == "cpu"
    assert pick([hosts[0], host("cpu", cores=0)], cores=1).host == "gpu"


def test_gpus_are_given_by_type_and_never_twice_or_while_others_use_them():
    busy = host("a", gpus=[*a100(3, used=[1]), Gpu(index=3, type="v100")], shares=[Share(gpus=(0,))])
    assert pick([busy], gpu_type="a100").share.gpus == (2,)
    assert pick([busy], gpu_type="v100", gpus=1).share.gpus == (3,)
    assert pick([busy], gpus=2).share.gpus == (2, 3)
    assert refused([busy], gpu_type="a100", gpus=2).transient
    never = refused([busy], gpu_type="a100", gpus=4)
    assert (never.transient, never.field, str(never)) == (False, "gpus", "No host of lab has 4 a100 GPUs.")


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({"cores": 17}, "cores", "No host of lab has 17 cores."),
        ({"memory": 65 * GIB}, "memory", "No host of lab has 65 GiB of memory."),
        ({"gpu_type": "h100"}, "gpu", "No host of lab has 1 h100 GPU."),
        ({"cores": 17, "partition": "a"}, "cores", "a does not have 17 cores."),
    ],
)
def test_resources_that_no_host_has_are_rejected_with_their_field(asked, field, words):
    error = refused([host("a"), host("b")], **asked)
    assert (error.transient, error.field, str(error)) == (False, field, words)


def test_jobs_that_do_not_fit_now_wait():
    full = refused([host("a", shares=[Share(cores=15)])], cores=2)
    assert (full.transient, full.code) == (True, "full")
    assert refused([host("a", most=1, shares=[Share()])]).transient
    assert refused([host("a", free=1)], memory=2 * GIB).transient


def test_a_picked_host_is_used_or_reported_as_down_or_unknown():
    hosts, silent = [host("a"), host("b")], {"c": "c does not answer."}
    assert pick(hosts, silent, partition="a").host == "a"
    assert pick(hosts, silent, partition="any").host == "a"
    down = refused(hosts, silent, partition="c")
    assert (down.transient, str(down)) == (True, "c does not answer.")
    unknown = refused(hosts, silent, partition="d")
    assert (unknown.transient, unknown.field) == (False, "partition")


def test_a_job_that_only_a_silent_host_might_hold_waits():
    assert refused([host("a", cores=4)], {"big": "big does not answer."}, cores=32).transient
    assert refused([], {"a": "a does not answer."}).transient


def test_jobs_do_not_overtake_others_that_wait_for_the_same_resources():
    hosts = [host("a", gpus=a100(2, used=[1]))]
    first = Resources(gpus=2)
    assert pick(in_turn([first], hosts, cluster="lab"), gpus=1).host == "a"  # it cannot have what the first waits for
    free = [host("a", gpus=a100(2))]
    with pytest.raises(LauncherError):
        pick(in_turn([first], free, cluster="lab"), gpus=1)


def test_labels_survive_the_way_through_a_command_line():
    for share in (Share(), Share(cores=4, memory=3 * GIB), Share(gpus=(0, 11)), Share(cores=1, gpus=(2,))):
        assert share_of(share.label) == share
    for text in ("", "-", "c1", "c1,m1,g1.x", "c-1,m0,g", "c1,m1,g\n"):
        assert share_of(text) == Share()


def test_native_ids_are_read_back_and_others_are_not():
    for place in (Place(account="alice", host="gpu1"), Place(account="a.b-c", host="gpu1.lab.edu", pid=7, start=99)):
        assert parse(str(place)) == place
    for text in ("", "1", "4711.123", "alice@", "@gpu1", "alice@gpu1:7", "a@b@c", "alice@gpu1:7.9 "):
        assert parse(text) is None


def test_gpu_types_are_short():
    names = {"NVIDIA A100-SXM4-80GB": "a100-sxm4-80gb", "Tesla V100-PCIE-16GB": "v100-pcie-16gb", "NVIDIA H100": "h100"}
    for name, kind in names.items():
        assert gpu_of(RawGpu(index=0, name=name)).type == kind


def test_an_app_gets_its_gpus_if_the_profile_has_a_gpu_option():
    assert gpu_environment(Resources(), Share()) == {}
    assert gpu_environment(Resources(gpus=0), Share())["CUDA_VISIBLE_DEVICES"] == ""
    told = gpu_environment(Resources(gpu_type="a100"), Share(gpus=(2, 3)))
    assert told["CUDA_VISIBLE_DEVICES"] == told["ROCR_VISIBLE_DEVICES"] == "2,3"


def test_the_catalog_has_each_host_and_one_for_any():
    hosts = [host("b", gpus=a100(2), shares=[Share(cores=4, gpus=(0,))]), host("a", memory=32)]
    catalog = offer_of("lab", hosts, {"c": "c does not answer."}, time=1.0).catalog
    assert [one.name for one in catalog.partitions] == ["any", "a", "b", "c"]
    every = catalog.partition("")
    assert (every.name, every.nodes, every.nodes_up, every.cores_free, every.memory_per_node) == (
        "any", 3, 2, 28, 64 * GIB,
    )  # fmt: skip
    assert [(gpu.type, gpu.total, gpu.free, gpu.per_node) for gpu in every.gpus] == [("a100", 2, 1, 2)]
    assert not catalog.partition("c").up
    assert catalog.notes == ("c does not answer.",)


def test_a_form_that_leaves_the_memory_alone_requests_none():
    """A host's memory is no multiple of 1 MiB, and the form's maximum is: it must not be taken for a request for all."""
    odd = msgspec.structs.replace(host("a"), memory=24152 * 1024**2 + 4096)
    catalog = offer_of("lab", [odd], {}, time=1.0).catalog
    profile = ProfileConfig(name="stub", cluster="lab", option={"memory": OptionConfig(kind="memory")})
    form = Combinations(profile, Facts(catalog=catalog, grants=Grants(), user="alice"))
    assert settle(form, {}).values["memory"] == ""


def test_the_catalog_of_one_machine_has_one_partition():
    catalog = offer_of("lab", [host("lab")], {}, time=1.0, kind="local", pool=False).catalog
    assert catalog.kind == "local"
    assert [(one.name, one.default) for one in catalog.partitions] == [("lab", True)]
    profile = ProfileConfig(name="p", cluster="lab", command=("app", "{socket}"))
    assert Combinations(profile, Facts(catalog=catalog, user="alice")).every


def test_only_an_address_is_listened_on():
    assert own_address("10.0.0.7") == "10.0.0.7"
    assert own_address("fd00::7") == "fd00::7"
    assert own_address("gpu1") == own_address("gpu1.lab.edu") == own_address("") == ""
