"""`towpath check` connects to a server of each cluster, by the way in that the cluster has."""

import socket
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from gateway.commands.ways_in import check
from state.config.tables import ClusterConfig, Config
from state.records.models import Endpoint, Server, Status, Target
from state.store.all import Store
from tests.conftest import run
from tests.gateway.ways_in import NAME, DirectSite


def server(endpoint, *, user="alice", cluster="lake", ready=0.0):
    return Server(
        user=user, name="", target=Target.READY, status=Status.READY, attempt="5" * 32, profile="p", cluster=cluster,
        requested=1.0, running=1.0, ready=ready or time.time(), endpoint=endpoint, credential="",
    )  # fmt: skip


@pytest.fixture
def found(store_url, tmp_path):
    """The findings for a hub whose store has these servers: text by cluster, and whether it is good."""

    def look(*servers, kind="slurm", data_dir=tmp_path):
        async def main():
            store = await Store.open(store_url)
            try:
                await store.redis.call("FLUSHALL")
                for one in servers:
                    await store.servers.save(one)
                config = Config(cluster=(ClusterConfig(name="lake", kind=kind),))
                return await check(SimpleNamespace(config=config, data_dir=data_dir), store)
            finally:
                await store.close()

        (finding,) = run(main())
        assert finding.part == "way in lake"
        return finding

    return look


@pytest.fixture
def app(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "app.sock"))
        listener.listen()
        yield str(tmp_path / "app.sock")


def test_a_cluster_without_a_ready_server_is_not_tried(found):
    finding = found()
    assert (finding.good, finding.text) == (True, "direct; not tried, because no server is ready that it leads to")


def test_a_server_that_accepts_a_connection_shows_that_the_way_in_works(found, app):
    finding = found(server(Endpoint(kind="unix", path=app)), kind="local")
    assert (finding.good, finding.text) == (True, "unix; reaches the server alice")


def test_one_of_the_last_servers_that_is_reached_is_enough(found, app):
    gone = server(Endpoint(kind="unix", path="/nowhere"), user="bob")
    assert found(server(Endpoint(kind="unix", path=app), ready=5.0), gone, kind="local").good


def test_a_node_that_is_not_reached_is_a_finding_that_may_pass(found):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = Endpoint(kind="tls", host="127.0.0.1", port=closed.getsockname()[1], name=NAME)
        with DirectSiteFolder() as folder:
            finding = found(server(endpoint), data_dir=folder)
    assert not finding.good
    assert finding.passing
    assert finding.text.startswith("direct; does not reach the server alice: ")
    assert "refused" in finding.text


def test_mutual_tls_to_a_node_is_tried_to_its_end(found):
    """A node that proves another name is not taken for the server's."""
    with ExitStack() as stack:
        site = DirectSite()
        stack.callback(site.close)
        app = site.socket()
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(app)
        listener.listen()
        (_, (host, port, name)), _ = stack.enter_context(site.leading_to(app))
        good = Endpoint(kind="tls", host=host, port=port, name=name)
        assert found(server(good), data_dir=site.data_dir).good
        other = Endpoint(kind="tls", host=host, port=port, name=f"{'6' * 32}.towpath.internal")
        assert not found(server(other, user="bob"), data_dir=site.data_dir).good


class DirectSiteFolder(ExitStack):
    """The data directory of a hub that has certificates."""

    def __enter__(self):
        super().__enter__()
        site = DirectSite()
        self.callback(site.close)
        return site.data_dir
