"""A pool of hosts for a module's tests."""

import pytest

from tests.batch.launchers.ssh.making import running_pool


@pytest.fixture(scope="module")
def pool():
    yield from running_pool()
