"""The ways that a browser is led, by a real JupyterHub 6.1 and by ours: through a sign-in and a start, to one's own."""

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
"""Where it leads to, unquoted."""


class Browser:
    """Somebody's, at one of the two hubs: it signs in as ann and starts what it is asked to, and notes where it was."""

    def __init__(self, origin):
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
        self.client = httpx.Client(base_url=origin, timeout=60, headers=headers)
        self.way = []

    def close(self):
        self.client.close()

    def go(self, url):
        """On until a server's own address; the way there: path and `next` of each page of the hub, then the address."""
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
        """Where an answer leads: where it says, or to where its form does; a page that only waits is asked again."""
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
        """The page's form, with these fields."""
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
    """One of a stranger at each: JupyterHub's, and ours."""
    theirs, ours = (Browser(str(side.client.base_url).rstrip("/")) for side in sides)
    with closing(theirs), closing(ours):
        yield theirs, ours


def test_a_link_for_everybody_leads_the_same_way_through_a_sign_in_and_a_start(sides, browsers):
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
    # and when it runs, there at once
    for browser in browsers:
        assert browser.go(LINK)[-1] == MINE
        assert browser.go("/hub/user-redirect/?a=1")[-1] == "/user/ann/?a=1"
        assert browser.go("/hub/user-redirect/lab")[-1] == "/user/ann/lab"
        assert browser.go("/hub/spawn/ann?next=/user/ann/lab/tree")[-1] == "/user/ann/lab/tree"
        assert browser.go("/hub/spawn-pending/ann?next=/user/ann/lab/tree")[-1] == "/user/ann/lab/tree"
    for side in sides:
        stopped(side, "server")


def test_options_in_the_address_of_the_form_are_kept_and_only_ours_waits_for_a_press(sides, browsers):
    """JupyterHub starts a server for whoever follows a link with options; here a link fills in the form."""
    theirs, ours = browsers
    for browser in browsers:
        browser.go(LINK)
    asked = "/hub/spawn/ann/lab?profile=echo&opt-size=2&next=/user/ann/lab/tree"
    begun = theirs.client.get(asked)
    assert begun.is_redirect
    assert urlsplit(begun.headers["location"]).path == "/hub/spawn-pending/ann/lab"
    form = ours.client.get(asked)
    assert form.status_code == 200
    assert ours.client.get("/hub/api/users/ann/servers/lab").status_code == 404
    # then both lead on to the same
    ends = [theirs.go(begun.headers["location"])[-1], ours.go(asked)[-1]]
    assert ends == ["/user/ann/lab/tree"] * 2
    for side in sides:
        stopped(side, "servers/lab")
        stopped(side, "server")


def stopped(side, server):
    """End one of ann's servers."""
    headers = {"Authorization": f"token {side.secrets['root1']}"}
    side.client.delete(f"/hub/api/users/ann/{server}", headers=headers)
    eventually(side.settled, what="the end")
