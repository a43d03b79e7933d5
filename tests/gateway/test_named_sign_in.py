"""The test sign-in, rule by rule: who may be picked, and from where."""

import asyncio
from types import SimpleNamespace

import pytest

from gateway.auth.cookies import CookieJar
from gateway.auth.named import NameAlone, from_here
from gateway.auth.proof import Proven
from gateway.auth.shared import SharedAuth
from portal.site.sign_in import RefusedError
from state.config.tables import AuthConfig, ProviderConfig
from state.records.models import User
from state.store.all import Store

CONFIG = AuthConfig(
    admins=("carol",), allowed_users=("alice", "bob", "carol"), provider=(ProviderConfig(name="names", kind="test"),)
)
HERE = ("127.0.0.1", 4711)


def request(client=HERE, **headers):
    return SimpleNamespace(scope={"client": client}, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("127.77.0.11", 1), ("::1", 1)])
def test_this_machine_is_here(client):
    assert from_here(client, ["host", "cookie", "origin", "user-agent"])


@pytest.mark.parametrize(
    "client", [None, ("192.0.2.1", 1), ("10.0.0.1", 1), ("::ffff:192.0.2.1", 1), ("", 0), ("hub", 1)]
)
def test_elsewhere_is_not(client):
    assert not from_here(client, [])


@pytest.mark.parametrize(
    "header",
    ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded"],
)
def test_whatever_something_in_between_has_passed_on_is_not(header):
    assert not from_here(HERE, ["host", header])


@pytest.mark.parametrize("name", ["mallory", "", "Alice", "alice ", "root", "alice\n"])
def test_only_the_names_of_the_configuration_may_be_picked(name):
    proof = NameAlone("names", ("alice", "bob"))
    with pytest.raises(RefusedError, match="Pick one"):
        asyncio.run(proof.prove({"name": name}, request()))
    assert asyncio.run(proof.prove({"name": "alice"}, request())) == Proven(name="alice")


def test_users_are_made_at_their_first_sign_in_and_admins_are_flagged(store_url):
    async def main():
        store = await Store.open(store_url)
        try:
            await store.users.add(User(name="carol", created=1.0))
            auth = SharedAuth(store, CookieJar(secure=False, base_path="/"), CONFIG)
            assert [provider.names for provider in auth.providers] == [("alice", "bob", "carol")]
            assert not auth.sign_in_links
            for name, admin in (("alice", False), ("carol", True), ("alice", False)):
                user = await auth.sign_in("names", {"name": name}, request())
                assert (user.name, user.admin) == (name, admin)
                assert await store.users.get(name) == user
            assert await store.users.count() == 2
            for provider, name, sent in (
                ("none", "alice", request()),
                ("names", "mallory", request()),
                ("names", "alice", request(client=("192.0.2.1", 1))),
                ("names", "alice", request(x_forwarded_for="127.0.0.1")),
            ):
                with pytest.raises(RefusedError):
                    await auth.sign_in(provider, {"name": name}, sent)
        finally:
            await store.close()

    asyncio.run(main())


def test_a_one_time_link_is_no_way_into_a_hub_for_several(store_url):
    async def main():
        store = await Store.open(store_url)
        try:
            auth = SharedAuth(store, CookieJar(secure=False, base_path="/"), CONFIG)
            await store.users.add(User(name="alice", created=1.0))
            secret = await store.links.issue("alice", lifetime=60)
            assert await auth.sign_in_with_link(secret) is None
        finally:
            await store.close()

    asyncio.run(main())
