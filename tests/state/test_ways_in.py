"""`way_in` and `direct_ports` of a cluster: which are accepted, and what its jobs may report then."""

import pytest

from state.config.ports import port_range
from state.config.tables import ClusterConfig
from state.plugins.launchers import endpoints_of, kind_of, way_in_of, ways_in_of
from tests.state.test_settings import faults, folder

__all__ = ["folder"]

CLUSTER = """
[gateway]
report_port = 8443
report_host = "127.0.0.1"
[[cluster]]
name = "c"
kind = "{kind}"
{more}
[[profile]]
name = "p"
cluster = "c"
"""
HOST = "[[cluster.ssh.host]]\nname = 'gpu1'\n"


@pytest.mark.parametrize(
    ("kind", "ways"), [("local", ["unix"]), ("slurm", ["direct", "reverse"]), ("ssh", ["direct", "ssh", "reverse"])]
)
def test_a_kind_has_its_ways_in_and_the_first_is_the_default(kind, ways):
    cluster = ClusterConfig(name="c", kind=kind)
    assert ways_in_of(kind_of(cluster)) == ways
    assert way_in_of(cluster) == ways[0]


def test_jobs_may_report_only_endpoints_for_the_way_in_of_their_cluster():
    assert endpoints_of(ClusterConfig(name="c", kind="ssh")) == {"tls"}
    assert endpoints_of(ClusterConfig(name="c", kind="ssh", way_in="ssh")) == {"ssh-socket"}
    assert endpoints_of(ClusterConfig(name="c", kind="slurm", way_in="reverse")) == {"reverse"}
    assert endpoints_of(ClusterConfig(name="c", kind="local")) == {"unix", "tcp"}


@pytest.mark.parametrize(
    ("kind", "more", "key", "words"),
    [
        ("slurm", "way_in = 'ssh'", "cluster[1].way_in", "not a way in to a slurm cluster. Use direct or reverse."),
        ("local", "way_in = 'direct'", "cluster[1].way_in", "Use unix."),
        ("ssh", f"way_in = 'http'\n{HOST}", "cluster[1].way_in", "Use direct or ssh or reverse."),
        (
            "ssh",
            f"way_in = 'ssh'\ndirect_ports = '40000-40100'\n{HOST}",
            "cluster[1].direct_ports",
            "this is used only",
        ),
        ("slurm", "direct_ports = '40100-40000'", "cluster[1].direct_ports", "is not a range of ports from 1024"),
        ("slurm", "direct_ports = '1000-40000'", "cluster[1].direct_ports", "is not a range of ports from 1024"),
        ("slurm", "direct_ports = '40000'", "cluster[1].direct_ports", "such as 40000-40100"),
        ("local", "direct_ports = '40000-40100'", "cluster[1].direct_ports", "this is used only"),
        ("ssh", f"[cluster.ssh]\nway_in = 'direct'\n{HOST}", "cluster[1].ssh.way_in", "now in [[cluster]]. Move it"),
    ],
)
def test_a_way_in_that_a_cluster_cannot_have_is_an_error(folder, kind, more, key, words):
    by_key, _ = faults(folder, CLUSTER.format(kind=kind, more=more))
    assert list(by_key) == [key]
    assert words in str(by_key[key])


def test_a_range_of_ports():
    assert port_range("40000-40100") == (40000, 40100)
    assert port_range("40000-40000") == (40000, 40000)
    assert [port_range(text) for text in ("", "1-2", "40000-70000", "40000-40100 ", "x")] == [None] * 5
