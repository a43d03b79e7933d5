"""The systemd unit in deploy/."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[1] / "deploy/systemd/towpath.service"


def test_a_stop_of_the_unit_leaves_users_servers_alone():
    """systemd.kill(5): with control-group, its default, and with mixed, all processes of the unit are killed."""
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str
    unit.read(UNIT)
    assert unit["Service"]["KillMode"] == "process"
    assert int(unit["Service"]["TimeoutStopSec"]) >= 45  # drain, controller and store have 15, 10 and 10 s


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path):
    program = tmp_path / "towpath"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / "towpath.service"
    copy.write_text(UNIT.read_text().replace("/opt/towpath/bin/towpath", str(program)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if str(copy) in line]
    assert ours == []
