"""The data plane's tests that carry bytes run on every way in, not only straight to a socket."""

import pytest

from tests.gateway.tunnel_harness import Upstream
from tests.gateway.ways_in import SITES

ON_ALL_WAYS = (
    "test_tunnel_broken_peers",
    "test_tunnel_http",
    "test_tunnel_memory",
    "test_tunnel_websocket_ends",
    "test_tunnel_websockets",
)

NOT_ON = {
    # A unix socket has no reset: an app's broken end is an end.
    "test_a_reset_in_a_body_that_ends_with_its_connection_is_no_end": SITES,
    # The end follows the response in a packet of its own: a POST in that moment is lost.
    "test_an_app_that_closes_idle_connections_is_not_noticed": {"ssh"},
}


def pytest_generate_tests(metafunc):
    """Give each test of these modules a parameter for the way in."""
    if metafunc.module.__name__.rpartition(".")[2] in ON_ALL_WAYS:
        without = NOT_ON.get(metafunc.function.__name__, ())
        ways = [way for way in ("straight", *SITES) if way not in without]
        metafunc.parametrize("way_in", ways, indirect=True)


@pytest.fixture(scope="session")
def sites():
    """The sites that this run has used, by name."""
    used = {}
    yield used
    for site in used.values():
        site.close()


@pytest.fixture(autouse=True)
def way_in(request, sites):
    """Lead the apps of a test through a way in."""
    name = getattr(request, "param", "straight")
    if name == "straight":
        yield None
        return
    if name not in sites:
        sites[name] = SITES[name]()
    Upstream.site = sites[name]
    yield sites[name]
    Upstream.site = None
