"""The cluster that everything is tried on: that it is a real one, and that it goes without a trace."""


def test_all_nodes_are_idle(slurm):
    assert sorted(slurm.run("sinfo", "-h", "-N", "-o", "%N %P %t").split("\n")[:3]) == [
        "cn1 cpu* idle",
        "cn2 cpu* idle",
        "gn1 gpu idle",
    ]
