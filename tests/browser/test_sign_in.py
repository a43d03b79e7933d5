"""Sign-in with a real identity provider in a real Chromium: in, back, out, and out at the provider."""

from contextlib import contextmanager

import pytest
from campus import Campus
from playwright.sync_api import expect, sync_playwright
from ports import free_port
from stage import SHARED, Stage

from tests.chromium import launch

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        page.set_default_timeout(60_000)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    port = free_port()
    campus = Campus(("hub", f"http://127.0.0.1:{port}")).start()
    config = f"[auth]\nallowed_users = ['alice']\n{campus.config()}{SHARED}"
    hub = Stage(tmp_path_factory.mktemp("sign-in"), config=config)
    hub.port = port
    hub.start()
    yield campus, hub
    hub.close()
    campus.stop()


def sign_in(page, name):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(f"secret of {name}")
    page.get_by_role("button", name="Sign in here").click()


def test_a_user_signs_in_at_the_provider_and_signs_out_everywhere(place):
    campus, hub = place
    with chromium() as page:
        complaints = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

        # a page of the hub leads straight to the provider, and back to that page
        page.goto(f"{hub.origin}/hub/token")
        page.wait_for_url(f"{campus.issuer}/**")
        sign_in(page, "alice")
        page.wait_for_url(f"{hub.origin}/hub/token")
        expect(page.get_by_text("alice", exact=True)).to_be_visible()

        # going back in the history causes no error and no second sign-in
        page.goto(f"{hub.origin}/hub/home")
        page.go_back()
        page.wait_for_url(f"{hub.origin}/hub/token")

        # sign-out leads through the provider to a page that does not sign in again
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{campus.issuer}/session/end**")
        page.get_by_role("button", name="Yes, sign me out").click()
        page.wait_for_url(f"{hub.origin}/hub/signed-out")
        expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
        page.goto(f"{hub.origin}/hub/signed-out")
        page.wait_for_url(f"{hub.origin}/hub/signed-out")

        # the provider asks again; a user who may not sign in is told so and can choose another account
        page.get_by_role("link", name="Sign in again").click()
        page.wait_for_url(f"{campus.issuer}/**")
        sign_in(page, "mallory")
        expect(
            page.get_by_text("You are signed in as mallory, but mallory is not allowed to use this hub.")
        ).to_be_visible()
        page.get_by_role("link", name="Sign in with another account").click()
        page.wait_for_url(f"{campus.issuer}/**")
        sign_in(page, "alice")
        page.wait_for_url(f"{hub.origin}/hub/home")
        assert [text for text in complaints if "Security Policy" in text] == []
