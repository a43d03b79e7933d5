"""A hub whose profile starts JupyterHub's own single-user server, and a browser's dance with it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from apps import BIN, SINGLEUSER
from hub import Hub

CONFIG = f"""
[auth]
admins = ["carol"]
allowed_users = ["alice", "bob"]

[[auth.provider]]
name = "test"
kind = "test"

[[cluster]]
name = "local"
kind = "local"
start_window = 90

[[profile]]
name = "singleuser"
title = "JupyterHub's single-user server"
cluster = "local"
app = "jupyterhub"

[profile.environment]
JUPYTERHUB_ACTIVITY_INTERVAL = "1"

[[profile]]
name = "by-port"
cluster = "local"
app = "jupyterhub"
command = ["{SINGLEUSER}"]
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    assert SINGLEUSER.exists(), "make test installs JupyterHub's single-user server"
    folder = tmp_path_factory.mktemp("hub")
    home = folder / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        hub = Hub(folder, config=CONFIG, workers=2, path=f"{BIN}:/usr/bin:/bin")
        hub.start()
        yield hub
        hub.stop()
