"""What the form shows: entries with what is free, limits in sentences, and what it says when there is nothing."""

from catalogs import ALICE, ALL, CATALOG, CPU, FIXED, GPU, HOUR, NOW
from msgspec.structs import replace

from state.config.tables import OptionConfig
from state.offer.catalog import Grants, Reservation
from state.offer.combinations import Facts
from state.offer.fields import offer

FACTS = Facts(catalog=CATALOG, grants=ALICE, user="alice")


def fields(picks=None, *, narrow=True, profile=ALL, facts=FACTS):
    return offer(profile, facts, picks or {}, narrow=narrow).fields


def values(field):
    return [entry.value for entry in field.entries]


def labels(field):
    return [entry.label for entry in field.entries]


def test_partitions_are_shown_with_what_is_free():
    shown = fields()["partition"]
    assert labels(shown) == [
        "cpu: 12 of 16 cores free",
        "gpu: 3 of 4 a100 free, 2 of 2 v100 free",
        "old: starts no jobs now",
    ]
    assert shown.value == "cpu"
    assert shown.says == "2 of 2 nodes up, 12 of 16 cores free."
    assert fields({"partition": "old"})["partition"].says.startswith(
        "Partition old starts no jobs now. Yours will wait"
    )


def test_a_partition_whose_nodes_are_all_down_or_that_is_for_a_group_says_so():
    catalog = replace(CATALOG, partitions=(replace(CPU, nodes_up=0, groups=("chem", "bio")),))
    said = fields(facts=replace(FACTS, catalog=catalog, grants=replace(ALICE, groups=("bio",))))["partition"].says
    assert "All nodes of partition cpu are down" in said
    assert "Only for members of chem or bio." in said
    drained = replace(FACTS, catalog=replace(CATALOG, partitions=(replace(CPU, nodes_up=0, nodes_drained=2),)))
    assert fields(facts=drained)["partition"].says == (
        "All nodes of partition cpu are drained. A job will wait until an admin resumes one. "
        "0 of 2 nodes up, 2 drained, 12 of 16 cores free."
    )
    both = replace(FACTS, catalog=replace(CATALOG, partitions=(replace(CPU, nodes_up=0, nodes_drained=1),)))
    assert "No node of partition cpu is up: 1 drained, 1 down." in fields(facts=both)["partition"].says


def test_a_page_without_scripts_shows_every_choice_and_one_with_them_what_goes_together():
    everything, narrowed = fields(narrow=False), fields(narrow=True)
    assert values(everything["gpu"]) == ["", "a100", "v100"]
    assert values(everything["account"]) == ["bio", "physics"]
    assert values(everything["qos"]) == ["normal", "long", "gpuq"]
    assert values(narrowed["gpu"]) == [""]
    assert values(narrowed["qos"]) == ["normal", "long"]
    on_gpu = fields({"partition": "gpu"})
    assert labels(on_gpu["gpu"]) == ["Any, or none", "a100: 3 of 4 free", "v100: 2 of 2 free"]
    assert values(on_gpu["account"]) == ["physics"]
    assert values(on_gpu["qos"]) == ["normal", "gpuq"]
    assert values(on_gpu["reservation"]) == ["", "course"]


def test_a_type_that_is_in_two_partitions_says_where():
    other = replace(GPU, name="big", accounts=None)
    facts = replace(FACTS, catalog=replace(CATALOG, partitions=(*CATALOG.partitions, other)))
    assert "a100: 3 of 4 free in gpu, 3 of 4 free in big" in labels(fields(facts=facts, narrow=False)["gpu"])


def test_limits_are_explained_with_what_sets_them():
    shown = fields({"partition": "gpu", "gpu": "a100"})
    assert shown["time"].says == "Partition gpu allows at most 8 hours."
    assert shown["time"].suggestions[-1] == "08:00:00"
    assert shown["gpus"].says == "1 to 2. QOS gpuq allows at most 2 GPUs for each user."
    assert (shown["gpus"].minimum, shown["gpus"].maximum) == (1, 2)
    assert shown["cores"].says == "1 to 8. Nodes of partition gpu have at most 8 cores."
    assert shown["qos"].says == "QOS gpuq: at most 2 GPUs for each user."
    assert shown["gpu"].says == "Partition gpu: 3 of 4 a100 free."
    assert (
        fields(
            {"partition": "gpu"},
            profile=replace(ALL, option={**ALL.option, "cores": OptionConfig(kind="cores", maximum=4)}),
        )["cores"].says
        == "1 to 4."
    )


def test_values_that_the_profile_lists_are_all_there_is_and_only_those_that_fit():
    profile = replace(ALL, option={**ALL.option, "time": OptionConfig(kind="walltime", values=("1h", "4h", "2d"))})
    assert labels(fields(profile=profile, narrow=False)["time"]) == ["1 hour", "4 hours", "2 days"]
    assert values(fields(profile=profile)["time"]) == ["01:00:00", "04:00:00"]


