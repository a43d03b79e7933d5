"""The main job without a scheduler, in a real Chromium: JupyterLab on another host, as another Unix user."""

import re
import shutil
from contextlib import suppress

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from playwright.sync_api import expect, sync_playwright

from tests.browser.lab import SLOW
from tests.chromium import launch
from tests.hub import eventually
from tests.ssh.ssh_hub import SshHub, short

pytestmark = pytest.mark.browser


@pytest.fixture(params=["direct", "ssh"])
def hub(request, pool, short_folder):
    way_in = f'way_in = "{request.param}"'
    for host in pool.hosts.values():  # JupyterLab opens again what was open before
        shutil.rmtree(host.homes / "alice")
        host.make_home("alice")
    hub = SshHub(short(short_folder), pool, apps=True, workers=2, window=180, cluster=way_in)
    try:
        yield hub.start()
    finally:
        hub.close()


@pytest.fixture
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


def test_alice_works_in_jupyterlab_on_a_host_and_stops_it(hub, pool, browser):
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(SLOW)
    page.goto(f"{hub.origin}/hub/login")
    page.get_by_role("button", name="alice", exact=True).click()
    page.wait_for_url("**/hub/home")
    page.goto(f"{hub.origin}/hub/spawn")
    start = page.get_by_role("button", name="Start")
    if start.count():
        start.click()
    page.wait_for_url("**/user/alice/lab**", timeout=SLOW)
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=SLOW)

    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=SLOW)
    cell = page.locator(".jp-Notebook .cm-content").first
    words = "import os, socket; print(socket.gethostname(), os.getuid() != 0, os.path.expanduser('~'))"

    def typed():
        cell.click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(words)
        return cell.inner_text().strip() == words

    eventually(typed, what="the cell's text")
    output = page.locator(".jp-OutputArea-output pre").first

    def ran():
        cell.press("Shift+Enter")
        with suppress(PlaywrightTimeoutError):
            output.wait_for(timeout=5000)
        return output.count() and output.inner_text().strip()

    host, unprivileged, home = eventually(ran, what="the cell's output").split()
    assert host in pool.hosts
    assert (unprivileged, home) == ("True", "/var/lib/towpath-devcluster/home/alice")
    assert (pool.hosts[host].homes / "alice" / "Untitled.ipynb").exists()

    page.goto(f"{hub.origin}/hub/home")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("link", name=re.compile("^Stop")).first.click()
    confirm = page.get_by_role("button", name=re.compile("^Stop")).first
    eventually(
        lambda: page.get_by_text("Stopped", exact=True).count() or (confirm.count() and confirm.click() and False),
        what="the stop",
    )
    eventually(lambda: not pool.hosts[host].processes("towpath-job"), what="the end of the job's processes")
