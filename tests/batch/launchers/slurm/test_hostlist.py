"""Slurm's expressions for lists of nodes, and which partitions a reservation takes whole."""

import pytest

from batch.launchers.slurm.catalog.hostlist import nodes_in
from batch.launchers.slurm.catalog.nodes import Node, SlurmReservation, with_whole_partitions
from state.offer.catalog import Partition, Reservation


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("", ()),
        ("(null)", ("(null)",)),
        ("cn1", ("cn1",)),
        ("cn1,cn2", ("cn1", "cn2")),
        ("cn[1-2],gpu1", ("cn1", "cn2", "gpu1")),
        ("cn[08-10,20]", ("cn08", "cn09", "cn10", "cn20")),
        ("rack[0-1]node[1,3]-ib", ("rack0node1-ib", "rack0node3-ib", "rack1node1-ib", "rack1node3-ib")),
        ("cn[x-y]", ()),
        ("cn[1-", ("cn", "1-")),
        ("cn[1-999999999]", ()),
        ("a[1-1000]b[1-1000]", ()),
    ],
)
def test_an_expression_means_these_nodes(expression, names):
    assert nodes_in(expression) == frozenset(names)


def node(name, *partitions, states=("IDLE",)):
    return Node(name=name, partitions=partitions, states=frozenset(states))


NODES = [
    node("cn1", "cpu", "all"),
    node("cn2", "cpu", "all"),
    node("gpu1", "gpu", "all"),
    node("old", "cpu", states=["DOWN"]),
]


@pytest.mark.parametrize(
    ("hosts", "whole"),
    [
        ("cn[1-2],gpu1,old", ("cpu", "gpu", "all")),
        ("cn[1-2]", ("cpu",)),
        ("cn1", ()),
        ("gpu1", ("gpu",)),
        ("", ()),
    ],
)
def test_a_reservation_takes_a_partition_whole_if_no_other_node_starts_jobs(hosts, whole):
    partitions = [Partition(name="cpu", nodes=3), Partition(name="gpu", nodes=1), Partition(name="all", nodes=3)]
    one = SlurmReservation(name="repair", start=0.0, end=1.0, maintenance=True, hosts=hosts)
    found = with_whole_partitions(one, partitions, NODES)
    assert found == Reservation(name="repair", start=0.0, end=1.0, maintenance=True, whole_partitions=whole)
    unseen = Partition(name="cpu", nodes=9)  # nodes of a cloud that Slurm does not show
    assert with_whole_partitions(one, [unseen], NODES).whole_partitions == ()
