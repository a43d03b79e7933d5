"""The cluster that everything is tried on: that it is a real one, that its rules bind, that it goes without a trace."""

import json
import os
import pwd
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from hub import eventually

from deploy.devcluster import cgroups, processes, users
from deploy.devcluster.__main__ import main
from deploy.devcluster.layout import Layout

ROOT = Path(__file__).resolve().parent.parent.parent
ENDED = ("COMPLETED", "FAILED", "OUT_OF_MEMORY", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")


def test_all_nodes_are_idle(slurm):
    assert sorted(slurm.run("sinfo", "-h", "-N", "-o", "%N %P %t").split("\n")[:3]) == [
        "cn1 cpu* idle",
        "cn2 cpu* idle",
        "gn1 gpu idle",
    ]
