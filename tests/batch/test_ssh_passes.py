"""Who gets a pass to an app by SSH: a gateway that has joined, for a server that runs and is reached so."""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from batch.authority import ensure_authority, ensure_gateway
from batch.controller.ssh_passes import PassIssuer
from gateway.joining.keys import GatewayKey
from state.config.tables import Config
from state.records.models import Endpoint, Status
from state.records.ssh import SshHop, SshPass, SshPassRequest
from state.store.all import Store
from tests.batch.rig import fresh
from tests.conftest import run, until


class Lab:
    """A launcher that makes passes, and notes for which keys."""

    def __init__(self):
        self.keys = []

    async def ssh_pass(self, server, public_key):
        self.keys.append(public_key)
        hop = SshHop(name="gpu1", address="a", port=22, user=server.user, host_keys=(), certificate="c")
        return SshPass(hops=(hop,), issued=0, expires=3600)


@pytest.fixture
def ask(tmp_path, store_url):
    """Ask for a pass and return it. `change`: how the server's record and the request differ from what they should be."""
    tmp_path.chmod(0o700)
    ensure_authority(tmp_path)
    ensure_gateway(tmp_path, Config())
    gateway_id = GatewayKey.load(tmp_path / "tls").id
    lab = Lab()

    def on(*, record=None, launchers=None, then=None, **request):
        async def main():
            store = await Store.open(store_url)
            server = fresh("alice", "lab")
            endpoint = Endpoint(
                kind="ssh-socket", path="/s", name=f"{server.attempt}.towpath.internal", server="alice/lab"
            )
            facts = {"cluster": "lab", "status": Status.READY, "endpoint": endpoint, **(record or {})}
            server = replace(server, **facts)
            await store.servers.save(server)
            known = {"lab": lab} if launchers is None else launchers
            task = asyncio.create_task(PassIssuer(store, known, tmp_path).run())
            try:
                facts = {"user": "alice", "server": "lab", "attempt": server.attempt, "gateway_id": gateway_id}
                asked = SshPassRequest(**{**facts, **request})
                await store.ssh_passes.ask(asked)
                made = await until(lambda: store.ssh_passes.find(asked.attempt, asked.gateway_id))
                if then is not None:
                    await store.ssh_passes.ask(replace(asked, **then))
                    last = SshPassRequest(user="alice", server="lab", attempt="0" * 32, gateway_id=gateway_id)
                    await store.ssh_passes.ask(last)  # requests are answered in turn
                    await until(lambda: store.ssh_passes.find(last.attempt, gateway_id))
                return made
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                await store.close()

        return run(main())

    on.lab = lab
    return on


def test_the_gateway_of_the_controllers_own_folder_gets_one_for_its_key(ask):
    made = ask()
    assert made.refusal == ""
    assert made.hops[0].user == "alice"
    assert ask.lab.keys[0].startswith("ecdsa-sha2-nistp256 ")


@pytest.mark.parametrize(("instead", "made"), [(None, 1), (0.0, 2), (7.0, 1)], ids=["again", "renewed", "was-renewed"])
def test_a_pass_is_made_again_only_in_place_of_the_one_that_is_there(ask, instead, made):
    """A gateway's workers share one pass, and a new leader reads requests that were answered."""
    ask(then={"instead": instead})
    assert len(ask.lab.keys) == made


def test_a_gateway_that_has_not_joined_gets_none(ask):
    assert ask(gateway_id="f" * 32).refusal == "This gateway has not joined the hub."
    assert not ask.lab.keys


@pytest.mark.parametrize(
    ("record", "request_"),
    [
        ({}, {"attempt": "a" * 32}),
        ({}, {"user": "bob"}),
        ({"status": Status.STOPPED}, {}),
        ({"endpoint": Endpoint(kind="tls", host="h", port=1, name="n")}, {}),
        ({"endpoint": None}, {}),
    ],
)
def test_only_a_server_that_runs_and_is_reached_so_has_one(ask, record, request_):
    assert ask(record=record, **request_).refusal == "The server is no longer running."
    assert not ask.lab.keys


def test_a_cluster_that_is_not_reached_so_has_none(ask):
    assert ask(launchers={}).refusal == "This cluster's servers are not reached over SSH."