def test_fields_without_a_choice_are_hidden():
    shown = fields()
    assert not shown["account"].hidden
    alone = replace(ALICE, associations=ALICE.associations[:1])
    shown = fields(facts=replace(FACTS, grants=alone))
    assert shown["account"].hidden
    assert shown["gpus"].hidden
    assert shown["gpu"].hidden
    assert fields(facts=replace(FACTS, catalog=replace(CATALOG, enforced=False)))["qos"].hidden


def test_a_pick_that_does_not_go_shows_what_would_stand_there():
    made = offer(ALL, FACTS, {"partition": "cpu", "gpu": "a100", "gpus": 2}, narrow=True)
    assert set(made.wrong) == {"gpu", "gpus"}
    assert made.fields["gpu"].value == ""
    assert (made.fields["gpus"].value, made.fields["gpus"].usual) == (2, 0)


def test_an_empty_offer_says_why_and_shows_no_field():
    made = offer(ALL, replace(FACTS, grants=Grants()), {}, narrow=False)
    assert made.fields == {}
    assert "Ask its admins for one" in made.problem
    assert offer(FIXED, FACTS, {}, narrow=False).problem == ""


def test_while_nothing_is_known_the_profiles_own_values_are_shown():
    made = offer(ALL, Facts(), {"cores": 3}, narrow=False)
    assert made.time is None
    assert made.fields["cores"].value == 3
    assert made.fields["memory"].value == "4G"
    assert made.fields["partition"].entries is None


def maintained(start, *, end=None, partitions=("cpu",), **more):
    """What is known when maintenance of whole partitions begins in so many seconds."""
    end = start + 4 * HOUR if end is None else end
    one = Reservation(
        name="repair",
        start=NOW + start,
        end=NOW + end,
        nodes=2,
        users=("root",),
        maintenance=more.get("maintenance", True),
        whole_partitions=partitions,
    )
    return replace(FACTS, catalog=replace(CATALOG, reservations=(*CATALOG.reservations, one)))


SOON = 58 * 60
TOLD = "Planned maintenance begins in 58 minutes, before the server would reach its time limit."
HOW = "To start now, set a time limit of at most 55 minutes. Otherwise the job starts after the maintenance."


def test_a_time_limit_that_runs_into_maintenance_is_told_with_the_longest_that_does_not():
    facts = maintained(SOON)
    assert fields({"time": "08:00:00"}, facts=facts)["time"].says.endswith(f"{TOLD} {HOW}")
    assert fields(facts=facts)["time"].value == "01:00:00"  # the partition's own
    assert fields(facts=facts)["time"].says.endswith(HOW)
    assert "maintenance" not in fields({"time": "00:55:00"}, facts=facts)["time"].says


def test_maintenance_that_leaves_a_job_room_is_not_told():
    for facts in (
        maintained(SOON, partitions=()),
        maintained(SOON, partitions=("gpu",)),
        maintained(SOON, maintenance=False),
        maintained(-2 * HOUR, end=-HOUR),
        maintained(30 * HOUR),
    ):
        assert "maintenance" not in fields({"partition": "cpu", "time": "08:00:00"}, facts=facts)["time"].says
    assert HOW in fields({"partition": "gpu"}, facts=maintained(SOON, partitions=("gpu",)))["time"].says


def test_maintenance_that_leaves_no_time_or_has_begun_is_told_so():
    assert fields({"time": "08:00:00"}, facts=maintained(60))["time"].says.endswith(
        "Planned maintenance begins in 1 minute, before the server would reach its time limit. "
        "The job starts after the maintenance."
    )
    assert fields({"time": "00:10:00"}, facts=maintained(-60))["time"].says.endswith(
        "Maintenance is in progress. The server starts when it is over."
    )
    days = fields({"time": "1-00:00:00"}, facts=maintained(23 * HOUR + 59 * 60))["time"].says
    assert "set a time limit of at most 23 hours 55 minutes." in days
    listed = replace(ALL, option={**ALL.option, "time": OptionConfig(kind="walltime", values=("1h", "4h"))})
    assert fields({"time": "04:00:00"}, facts=maintained(SOON), profile=listed)["time"].says.endswith(
        "The job starts after the maintenance."
    )


def test_maintenance_is_told_elsewhere_if_the_form_has_no_time_limit():
    facts = maintained(30 * 60, partitions=("gpu", "cpu"))
    made = offer(FIXED, facts, {}, narrow=False)
    assert made.notes == (
        (
            "Planned maintenance begins in 30 minutes, before the server would reach its time limit. "
            "The job starts after the maintenance."
        ),
    )
    some = {kind: ALL.option[kind] for kind in ("partition", "cores")}
    made = offer(replace(ALL, option=some), facts, {}, narrow=False)
    assert made.fields["partition"].says.endswith("The job starts after the maintenance.")
    assert made.notes == ()
    assert offer(FIXED, maintained(HOUR + 60, partitions=("gpu",)), {}, narrow=False).notes == ()
