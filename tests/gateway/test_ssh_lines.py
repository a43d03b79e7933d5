"""Connections of a gateway to one host as one account."""

from gateway.ways_in.ssh.lines import Line
from state.records.ssh import SshPass
from tests.conftest import run, until


class FakeLink:
    """A connection that can end by itself, while one to a jump host is still open."""

    def __init__(self):
        self.closed = False
        self.streams = set()
        self.closes = 0

    async def close(self):
        self.closes += 1


def test_the_rest_of_a_connection_that_has_ended_is_closed():
    async def body():
        made = []

        async def connect(ssh_pass):
            made.append(FakeLink())
            return made[-1]

        line = Line("alice@gpu1", connect)
        ssh_pass = SshPass(issued=1.0, expires=2.0)
        first = await line.link(ssh_pass)
        first.closed = True
        second = await line.link(ssh_pass)
        assert second is not first
        await until(lambda: first.closes == 1)
        assert second.closes == 0
        await line.close()
        assert (first.closes, second.closes) == (1, 1)

    run(body())
