"""The main job on one machine for several users: three of them in JupyterLab at once, one of them in real Chromium."""

import contextlib
import os
import pwd
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.batch.launchers.local.making import HOMES
from tests.browser.test_main_job import SLOW
from tests.chromium import launch
from tests.hub import eventually
from tests.users.users_hub import UsersHub, short

pytestmark = pytest.mark.browser

USERS = ("alice", "bob", "carol")
NAME = f"towpath-test-{os.getpid()}.txt"


@pytest.fixture
def hub(users, short_folder):
    hub = UsersHub(short(short_folder), users, apps=True, window=180)
    try:
        yield hub.start()
    finally:
        for user in USERS:
            (HOMES / user / NAME).unlink(missing_ok=True)
        hub.close()


def work(hub, user):
    """Start JupyterLab, and write a file in it: whose it is."""
    with hub.user(user) as api, contextlib.closing(hub.browser_of(user)) as browser:
        hub.start_one(api, user)
        hub.until(api, user, status="ready", seconds=180)
        content = {"type": "file", "format": "text", "content": user}
        browser.get(f"/user/{user}/lab")  # brings the app's cookie for changes
        headers = {"X-XSRFToken": browser.cookies.get("_xsrf", path=f"/user/{user}/", default="")}
        answer = browser.put(f"/user/{user}/api/contents/{NAME}", json=content, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return (HOMES / user / NAME).stat().st_uid


def test_three_users_work_at_once_each_in_their_own_home(hub):
    with ThreadPoolExecutor(len(USERS)) as threads:
        owners = list(threads.map(lambda user: work(hub, user), USERS))
    assert owners == [pwd.getpwnam(user).pw_uid for user in USERS]
    with sync_playwright() as playwright:
        browser = launch(playwright)
        try:
            in_a_terminal(hub, browser)
        finally:
            browser.close()
    for user in USERS:
        with hub.user(user) as api:
            api.delete(f"/users/{user}/server")
            hub.until(api, user, status="stopped")


def in_a_terminal(hub, browser):
    """In a terminal of bob's JupyterLab: who he is, and that alice's file is not his to read."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(SLOW)
    page.goto(f"{hub.origin}/hub/login")
    page.get_by_role("button", name="bob", exact=True).click()
    page.wait_for_url("**/hub/home")
    page.goto(f"{hub.origin}/user/bob/lab?reset")  # no workspace of an earlier server
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=SLOW)
    page.locator(".jp-LauncherCard[title='Start a new terminal session']").last.click()
    screen = page.locator(".jp-Terminal .xterm-screen")
    expect(screen).to_be_visible(timeout=SLOW)
    screen.click()
    told = HOMES / "bob" / NAME
    words = f"(id -un; cat {HOMES}/alice/{NAME} || echo refused) >{told} 2>&1\n"

    def typed():
        page.keyboard.type(words)
        with contextlib.suppress(AssertionError):  # the shell was not ready: once more
            return eventually(lambda: "refused" in told.read_text(), seconds=10)

    eventually(typed, what="the answer of the terminal")
    lines = told.read_text().splitlines()
    assert lines[0] == "bob"
    assert "Permission denied" in lines[1]
