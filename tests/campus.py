"""A campus for tests: a real, certified identity provider (`tests/idp/server.mjs`), and clients that sign in with it."""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
from html import unescape
from types import SimpleNamespace
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx
from hub import ROOT

from gateway.auth.cookies import CookieJar
from gateway.auth.shared import SharedAuth
from state.config.tables import AuthConfig
from state.rights.identity import Identity
from state.settings.shapes import read_struct
from state.store.all import Store
from state.store.credentials import digest

USERS = {
    "alice": {"groups": ["physics", "staff"], "email": "alice@example.edu", "email_verified": True},
    "bob": {"groups": ["physics"], "email": "bob@example.edu", "email_verified": False},
    "carol": {"groups": ["admins"]},
    "mallory": {"groups": ["guests"]},
}
SECRET = "the hub's secret at the campus, 32+"
START_SECONDS = 30
SUBMITS_ITSELF = "document.forms[0].submit()"


class Campus:
    """One run of the provider. `clients`: (client id, the hub's URL) pairs."""

    def __init__(self, *clients: tuple[str, str], users=USERS, more=None):
        self._clients = [
            {
                "client_id": name,
                "client_secret": SECRET,
                "redirect_uris": [f"{origin}/hub/oauth_callback", f"{origin}/hub/oauth_callback/campus"],
                "post_logout_redirect_uris": [f"{origin}/hub/signed-out"],
                "backchannel_logout_uri": f"{origin}/hub/backchannel-logout/campus",
                "backchannel_logout_session_required": True,
                "grant_types": ["authorization_code", "refresh_token"],
                **(more or {}),
            }
            for name, origin in clients
        ]
        self._users = users
        self.log: list[str] = []

    def start(self):
        node = shutil.which("node")
        assert node, "node is missing: `make test` installs it"
        assert (ROOT / "tests/idp/node_modules").exists(), "the provider is missing: `make test` installs it"
        self._process = subprocess.Popen(
            [node, "--no-warnings", str(ROOT / "tests/idp/server.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process.stdin.write(json.dumps({"clients": self._clients, "users": self._users}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if found := re.fullmatch(r"ready (\d+)\n", line):
                self.issuer = f"http://127.0.0.1:{found[1]}"
                return self
        raise AssertionError("the provider did not start")

    def stop(self):
        self._process.stdin.close()
        self._process.wait(START_SECONDS)
        self._process.stdout.close()

    def control(self, **asked):
        answer = httpx.post(f"{self.issuer}/control", json=asked, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def provider(self, *, name="campus", client="hub", oidc=None, **more):
        """Return an [[auth.provider]] table as a value."""
        table = {"issuer": self.issuer, "client_id": client, "client_secret": SECRET, **(oidc or {})}
        return {"name": name, "kind": "oidc", "title": "the campus", "oidc": table, **more}

    def config(self, *, client="hub", more="", oidc=""):
        """Return an [[auth.provider]] table as TOML."""
        return f"""
[[auth.provider]]
name = "campus"
kind = "oidc"
title = "the campus"
{more}
[auth.provider.oidc]
issuer = "{self.issuer}"
client_id = "{client}"
client_secret = "{SECRET}"
{oidc}
"""


class Browser(httpx.Client):
    """A browser with cookies that follows redirects step by step and submits forms that submit themselves."""

    def __init__(self, origin, **more):
        super().__init__(
            timeout=30,
            headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"},
            **more,
        )
        self.origin = origin

    def walk(self, url, *, until=None):
        """Send a GET and follow redirects, but not to a URL that begins with `until`. Return the last response."""
        answer = self.get(urljoin(self.origin, url))
        while answer.is_redirect or SUBMITS_ITSELF in answer.text:
            if not answer.is_redirect:
                fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
                answer = self.post(re.search(r'action="([^"]*)"', answer.text)[1], data=fields)
                continue
            target = urljoin(str(answer.url), answer.headers["location"])
            if until is not None and target.startswith(until):
                return answer
            answer = self.get(target)
        return answer

    def at_campus(self, url, name, *, answer="yes", password=None, until=None):
        """Begin at `url`, fill in the provider's form if it is shown, and continue. Return the last response."""
        page = self.walk(url, until=until)
        if "/interaction/" not in str(page.url):
            return page
        fields = {"name": name, "password": password or f"secret of {name}", "answer": answer}
        done = self.post(str(page.url), data=fields)
        if not done.is_redirect:
            return done
        return self.walk(urljoin(str(done.url), done.headers["location"]), until=until)


def page_text(answer):
    """Return the text of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))


HUB = "http://127.0.0.1:8000"
"""The hub's URL for tests of sign-in alone; nothing listens there."""


class Visitor:
    """A user with a browser, for tests of sign-in alone: calls its methods as the portal does."""

    def __init__(self, auth):
        self.auth = auth
        self.cookies: dict[str, str] = {}
        self.identity = None
        self._there = None  # the cookies of the provider

    def request(self, **headers):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items()).encode()
        return SimpleNamespace(
            scope={"headers": [(b"cookie", cookie)], "client": ("127.0.0.1", 1), "state": {"identity": self.identity}},
            headers={"user-agent": "test", **headers},
        )

    async def leave(self, provider="campus", next_url="", **more):
        departure = await self.auth.depart(provider, next_url, self.request(), **more)
        self._keep(departure.cookie)
        return departure.url

    async def answer(self, url, name, **more):
        """Sign in at the provider and return the parameters with which it redirects the browser back."""

        def go():
            with Browser(HUB, cookies=self._there) as browser:
                page = browser.at_campus(url, name, until=HUB, **more)
                self._there = browser.cookies
                return page

        page = await asyncio.to_thread(go)
        assert page.is_redirect, page.text
        return dict(parse_qsl(urlsplit(page.headers["location"]).query))

    async def arrive(self, answer, provider=""):
        arrival = await self.auth.arrive(provider, answer, self.request())
        self._keep(arrival.cookie)
        return arrival

    async def sign_in(self, name, provider="campus", next_url=""):
        """Sign in completely, and return the arrival."""
        arrival = await self.arrive(await self.answer(await self.leave(provider, next_url), name))
        ticket = digest(self.cookies["towpath-session"])
        store = self.auth._store
        session = await store.sessions.get(ticket)
        user = await store.users.get(session.user)
        self.identity = Identity(user, ticket, frozenset(), session=session)
        return arrival

    async def signed_in(self):
        """Return the user of this browser's session, or None."""
        found = await self.auth._store.sessions.get(digest(self.cookies.get("towpath-session", "")))
        return found and found.user

    def _keep(self, cookie):
        if cookie:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value


class Clock:
    """Real time plus an offset that the test sets."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


def on_campus(campus, url, main, config=None, *, rules, **more):
    """Run `async def main(auth, clock)` on the sign-in of a hub with the campus as its provider, then reset the campus.

    `rules`, `more`: keys of the provider.
    """
    clock = Clock()

    async def with_sign_in():
        provider = campus.provider(**{**rules, "oidc": {"groups_claim": "groups"}, **more})
        async with sign_in(url, {"provider": [provider], **(config or {})}, clock=clock) as auth:
            return await main(auth, clock)

    try:
        return asyncio.run(with_sign_in())
    finally:
        campus.control(twist=None, lose_claims=False, down=False)
        for name, claims in USERS.items():
            campus.control(user=name, disabled=False, set=claims)


async def later(auth, clock, seconds=400.0):
    """Let time pass, and do the reviews of sessions that are due then."""
    clock.ahead += seconds
    while await auth.session_review.review_due():
        pass


@contextlib.asynccontextmanager
async def sign_in(url, config, **more):
    """Open a hub's sign-in on a store: `async with sign_in(store_url, {"provider": [...]}) as auth`."""

    def wrong(key, message):
        raise AssertionError(f"{key}: {message}")

    store = await Store.open(url)
    given = read_struct(AuthConfig, config, "auth", frozenset(), wrong)
    auth = SharedAuth(store, CookieJar(secure=False, base_path="/"), given, hub_url=f"{HUB}/hub/", **more)
    try:
        yield auth
    finally:
        await auth.stop()
        await store.close()
