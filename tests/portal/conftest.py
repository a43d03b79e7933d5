"""A portal with a real store, and a minimal replacement for the gateway in front of it."""

import asyncio
import contextlib
import hashlib
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from gateway.oauth.provider import OAuthProvider
from gateway.oauth.registry import Registry
from portal.app import Services, create_portal
from portal.audit import recorder
from portal.site.sign_in import RefusedError
from state.config.tables import ClusterConfig, Config, OptionConfig, ProfileConfig
from state.mirror.identities import Identities
from state.records.models import Service, Session, Token, User
from state.rights import scopes
from state.rights.identity import Identity
from state.rights.roles import Roles
from state.store.all import Store

DATA_DIR = Path("/srv/towpath")


def socket_of(server):
    """The endpoint that a local job's starter reports."""
    return {"kind": "unix", "path": f"{DATA_DIR}/jobs/{server.attempt}/app.sock"}


CONFIG = Config(
    cluster=(ClusterConfig(name="local", kind="local"),),
    profile=(
        ProfileConfig(name="lab", title="JupyterLab", cluster="local", description="Notebooks."),
        ProfileConfig(
            name="gpu",
            title="GPU",
            cluster="local",
            option={
                "gpus": OptionConfig(title="GPUs", kind="integer", default=1, minimum=1, maximum=4),
                "kind": OptionConfig(title="Type", kind="choice", values=("a100", "v100"), default="a100"),
                "big": OptionConfig(title="Big memory", kind="boolean", default=False),
                "note": OptionConfig(title="Note", kind="text", maximum=20, default=""),
            },
        ),
    ),
)


class Clock:
    """The real time plus an offset that the test sets."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


class Links:
    """Sign-in with links, as in the gateway."""

    sign_in_links = True
    providers = ()

    def __init__(self, store):
        self.store = store
        self.closed = []

    async def sign_in_with_link(self, secret):
        name = await self.store.links.take(secret)
        return None if name is None else await self.store.users.get(name)

    async def sign_in(self, provider, fields, request):
        raise RefusedError("This way to sign in does not exist.")

    async def depart(self, provider, next_url, request, *, other=False):
        raise RefusedError("This way to sign in does not exist.")

    async def arrive(self, provider, answer, request):
        raise RefusedError("This way to sign in does not exist.")

    async def ended_there(self, provider, logout_token):
        raise RefusedError("This way to sign in does not exist.")

    async def farewell(self, request):
        return ""

    async def open_session(self, user, request, *, way=""):
        return f"towpath-session=ticket-of-{user.name}; HttpOnly; SameSite=Lax; Path=/"

    async def close_session(self, request):
        self.closed.append(request.scope["state"]["identity"].user.name)
        return "towpath-session=; Max-Age=0; Path=/"


class Bench:
    """The portal, its store, and clients for any user."""

    def __init__(self, store, config):
        self.store = store
        self.clock = Clock()
        self.auth = Links(store)
        self.config = config
        self.roles = Roles.of(config)
        self.shut_down = []
        identities = Identities(store, lambda digests, user: None, lifetime=3600, roles=Roles.of(config))
        self.mirror = SimpleNamespace(
            fresh=True, identify_token=lambda digest: identities.identify(digest, session=False)
        )
        self.health = SimpleNamespace(problems=(), starts_wait=False)
        self.services = Services(
            config=config,
            store=store,
            mirror=self.mirror,
            clock=self.clock,
            version="0.1.0",
            auth=self.auth,
            data_dir=DATA_DIR,
            oauth=OAuthProvider(
                store,
                Registry(store, self.roles, {}, config=config.gateway),
                lifetime=3600,
            ),
            shut_down=lambda: self.shut_down.append(self.clock()),
            health=self.health,
        )
        self.app = create_portal(self.services)

    def client(self, identity=None, **headers):
        async def front(scope, receive, send):
            scope.setdefault("state", {})["identity"] = identity
            await self.app(scope, receive, send)

        transport = httpx.ASGITransport(app=front, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://hub.test", headers=headers)

    async def user(self, name="alice", *, admin=False):
        await self.store.users.add(User(name=name, admin=admin, created=self.clock()))
        return await self.store.users.get(name)

    def session(self, user):
        now = self.clock()
        session = Session(id=f"s-{user.name}", user=user.name, created=now, expires=now + 3600)
        return Identity(user, f"digest-{user.name}", Roles.of(self.config).scopes_of_user(user), session=session)

    def service(self, name, *wanted, admin=False):
        """Return the token of a configured service."""
        service = Service(name=name, scopes=tuple(wanted), admin=admin, configured=True)
        held = Roles.of(self.config).scopes_of_service(service)
        token = Token(id="configured", service=name, scopes=("inherit",), created=self.clock())
        return Identity(service, f"service-{name}", held, token=token)

    def token(self, user, *wanted):
        granted = scopes.narrow(wanted, Roles.of(self.config).scopes_of_user(user))
        token = Token(id="t", user=user.name, scopes=tuple(granted), created=self.clock())
        return Identity(user, f"token-{user.name}", granted, token=token)

    async def submitted(self, user="alice", name="", *, token="report-token"):
        """Do what the controller does first: write the report token's hash and the app's credential into the record."""
        from msgspec.structs import replace

        server = await self.store.servers.get(user, name)
        return await self.store.servers.save(
            replace(server, report_hash=hashlib.sha256(token.encode()).hexdigest(), credential="token secret")
        )

    async def report(self, client, server, kind, *, token="report-token", **more):
        word = {"user": server.user, "server": server.name, "attempt": server.attempt, "kind": kind, **more}
        return await client.post("/hub/api/towpath/report", json=word, headers={"Authorization": f"token {token}"})

    async def make_ready(self, client, user="alice", name=""):
        server = await self.submitted(user, name)
        answer = await self.report(client, server, "ready", endpoint=socket_of(server))
        assert answer.status_code == 200, answer.text
        return await self.store.servers.get(user, name)

    async def end(self, user="alice", name=""):
        """Do what the controller does at the end."""
        from state.records.lifecycle import PROGRESS, advance
        from state.records.models import Event, Reason, Status

        server = await self.store.servers.get(user, name)
        ended = advance(server, Status.STOPPED, now=self.clock(), reason=Reason(code="stopped", message="Stopped."))
        event = Event(
            attempt=server.attempt,
            time=self.clock(),
            status=Status.STOPPED,
            message="Stopped.",
            progress=PROGRESS[Status.STOPPED],
        )
        saved = await self.store.servers.save(ended, event=event)
        key = f"{user}/{name}"
        marks = await self.store.servers.active()
        if key in marks:
            await self.store.servers.settle(key, marks[key])
        return saved


@pytest.fixture
def bench(store_url, monkeypatch):
    """Run `async def main(bench)` on an empty store: `bench(main)`, or `bench(main, config=…)`."""
    monkeypatch.setattr(
        recorder, "_damper", recorder.Damper()
    )  # a process records a limited number of refusals per minute, across tests

    def runner(main, *, config=CONFIG):
        async def with_store():
            store = await Store.open(store_url)
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(store.close)
                return await main(Bench(store, config))

        return asyncio.run(with_store())

    return runner
