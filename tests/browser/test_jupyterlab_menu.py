"""Stock JupyterLab in a real Chromium, as a part of the hub: the hub's entry, the user's name, and *Log Out*."""

import pytest
from hub import eventually
from playwright.sync_api import expect

from tests.browser.lab import SLOW, lab_hub, own_home, patient_context

pytestmark = pytest.mark.browser


@pytest.fixture
def hub(tmp_path, monkeypatch):
    own_home(tmp_path / "home", monkeypatch)
    with lab_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
def context():
    with patient_context() as context:
        yield context


def choose(page, entry, *, only=False):
    """Choose an entry of JupyterLab's File menu. `only`: it must be there once."""
    items = page.locator(".lm-Menu-item:visible", has_text=entry)

    def opened():
        if not items.count():
            page.get_by_role("menuitem", name="File", exact=True).click()
        return items.count()

    eventually(opened, what=f"the entry {entry}")
    assert not only or items.count() == 1
    items.first.click()


def test_the_hubs_entry_opens_the_home_page_and_log_out_signs_out_of_the_hub(hub, context):
    page = context.new_page()
    page.goto(hub.link)
    page.get_by_role("button", name="Start").first.click()
    page.wait_for_url(f"**/user/{hub.user()}/lab**", timeout=SLOW)
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=SLOW)

    # who collaborators see
    me = page.evaluate("fetch(document.baseURI.replace(/lab.*/, 'api/me')).then(answer => answer.json())")
    assert me["identity"]["name"] == hub.user()

    with context.expect_page() as opened:
        choose(page, "Hub Control Panel")
    home = opened.value
    home.wait_for_url("**/hub/home")
    expect(home.get_by_role("link", name="Stop").first).to_be_visible()

    # As in JupyterHub's own servers: one way to sign out, and none to end the server without the hub.
    choose(page, "Log Out", only=True)
    page.wait_for_url("**/hub/login**")
    page.goto(f"{hub.origin}/user/{hub.user()}/lab")
    assert "/hub/login" in page.url
    home.reload()
    assert "/hub/login" in home.url
