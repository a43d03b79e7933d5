"""AllowGroups: the members of a group, and what follows for the catalog."""

import os
import pwd

from batch.launchers.slurm.catalog import text
from batch.launchers.slurm.catalog.gather import Gatherer
from batch.launchers.slurm.catalog.groups import Groups
from state.offer.catalog import Grants
from tests.batch.launchers.slurm.test_gather_text import Commands
from tests.conftest import run

GROUPS = {"chem": (700, ("ann", "ben")), "bio": (701, ())}
OWN = {"ann": 100, "cat": 701, "dan": 100}


def test_members_are_those_listed_and_those_whose_own_group_it_is():
    groups = Groups(GROUPS.get, OWN.get)
    members, missing = groups.of(["chem", "bio", "none"], OWN)
    assert members == {"chem": {"ann", "ben"}, "bio": {"cat"}}
    assert missing == {"none"}


def test_an_accounts_own_group_is_remembered():
    asked = []

    def own(name):
        asked.append(name)
        return OWN.get(name)

    groups = Groups(GROUPS.get, own)
    for _ in range(3):
        groups.of(["bio"], ["cat", "nobody-here"])
    assert asked == ["cat", "nobody-here"]
    groups.of([], ["dan"])  # if no partition names a group, no user is looked up
    assert "dan" not in asked


def test_the_machines_own_directory_is_queried():
    me = pwd.getpwuid(os.getuid())
    members, missing = Groups().of(["no-such-group-here"], [me.pw_name])
    assert (members, missing) == ({}, {"no-such-group-here"})


def offered(groups):
    return run(Gatherer("hpc", text.TextSource(Commands().run), groups).gather())


def test_a_partitions_members_have_its_groups_in_their_grants():
    offer = offered(Groups({"alice": (1, ()), "bob": (2, ("bob", "eve"))}.get, {"alice": 1}.get))
    assert offer.catalog.notes == ()
    assert offer.grants["alice"].groups == ("alice",)
    assert offer.grants["bob"].groups == ("bob",)
    assert offer.grants["eve"] == Grants(groups=("bob",))
    assert offer.catalog.partition("gpu").groups == ("alice", "bob")


def test_a_group_that_this_host_does_not_know_hides_nothing():
    offer = offered(Groups({"alice": (1, ())}.get, {}.get))
    assert offer.catalog.partition("gpu").groups is None
    assert offer.catalog.notes == (
        "The hub's host does not know the groups bob. Partitions for them are shown to every user, and Slurm decides.",
    )
