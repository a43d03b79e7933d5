"""How a store is reached: each kind of URL on a real server, and the messages for invalid ones."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio.connection import parse_url

from state.errors import StateUnavailableError
from state.records.models import User
from state.redis.urls import address_of
from state.store.all import Store
from tests.conftest import Sentinel, run, until
from tests.ports import free_port

PEM = str(Path(__file__).parent / "loopback.pem")


async def use(url):
    """Write and read with one connection and wait with another."""
    store = await Store.open(url)
    try:
        await store.users.remove("ann")
        await store.users.add(User(name="ann", created=1.0))
        assert await store.servers.events("ann", "", timeout=0.01) == []
        return await store.users.names()
    finally:
        await store.close()


@pytest.fixture(scope="module")
def locked(make_store_server):
    """A server with a password."""
    return make_store_server("valkey", port=free_port(), options=("--requirepass", "p/@:ss w"))


def test_a_server_is_reached_by_tcp_and_by_unix_socket_with_a_password_and_a_database(locked):
    secret = quote("p/@:ss w", safe="")
    assert run(use(f"redis://:{secret}@127.0.0.1:{locked.port}/3")) == ["ann"]
    assert run(use(f"redis://default:{secret}@localhost:{locked.port}")) == ["ann"]
    assert run(use(f"unix://:{secret}@{locked.socket}?db=5")) == ["ann"]


def test_a_wrong_password_is_reported_without_the_secret(locked):
    for url in (f"redis://127.0.0.1:{locked.port}", f"redis://:wr0ng@127.0.0.1:{locked.port}"):
        with pytest.raises(StateUnavailableError) as caught:
            run(Store.open(url))
        told = f"{caught.value} {caught.value.__cause__}"
        assert "NOAUTH" in told or "WRONGPASS" in told
        assert "wr0ng" not in told
    assert "wr0ng" not in repr(address_of("redis://:wr0ng@127.0.0.1:1"))


def test_an_unreachable_server_is_reported_immediately():
    for url in (
        f"redis://127.0.0.1:{free_port()}",
        "unix:///nowhere/x",
        f"redis+cluster://127.0.0.1:{free_port()}",
        f"redis+sentinel://127.0.0.1:{free_port()},localhost:{free_port()}/hub",
    ):
        with pytest.raises(StateUnavailableError):
            run(Store.open(url))


def test_tls_is_used_and_the_certificate_is_checked(make_store_server):
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", PEM, "--tls-key-file", PEM)
    make_store_server("redis", options=(*tls, "--tls-ca-cert-file", PEM, "--tls-auth-clients", "no"))
    assert run(use(f"rediss://127.0.0.1:{port}?ssl_ca_certs={PEM}")) == ["ann"]
    assert run(use(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none")) == ["ann"]
    with pytest.raises(StateUnavailableError) as caught:
        run(Store.open(f"rediss://127.0.0.1:{port}"))
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value.__cause__)


def test_a_sentinel_names_the_master_and_after_its_death_the_new_one(make_store_server, short_folder):
    under = Sentinel(make_store_server, short_folder)

    async def body():
        store = await Store.open(under.url)
        try:
            await store.users.add(User(name="ann", created=1.0))
            # Writes that were not replicated are lost with a master, which is Redis's own guarantee.
            await until(lambda: b"ann" in under.replica.command("KEYS", "*"))
            under.master.kill()

            async def back():
                try:
                    return await store.users.add(User(name="bob", created=1.0))
                except StateUnavailableError:
                    return None

            await until(back)
            assert sorted(await store.users.names()) == ["ann", "bob"]
            assert b"role:master" in under.replica.command("INFO", "replication")
        finally:
            await store.close()

    try:
        run(body())
    finally:
        under.stop()


def test_a_sentinel_without_this_master_is_reported(sentinel):
    with pytest.raises(StateUnavailableError) as caught:
        run(Store.open(sentinel.url.replace("/hub", "/other")))
    assert "knows no master other" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://store.example",
        "redis://store.example:7000/4",
        "redis://store.example:7000/4/",
        "redis://[::1]:7000",
        "redis://alice@store.example",
        "redis://alice:p%40%3A%2Fss@store.example/2?db=3",
        "redis://store.example?password=p%2540&username=alice",
        "rediss://:secret@store.example",
        "unix:///run/towpath/valkey.sock",
        "unix://:secret@/run/a%20b/valkey.sock?db=5",
    ],
)
def test_a_url_has_the_same_meaning_as_in_redis_py(url):
    expected = parse_url(url)
    address = address_of(url)
    assert address.path == expected.get("path", "")
    assert address.path or (address.host, address.port) == (
        expected.get("host", "127.0.0.1"),
        expected.get("port", 6379),
    )
    assert (address.username, address.password) == (expected.get("username", ""), expected.get("password", ""))
    assert address.database == expected.get("db", 0)
    assert (address.tls is not None) == url.startswith("rediss")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1", "begins with redis://"),
        ("127.0.0.1:6379", "begins with redis://"),
        ("redis://127.0.0.1:port", "port"),
        ("redis://127.0.0.1/first", "'first' is not the number of a database"),
        ("unix:///run/valkey.sock?db=-1", "'-1' is not the number of a database"),
        ("redis://127.0.0.1?sssl_ca_certs=/x", "'sssl_ca_certs' is not an option"),
    ],
)
def test_a_url_that_is_wrong_is_reported(url, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run(Store.open(url))


def test_redis_py_is_loaded_only_for_a_cluster():
    script = "import sys, state.store.all; print(any(name.split('.')[0] == 'redis' for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1", "redis+sentinel:///hub", "redis+sentinel://,/hub"])
def test_an_incomplete_sentinel_url_is_invalid(url):
    with pytest.raises(ValueError, match="sentinel"):
        run(Store.open(url))
