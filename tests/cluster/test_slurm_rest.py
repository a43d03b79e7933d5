"""The connections to a real slurmrestd: one for all polls and users, and what a restart of slurmrestd costs."""

import asyncio
import contextlib
import os
import pwd
from urllib.parse import urlsplit

import pytest

from batch.launchers.slurm.clients.rest import RestClient
from batch.launchers.slurm.clients.rest_http import RestHttp, Tokens
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.script import batch
from tests.batch.launchers.slurm.making import job, slurm_config
from tests.conftest import run


class Relay:
    """Passes connections on to slurmrestd, and counts them."""

    def __init__(self, slurm):
        target = urlsplit(slurm.restd_url)
        self._target = (target.hostname, target.port)
        self._tasks = set()
        self.connections = 0

    @contextlib.asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await asyncio.gather(*self._tasks)

    async def _connected(self, reader, writer):
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        their_reader, their_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(self._pass_on(reader, their_writer), self._pass_on(their_reader, writer))

    async def _pass_on(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()
        writer.close()


def identity(name):
    entry = pwd.getpwnam(name)
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Identity(
        name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir, shell=entry.pw_shell
    )


async def submitted(client, user):
    """Submit a job as this user, and return its id."""
    who = identity(user)
    return await client.submit(batch(job(user=user), who, comment="c", starter="pass"), who)


def test_polls_and_submits_of_several_users_share_one_connection_and_keep_their_names(slurm):
    relay = Relay(slurm)

    async def body():
        async with relay.running() as url:
            client = RestClient(slurm_config(slurm, "rest", rest_url=url))
            try:
                await client.jobs()
                ids = {user: await submitted(client, user) for user in ("alice", "bob", "alice")}
                owners = {one.id: one.user for one in await client.jobs()}
                await client.jobs()
                assert {user: owners[number] for user, number in ids.items()} == {"alice": "alice", "bob": "bob"}
            finally:
                await client.close()

    run(body())
    assert relay.connections == 1


@pytest.mark.parametrize(
    "headers", [{}, {"X-SLURM-USER-NAME": "root", "X-SLURM-USER-TOKEN": "x"}], ids=["none", "wrong"]
)
def test_a_token_does_not_count_for_later_requests_on_its_connection(slurm, headers):
    relay = Relay(slurm)

    async def body():
        async with relay.running() as url:
            config = slurm_config(slurm, "rest", rest_url=url)
            client, http = RestClient(config), RestHttp(url, seconds=20)
            try:
                path = f"/slurm/v0.0.{await client._api()}/jobs"
                before = relay.connections
                status, answer = await http.ask("GET", path, Tokens(config).headers("root"))
                assert (status, "jobs" in answer) == (200, True)
                status, answer = await http.ask("GET", path, headers)
                assert status >= 400
                assert not answer.get("jobs")
                assert relay.connections == before + 1
            finally:
                await http.close()
                await client.close()

    run(body())


@pytest.mark.parametrize("seen", [False, True], ids=["close not seen", "close seen"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_restart_of_slurmrestd_between_two_polls_is_not_noticed(slurm, kind, seen):
    url = slurm.restd_url if kind == "tcp" else f"unix://{slurm.restd_socket}"

    def restart():
        slurm.daemon("slurmrestd").kill()
        slurm.daemon("slurmrestd").start()

    async def body():
        client = RestClient(slurm_config(slurm, "rest", rest_url=url))
        try:
            number = await submitted(client, "alice")
            if seen:
                await asyncio.to_thread(restart)
            else:  # the event loop does not run meanwhile, so the next request uses the dead connection
                restart()
            assert number in [one.id for one in await client.jobs()]
        finally:
            await client.close()

    run(body())
