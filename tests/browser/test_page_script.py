"""The script of every page, in a Chromium: the reader's own time zone, and warnings that appear in time."""

from contextlib import closing
from datetime import UTC, datetime

import pytest
from playwright.sync_api import sync_playwright

from portal.servers.ending_soon import EndingServer
from portal.site.site import Look
from state.config.tables import Config
from tests.chromium import launch

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright, closing(launch(playwright)) as browser:
        yield browser


def show(browser, look, html, *, zone="Asia/Tokyo", scripts=True, at=NOON):
    """Open this HTML as a page of the hub, with the hub's static files, in a browser that lives in this time zone."""
    context = browser.new_context(timezone_id=zone, locale="en-GB", java_script_enabled=scripts)
    page = context.new_page()

    def answer(route):
        path = route.request.url.removeprefix("http://hub.test")
        if "/static/" not in path:
            return route.fulfill(body=html, content_type="text/html; charset=utf-8")
        digest, name = path.rsplit("/", 2)[-2:]
        file = look.statics.find(digest, name)
        return route.fulfill(body=file.body, content_type=file.media_type)

    page.route("**/*", answer)
    if scripts:
        page.clock.install(time=at)
        page.clock.pause_at(at + 1)
    page.goto("http://hub.test/hub/home")
    return page


def look_at(now):
    return Look(Config(), "0.1.0", lambda: now)


def rendered(now, body, **values):
    """Render a page that has `body` for its content."""
    look = look_at(now)
    head = '{% extends "base.html" %}{% from "macros.html" import when, near %}'
    source = head + "{% block main %}" + body + "{% endblock %}"
    html = look._templates.from_string(source).render(user=None, **values)
    return look, html


def test_times_are_in_the_users_time_zone(browser):
    body = "<p id='old'>{{ when(old) }}</p><p id='new'>{{ when(new) }}</p><p id='near'>{{ near(new) }}</p>"
    look, html = rendered(NOON, body, old=NOON - 40 * 3600, new=NOON - 7200)
    page = show(browser, look, html)
    old, new = page.locator("#old time"), page.locator("#new time")
    assert old.inner_text() == "22 November 2026 at 05:00 GMT+9"
    assert new.inner_text() == "2 h ago"
    assert new.get_attribute("title") == "23 November 2026 at 19:00 GMT+9"
    assert page.locator("#near time").inner_text() == "19:00"
    page = show(browser, look, html, zone="America/New_York")
    assert page.locator("#old time").inner_text() == "21 November 2026 at 15:00 GMT-5"


def test_without_scripts_times_are_in_utc_and_say_so(browser):
    look, html = rendered(NOON, "<p>{{ when(old) }}</p>", old=NOON - 40 * 3600)
    page = show(browser, look, html, scripts=False)
    assert page.locator("p time").inner_text() == "21 November 2026, 20:00 UTC"


def test_a_page_that_stays_open_warns_in_time(browser):
    ending = (EndingServer(label="lab", deadline=NOON + 1800, visible=False),)
    look, html = rendered(NOON, "<p>Here.</p>", ending=ending, warn_seconds=900)
    page = show(browser, look, html)
    warning = page.get_by_text("reaches its time limit in")
    assert not warning.is_visible()
    page.clock.run_for(16 * 60_000)
    assert warning.is_visible()
    assert "lab reaches its time limit in 13 min and will be stopped. Save your work." in warning.inner_text()
    page.clock.run_for(15 * 60_000)
    assert not warning.is_visible()
