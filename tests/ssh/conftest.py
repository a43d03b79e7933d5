"""A pool of hosts for the tests of one module, and a hub on it."""

import pytest

from tests import sshd
from tests.ssh.ssh_hub import SshHub, short


@pytest.fixture(scope="module")
def pool():
    with sshd.running() as pool:
        yield pool


@pytest.fixture
def hub(pool, short_folder):
    hub = SshHub(short(short_folder), pool)
    try:
        yield hub.start()
    finally:
        hub.close()


@pytest.fixture
def api(hub):
    """An API client of alice's."""
    client = hub.as_user("alice")
    yield client
    client.close()
