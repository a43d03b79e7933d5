"""The campus for tests: a real, certified identity provider (`tests/idp/server.mjs`), and people who sign in by it."""

import json
import re
import shutil
import subprocess
from html import unescape
from urllib.parse import urljoin

import httpx
from hub import ROOT

PEOPLE = {
    "alice": {"groups": ["physics", "staff"], "email": "alice@example.edu", "email_verified": True},
    "bob": {"groups": ["physics"], "email": "bob@example.edu", "email_verified": False},
    "carol": {"groups": ["admins"]},
    "mallory": {"groups": ["guests"]},
}
SECRET = "the hub's secret at the campus, 32+"
START_SECONDS = 30


class Campus:
    """One run of the provider. `clients`: (client id, the hub's URL) each."""

    def __init__(self, *clients: tuple[str, str], people=PEOPLE, more=None):
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
        self._people = people
        self.log: list[str] = []

    def start(self):
        node = shutil.which("node")
        assert node, "make test installs npm, and node with it"
        assert (ROOT / "tests/idp/node_modules").exists(), "make test installs the provider"
        self._process = subprocess.Popen(
            [node, "--no-warnings", str(ROOT / "tests/idp/server.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process.stdin.write(json.dumps({"clients": self._clients, "people": self._people}) + "\n")
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

    def wish(self, **asked):
        answer = httpx.post(f"{self.issuer}/wish", json=asked, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def config(self, *, client="hub", more="", oidc=""):
        """The tables of [[auth.provider]]."""
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
    """A browser that follows redirects step by step, with cookies, as a person's does."""

    def __init__(self, origin, **more):
        super().__init__(timeout=30, headers={"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}, **more)
        self.origin = origin

    def walk(self, url, *, until=None):
        """GET and follow; stop before a redirect to an URL that begins with `until`. The last answer."""
        answer = self.get(urljoin(self.origin, url))
        while answer.is_redirect:
            target = urljoin(str(answer.url), answer.headers["location"])
            if until is not None and target.startswith(until):
                return answer
            answer = self.get(target)
        return answer

    def at_campus(self, url, name, *, answer="yes", password=None, until=None):
        """Begin at `url`, fill in the provider's form if there is one, and go on; the last answer."""
        page = self.walk(url, until=until)
        if "/interaction/" not in str(page.url):
            return page
        fields = {"name": name, "password": password or f"secret of {name}", "answer": answer}
        done = self.post(str(page.url), data=fields)
        if not done.is_redirect:
            return done
        return self.walk(urljoin(str(done.url), done.headers["location"]), until=until)


def words(answer):
    """The text of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))
