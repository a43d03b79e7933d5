"""A real JupyterHub 6.1 and our hub redirect a browser alike: through sign-in and start to the user's server."""

import html
import re
import time
from contextlib import closing
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from tests.hub import eventually

pytestmark = pytest.mark.timeout(300)
LINK = "/hub/user-redirect/tree/week%201.ipynb?cell=2&all=x%26y"
MINE = "/user/ann/tree/week 1.ipynb?cell=2&all=x&y"
"""Return the `next` of a URL, unquoted."""


class Browser:
    """A browser at one of the hubs that signs in as ann, starts servers, and records its path."""

    def __init__(self, origin):
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
        self.client = httpx.Client(base_url=origin, timeout=60, headers=headers)
        self.way = []

    def close(self):
        self.client.close()

    def go(self, url):
        """Follow pages until a server's address. Return path and `next` of each page of the hub, then the address."""
        self.way = []
        for _ in range(1000):
            parts = urlsplit(url)
            if parts.path.startswith("/user/"):
                return [*self.way, unquote(url)]
            further = parse_qs(parts.query).get("next", [""])[0]
            here = unquote(parts.path), unquote(further)
            if here not in self.way[-1:]:
                self.way.append(here)
            url = self.onward(url, self.client.get(url))
        raise AssertionError(self.way)

    def onward(self, url, answer):
        """Return the next URL of a response: its redirect, its form, or the same page if it only waits."""
        if not answer.is_redirect:
            assert answer.status_code == 200, answer.text
            page = urlsplit(url).path
            if page == "/hub/login":
                answer = self.send(url, answer, username="ann", password="x", provider="test", name="ann")
            elif page.startswith("/hub/spawn/"):
                answer = self.send(url, answer, profile="echo")
            else:
                time.sleep(0.05)
                return url
        location = answer.headers["location"]
        assert location.startswith("/"), location
        assert not location.startswith("//"), location
        return location

    def send(self, url, page, **fields):
        """Submit the page's form with these fields."""
        for tag in re.findall(r"<input[^>]*>", page.text):
            name, value = (re.search(rf'\b{one}="([^"]*)"', tag) for one in ("name", "value"))
            if name and value and name[1] in {"_xsrf", "next"}:
                fields[name[1]] = html.unescape(value[1])
        action = next((one for one in re.findall(r'<form[^>]*\baction="([^"]*)"', page.text) if "log" in one), url)
        where = html.unescape(action) if urlsplit(url).path == "/hub/login" else url
        answer = self.client.post(where, data=fields)
        assert answer.is_redirect, answer.text
        return answer


@pytest.fixture
def browsers(sides):
    """A browser without a session at each hub: JupyterHub's, and ours."""
    theirs, ours = (Browser(str(side.client.base_url).rstrip("/")) for side in sides)
    with closing(theirs), closing(ours):
        yield theirs, ours


def test_a_user_redirect_link_leads_alike_through_sign_in_and_start(sides, browsers):
    theirs, ours = (browser.go(LINK) for browser in browsers)
    assert theirs == ours
    assert [path for path, _ in ours[:-1]] == [
        "/hub/user-redirect/tree/week 1.ipynb",
        "/hub/login",
        "/hub/user-redirect/tree/week 1.ipynb",
        "/hub/spawn/ann",
        "/hub/spawn-pending/ann",
    ]
    assert ours[-1] == MINE
    # and directly when the server is running
    for browser in browsers:
        assert browser.go(LINK)[-1] == MINE
        assert browser.go("/hub/user-redirect/?a=1")[-1] == "/user/ann/?a=1"
        assert browser.go("/hub/user-redirect/lab")[-1] == "/user/ann/lab"
        assert browser.go("/hub/spawn/ann?next=/user/ann/lab/tree")[-1] == "/user/ann/lab/tree"
        assert browser.go("/hub/spawn-pending/ann?next=/user/ann/lab/tree")[-1] == "/user/ann/lab/tree"
    for side in sides:
        stopped(side, "server")


def test_options_in_the_url_of_the_form_are_kept_and_only_ours_waits_for_the_button(sides, browsers):
    """JupyterHub starts a server when a user opens a link with options; here a link only fills in the form."""
    theirs, ours = browsers
    for browser in browsers:
        browser.go(LINK)
    asked = "/hub/spawn/ann/lab2?profile=echo&opt-size=2&next=/user/ann/lab2/tree"
    begun = theirs.client.get(asked)
    assert begun.is_redirect
    assert urlsplit(begun.headers["location"]).path == "/hub/spawn-pending/ann/lab2"
    assert ours.client.get(asked).status_code == 400  # this hub's profile has no such option
    asked = asked.replace("opt-size=2&", "")
    form = ours.client.get(asked)
    assert form.status_code == 200
    assert ours.client.get("/hub/api/users/ann/servers/lab2").status_code == 404
    # then both lead to the same address
    ends = [theirs.go(begun.headers["location"])[-1], ours.go(asked)[-1]]
    assert ends == ["/user/ann/lab2/tree"] * 2
    for side in sides:
        stopped(side, "servers/lab2")
        stopped(side, "server")


def stopped(side, server):
    """Stop one of ann's servers."""
    headers = {"Authorization": f"token {side.secrets['root1']}"}
    side.client.delete(f"/hub/api/users/ann/{server}", headers=headers)
    eventually(side.settled, what="the end")
