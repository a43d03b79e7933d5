"""The main task on a real cluster, in a real Chromium: from the form to a notebook on a GPU node, and back."""

import re
from contextlib import suppress

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from playwright.sync_api import expect, sync_playwright

from tests.browser.lab import SLOW
from tests.chromium import launch
from tests.cluster.slurm_hub import SlurmHub, short
from tests.hub import eventually

pytestmark = pytest.mark.browser


@pytest.fixture
def hub(slurm, short_folder):
    hub = SlurmHub(short(short_folder), slurm, apps=True, workers=2)
    hub.start()
    yield hub
    hub.close()


@pytest.fixture
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


def signed_in(browser, hub, name):
    """Return a page of a separate browser, signed in."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(SLOW)
    page.goto(f"{hub.origin}/hub/login")
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_url("**/hub/home")
    return page


def stop(page, hub):
    page.goto(f"{hub.origin}/hub/home")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("link", name="Stop").first.click()
    confirm = page.get_by_role("button", name="Stop").first
    eventually(
        lambda: page.get_by_text("Stopped", exact=True).count() or (confirm.count() and confirm.click() and False),
        what="the stop",
    )


def test_alice_works_on_a_gpu_node_and_bob_sees_nothing_of_it(hub, browser):
    alice = signed_in(browser, hub, "alice")
    alice.goto(f"{hub.origin}/hub/spawn")
    alice.locator("[name='opt.jupyterlab.partition']").select_option("gpu")
    alice.locator("[name='opt.jupyterlab.gpu']").select_option("a100")
    alice.locator("[name='opt.jupyterlab.gpus']").fill("1")
    alice.get_by_role("button", name="Start").click()
    alice.wait_for_url(re.compile(r"/hub/spawn-pending/alice|/user/alice/"))
    alice.wait_for_url("**/user/alice/lab**", timeout=SLOW)
    expect(alice.locator("#jp-main-dock-panel")).to_be_visible(timeout=SLOW)

    # her home outlives the test, and JupyterLab would restore its last session
    alice.goto(f"{hub.origin}/user/alice/lab?reset")
    alice.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(alice.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=SLOW)
    cell = alice.locator(".jp-Notebook .cm-content").first
    words = "import os, socket; print(os.environ['CUDA_VISIBLE_DEVICES'], socket.gethostname(), os.getuid() != 0)"

    def typed():
        cell.click()
        alice.keyboard.press("Control+A")
        alice.keyboard.insert_text(words)
        return cell.inner_text().strip() == words

    eventually(typed, what="the cell's text")
    output = alice.locator(".jp-OutputArea-output pre").first

    def ran():
        cell.press("Shift+Enter")
        with suppress(PlaywrightTimeoutError):
            output.wait_for(timeout=5000)
        return output.count() and output.inner_text().strip()

    assert eventually(ran, what="the cell's output") == "0 gn1 True"

    bob = signed_in(browser, hub, "bob")
    assert "alice" not in bob.content()
    for path in ("/user/alice/lab", "/user/alice/api/contents", "/hub/spawn-pending/alice", "/hub/api/users/alice"):
        answer = bob.goto(f"{hub.origin}{path}")
        assert answer.status in (403, 404), path
        assert "towpath-" not in bob.content()

    stop(alice, hub)
    eventually(lambda: not hub.jobs(), what="the job's end")


@pytest.mark.parametrize(
    ("profile", "path", "look"),
    [
        ("jupyterlab", "/user/alice/lab", "#jp-main-dock-panel"),
        ("notebook", "/user/alice/tree", ".jp-DirListing, .jp-FileBrowser"),
        ("code-server", "/user/alice/", ".monaco-workbench"),
        ("tensorboard", "/user/alice/", "tb-webapp"),
    ],
)
def test_each_profile_opens_and_works(hub, browser, profile, path, look):
    alice = signed_in(browser, hub, "alice")
    failures = []

    def failed(error):
        failures.append(error)

    alice.on("websocket", lambda socket: socket.on("socketerror", failed))
    alice.goto(f"{hub.origin}/hub/spawn")
    alice.locator(f"[name='profile'][value='{profile}']").check()
    alice.get_by_role("button", name="Start").click()
    alice.wait_for_url(f"**{path}**", timeout=SLOW)
    expect(alice.locator(look).first).to_be_visible(timeout=SLOW)
    if profile == "code-server":
        # its extension host uses a WebSocket: the workbench is complete only when that is open
        expect(alice.locator(".part.statusbar")).to_be_visible(timeout=SLOW)
        assert not failures
    assert [state for _, _, state in hub.jobs()] == ["RUNNING"]
    stop(alice, hub)
    eventually(lambda: not hub.jobs(), what="the job's end")
