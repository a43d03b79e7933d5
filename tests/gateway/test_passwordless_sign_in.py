"""The rules of the test sign-in: which names can be chosen, and from where."""

import asyncio
from types import SimpleNamespace

import pytest

from gateway.auth.cookies import CookieJar
from gateway.auth.passwordless import PasswordlessProof, is_local_request
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
def test_requests_from_this_machine_are_local(client):
    assert is_local_request(client, ["host", "cookie", "origin", "user-agent"])


@pytest.mark.parametrize(
    "client", [None, ("192.0.2.1", 1), ("10.0.0.1", 1), ("::ffff:192.0.2.1", 1), ("", 0), ("hub", 1)]
)
def test_requests_from_other_machines_are_not_local(client):
    assert not is_local_request(client, [])


@pytest.mark.parametrize(
    "header",
    ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded"],
)
def test_requests_through_a_proxy_are_not_local(header):
    assert not is_local_request(HERE, ["host", header])


@pytest.mark.parametrize("name", ["mallory", "", "Alice", "alice ", "root", "alice\n"])
def test_only_names_of_the_configuration_can_be_chosen(name):
    proof = PasswordlessProof("names", ("alice", "bob"))
    with pytest.raises(RefusedError, match="Choose one"):
        asyncio.run(proof.prove({"username": name}, request()))
    assert asyncio.run(proof.prove({"username": "alice"}, request())) == Proven(name="alice")


def test_users_are_created_at_their_first_sign_in_with_the_admin_right(store_url):
    async def main():
        store = await Store.open(store_url)
        try:
            await store.users.add(User(name="carol", created=1.0))
            auth = SharedAuth(store, CookieJar(secure=False, base_path="/"), CONFIG)
            assert [provider.names for provider in auth.providers] == [("alice", "bob", "carol")]
            assert not auth.sign_in_links
            for name, admin in (("alice", False), ("carol", True), ("alice", False)):
                user = await auth.sign_in("names", {"username": name}, request())
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
                    await auth.sign_in(provider, {"username": name}, sent)
        finally:
            await store.close()

    asyncio.run(main())


def test_one_time_links_are_not_valid_on_a_hub_with_several_users(store_url):
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
