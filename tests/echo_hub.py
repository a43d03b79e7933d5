"""Hubs with the echo app (`tests/apps/echo.py`): parts of a configuration, and hubs with servers that run."""

import sys
from contextlib import contextmanager

from hub import ROOT, Hub

ALONE = """
[[cluster]]
name = "local"
kind = "local"
"""
"""The cluster of a hub for one user."""
LOCAL = f'{ALONE}isolation = "none"\n'
"""The cluster of a hub with several users."""
ECHO = f"""
[[profile]]
name = "echo"
cluster = "local"
app = "web"
command = ["{sys.executable}", "{ROOT / "tests/apps/echo.py"}", "{{socket}}"]
default_path = ""
"""
OPEN = """
[[auth.provider]]
name = "test"
kind = "test"
"""
"""Users sign in by their names alone."""


def lab(more=""):
    """Return the profile of a stock JupyterLab, with further keys."""
    return f'\n[[profile]]\nname = "jupyterlab"\ncluster = "local"\n{more}\n'


@contextmanager
def lab_and_echo(folder, *, more=""):
    """Run a hub of one user with JupyterLab as its default server and the echo app as `echo`. `more`: keys of the lab.

    `hub.authorization` is a good Authorization header.
    """
    hub = Hub(folder, config=f"{ALONE}{lab(more)}{ECHO}").start()
    servers = {"": "jupyterlab", "echo": "echo"}
    try:
        with hub.api() as api:
            hub.authorization = api.headers["authorization"]
            for name, profile in servers.items():
                hub.start_server(api, name, profile=profile)
            for name in servers:
                hub.wait_ready(api, name)
            yield hub
            for name in servers:
                hub.stop_server(api, name)
    finally:
        hub.close()
