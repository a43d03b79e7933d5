"""A hub whose profiles start jupyterhub-singleuser, and two of alice's servers."""

import pytest

from tests.jupyterhub.both import both
from tests.jupyterhub.rig import Running, serving


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session")
def alices(hub):
    with Running(hub, "alice") as server:
        yield server


@pytest.fixture(scope="session")
def echo(hub):
    """An app that returns the requests it receives, as alice's server `echo`."""
    with Running(hub, "alice", "echo", profile="echo") as server:
        yield server


@pytest.fixture
def sides(tmp_path):
    """A real JupyterHub and our hub."""
    with both(tmp_path) as sides:
        yield sides
