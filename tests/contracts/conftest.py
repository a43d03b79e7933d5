"""What the contract tests share: every kind of store, and (with the tests in tests/cluster) a real Slurm."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from state.store.all import Store
from tests.cluster.conftest import slurm, slurm_session
from tests.conftest import StoreCluster, StoreServer, run

__all__ = ["slurm", "slurm_session"]


@pytest.fixture(scope="session", params=["valkey", "redis", "cluster", "sentinel"])
def backend(request: pytest.FixtureRequest, make_store_server: Callable[..., StoreServer]) -> Any:
    if request.param == "sentinel":
        return request.getfixturevalue("sentinel")
    if request.param == "cluster":
        return StoreCluster.form(make_store_server)
    return make_store_server(request.param)


@pytest.fixture
def on_store(backend: Any) -> Callable[[Callable[[Store], Coroutine[Any, Any, None]]], None]:
    """Run a test's body with a store on an empty server."""
    backend.command("FLUSHALL")

    def on(body: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            store = await Store.open(backend.url)
            try:
                await body(store)
            finally:
                await store.close()

        run(main())

    return on
