"""A pool of hosts for the tests of connections."""

import pytest

from tests.batch.launchers.ssh.making import running_pool


@pytest.fixture(scope="module")
def pool():
    yield from running_pool()


@pytest.fixture
def gpu1(pool):
    """A host that has its usual sshd and host key again afterwards."""
    host = pool.hosts["gpu1"]
    key = {path: path.read_bytes() for path in host.folder.glob("hostkey*")}
    yield host
    for path, text in key.items():
        path.write_bytes(text)
    host.configure()
    host.stop()
    for user in ("alice", "bob"):
        for path in (host.homes / user).glob(".ssh/*"):
            path.unlink()
    host.start()
    pool.write_known_hosts()
