"""The hub as an OAuth provider over a real store: codes and tokens end with the server or service they are for."""

import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from gateway.oauth.provider import OAuthProvider
from gateway.oauth.registry import Registry
from state.config.tables import GatewayConfig
from state.records.models import Server, Service, Session, Status, Target, Token, User
from state.rights.identity import Identity
from state.rights.roles import Roles
from state.store.all import Store
from state.store.credentials import digest
from tests.conftest import run

SECRET = "the secret of the app"
OF_SERVER = ("jupyterhub-user-ann", "/user/ann/oauth_callback")
OF_SERVICE = ("service-wiki", "https://wiki.example.org/back")


class Rig:
    """A hub with a signed-in user, ann, her running server and a service."""

    def __init__(self, store):
        self.store = store
        self.roles = Roles()
        registry = Registry(store, self.roles, {}, config=GatewayConfig())
        self.provider = OAuthProvider(store, registry, lifetime=3600)

    async def open(self):
        now = time.time()
        user = User(name="ann", admin=True, created=now)
        await self.store.users.add(user)
        session = Session(id="s1", user="ann", created=now, expires=now + 3600)
        ticket = await self.store.sessions.open(session)
        self.identity = Identity(user, digest(ticket), self.roles.scopes_of_user(user), session=session)
        await self.start("a" * 32)
        await self.add_service("1")
        return self

    async def start(self, attempt):
        old = await self.store.servers.get("ann", "")
        server = Server(
            user="ann",
            target=Target.READY,
            status=Status.READY,
            attempt=attempt,
            profile="p",
            cluster="local",
            requested=1.0,
            token_hash="h",
            hub_app=True,
            revision=old.revision if old else 0,
        )
        await self.store.servers.save(server)
        token = Token(id=f"app-{attempt[0]}", user="ann", scopes=(), created=1.0, bound_to="ann/", attempt=attempt)
        await self.store.tokens.keep(token, digest(SECRET + attempt))
        self.secret = SECRET + attempt

    async def stop(self):
        server = await self.store.servers.get("ann", "")
        await self.store.servers.save(replace(server, status=Status.STOPPED, target=Target.STOPPED))

    async def add_service(self, number):
        await self.store.services.add(Service(name="wiki", oauth_redirect_uris=(OF_SERVICE[1],), id=number))
        await self.store.tokens.keep(
            Token(id=f"w{number}", service="wiki", scopes=("inherit",), created=1.0), digest(SECRET)
        )

    async def code(self, client):
        fields = [("client_id", client[0]), ("redirect_uri", client[1]), ("response_type", "code")]
        request = SimpleNamespace(scope={"state": {"identity": self.identity}})
        onward = await self.provider.decide(fields, self.identity, request, granted=True)
        return onward.url.partition("code=")[2].partition("&")[0]

    async def exchange(self, client, code):
        secret = self.secret if client is OF_SERVER else SECRET
        fields = [("client_id", client[0]), ("client_secret", secret), ("grant_type", "authorization_code")]
        return await self.provider.exchange([*fields, ("code", code), ("redirect_uri", client[1])], "")


@pytest.fixture
def rig(store_url):
    def runner(body):
        async def main():
            store = await Store.open(store_url)
            try:
                await body(await Rig(store).open())
            finally:
                await store.close()

        run(main())

    return runner


@pytest.mark.parametrize("client", [OF_SERVER, OF_SERVICE])
def test_a_code_is_exchanged_for_a_token_that_ends_with_its_server_or_service(rig, client):
    async def body(rig):
        answer = await rig.exchange(client, await rig.code(client))
        assert answer.status == 200, answer
        issued = digest(answer.body["access_token"])
        token = await rig.store.tokens.get(issued)
        assert token.bound_to == ("ann/" if client is OF_SERVER else "service:wiki")
        if client is OF_SERVER:
            await rig.stop()
        else:
            await rig.store.tokens.end_bound("service:wiki")
        assert await rig.store.tokens.get(issued) is None

    rig(body)


def test_a_code_cannot_be_exchanged_after_the_server_was_restarted(rig):
    async def body(rig):
        code = await rig.code(OF_SERVER)
        await rig.stop()
        await rig.start("b" * 32)
        assert (await rig.exchange(OF_SERVER, code)).status == 400
        assert (await rig.exchange(OF_SERVER, await rig.code(OF_SERVER))).status == 200

    rig(body)


def test_a_code_cannot_be_exchanged_by_a_new_service_of_the_same_name(rig):
    async def body(rig):
        code = await rig.code(OF_SERVICE)
        await rig.store.services.remove("wiki")
        await rig.add_service("2")
        assert (await rig.exchange(OF_SERVICE, code)).status == 400
        assert (await rig.exchange(OF_SERVICE, await rig.code(OF_SERVICE))).status == 200

    rig(body)


def test_a_server_that_ends_during_the_exchange_leaves_no_token(rig, monkeypatch):
    async def body(rig):
        code = await rig.code(OF_SERVER)
        keep = rig.store.tokens.keep

        async def overtaken(token, secret_digest, **more):
            await rig.stop()
            await keep(token, secret_digest, **more)

        monkeypatch.setattr(rig.store.tokens, "keep", overtaken)
        await rig.exchange(OF_SERVER, code)
        assert await rig.store.tokens.of_user("ann") == []

    rig(body)


def test_an_app_cannot_use_a_token_from_oauth_as_its_client_secret(rig):
    async def body(rig):
        answer = await rig.exchange(OF_SERVER, await rig.code(OF_SERVER))
        rig.secret = answer.body["access_token"]
        assert (await rig.exchange(OF_SERVER, await rig.code(OF_SERVER))).status == 401

    rig(body)
