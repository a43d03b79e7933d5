"""The main job on one machine for several users: three of them sign in with PAM and work in JupyterLab at once.

One of them is in real Chromium. The accounts, their passwords and the PAM service are the test's own.
"""

import contextlib
import os
import pwd
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests import secret_scan
from tests.batch.launchers.local.making import HOMES, unix_users
from tests.browser.test_main_job import SLOW
from tests.chromium import launch
from tests.gateway.test_pam import PLAIN, SERVICES, change, shadow
from tests.hub import eventually
from tests.users.users_hub import UsersHub, short

pytestmark = pytest.mark.browser

USERS = tuple(f"pam{os.getpid()}{letter}" for letter in "abc")
NAME = "notes.txt"
PASSWORD = secrets.token_urlsafe(12)
PROVIDER = """name = "machine"
kind = "pam"
[auth.provider.pam]
service = "{service}"
"""


@pytest.fixture
def hub(short_folder):
    secret_scan.add_secret(PASSWORD, "password")
    service = SERVICES / f"towpath-test-{USERS[0]}"
    with unix_users(*USERS) as folder, contextlib.ExitStack() as stack:
        for user in USERS:
            change(["usermod", "--password", shadow(PASSWORD), user])
        service.write_text(PLAIN)
        stack.callback(service.unlink)
        provider = PROVIDER.format(service=service.name)
        hub = UsersHub(short(short_folder), folder, apps=True, window=180, users=USERS, provider=provider)
        stack.callback(hub.close)
        yield hub.start()


def signed_in(hub, user, password=PASSWORD):
    """A browser after the form for a password, or where that form still is."""
    client = hub.client()
    form = {"provider": "machine", "username": user, "password": password}
    return client, client.post("/hub/login", data=form, follow_redirects=True)


def work(hub, user):
    """Sign in, start JupyterLab, and write a file in it: whose it is."""
    client, answer = signed_in(hub, user)
    with contextlib.closing(client) as browser, contextlib.closing(hub.api(user)) as api:
        assert "/hub/home" in str(answer.url), answer.text
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
        with contextlib.closing(hub.api(user)) as api:
            api.delete(f"/users/{user}/server")
            hub.until(api, user, status="stopped")
    client, refused = signed_in(hub, USERS[0], "wrong")  # last: the next attempt would have to wait
    client.close()
    assert refused.status_code == 403


def in_a_terminal(hub, browser):
    """In a terminal of the second user's JupyterLab: who it is, and that the first one's file is not theirs to read."""
    first, second, _ = USERS
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(SLOW)
    page.goto(f"{hub.origin}/hub/login")
    page.get_by_label("Username", exact=True).fill(second)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/hub/home")
    page.goto(f"{hub.origin}/user/{second}/lab?reset")  # no workspace of an earlier server
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=SLOW)
    page.locator(".jp-LauncherCard[title='Start a new terminal session']").last.click()
    screen = page.locator(".jp-Terminal .xterm-screen")
    expect(screen).to_be_visible(timeout=SLOW)
    screen.click()
    told: Path = HOMES / second / NAME
    words = f"(id -un; cat {HOMES}/{first}/{NAME} || echo refused) >{told} 2>&1\n"

    def typed():
        page.keyboard.type(words)
        with contextlib.suppress(AssertionError):  # the shell was not ready: once more
            return eventually(lambda: "refused" in told.read_text(), seconds=10)

    eventually(typed, what="the answer of the terminal")
    lines = told.read_text().splitlines()
    assert lines[0] == second
    assert "Permission denied" in lines[1]
