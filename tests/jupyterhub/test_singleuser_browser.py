"""jupyterhub-singleuser in a real Chromium: OAuth sign-in, a kernel, and sign-out."""

from contextlib import suppress

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from playwright.sync_api import expect, sync_playwright

from tests.browser.lab import SLOW
from tests.chromium import launch
from tests.hub import eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture
def page():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(SLOW)
        yield page
        browser.close()


def test_a_user_works_in_it_and_signs_out(hub, alices, page):
    page.goto(f"{hub.origin}/user/alice/lab")
    page.wait_for_url("**/hub/login**")
    page.get_by_role("button", name="alice", exact=True).click()
    page.wait_for_url("**/user/alice/lab**")
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=SLOW)
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(page.locator(".jp-Notebook")).to_be_visible()
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=SLOW)
    cell = page.locator(".jp-Notebook .cm-content").first

    def typed():
        cell.click()
        page.keyboard.press("Control+A")
        page.keyboard.type("6*7")
        return cell.inner_text().strip() == "6*7"

    eventually(typed, seconds=60, what="the cell's text")
    output = page.locator(".jp-OutputArea-executeResult pre").first

    def ran():
        cell.press("Shift+Enter")
        with suppress(PlaywrightTimeoutError):
            output.wait_for(timeout=5000)
        return output.count() == 1 and output.inner_text().strip() == "42"

    eventually(ran, seconds=60, what="42")
    held = {cookie["name"]: cookie["path"] for cookie in page.context.cookies()}
    assert held["jupyterhub-user-alice"] == "/user/alice/"

    # its own menu leads to the hub's sign-out page, which signs out at once, as at JupyterHub
    page.goto(f"{hub.origin}/user/alice/logout")
    page.wait_for_url("**/hub/login**")
    page.goto(f"{hub.origin}/user/alice/lab")
    page.wait_for_url("**/hub/login**")
    # the next user of the same browser is not taken for her
    page.get_by_role("button", name="bob", exact=True).click()
    expect(page.get_by_text("You have no access to this server")).to_be_visible()
