"""The main workflow in a real Chromium: sign in with the link, work in JupyterLab, stop, sign out."""

from contextlib import suppress

import pytest
from hub import eventually
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from playwright.sync_api import expect

from tests.browser.lab import SLOW, lab_hub, own_home, patient_context

pytestmark = pytest.mark.browser


@pytest.fixture
def home(tmp_path, monkeypatch):
    return own_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def hub(tmp_path, home):
    with lab_hub(tmp_path, workers=2) as hub:
        yield hub


@pytest.fixture
def page():
    with patient_context() as context:
        yield context.new_page()


def test_a_user_signs_in_works_in_jupyterlab_and_signs_out(hub, page, home, tmp_path):
    # sign in with the link, which works once
    page.goto(hub.link)
    page.wait_for_url("**/hub/home")
    assert "token=" not in page.url

    # start, and follow the progress
    page.get_by_role("button", name="Start").first.click()
    page.wait_for_url(f"**/user/{hub.user()}/lab**", timeout=SLOW)
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=SLOW)

    # a notebook: 6*7 is 42
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    expect(page.locator(".jp-Notebook")).to_be_visible()
    # JupyterLab drops cells that are run before the kernel's WebSocket is open, so wait for "Idle", as a user would
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=SLOW)
    cell = page.locator(".jp-Notebook .cm-content").first

    def typed():
        """Type until the text is there, because JupyterLab may still move the focus."""
        cell.click()
        page.keyboard.press("Control+A")
        page.keyboard.type("6*7")
        return cell.inner_text().strip() == "6*7"

    eventually(typed, what="the cell's text")
    output = page.locator(".jp-OutputArea-executeResult pre").first

    def ran():
        cell.press("Shift+Enter")
        with suppress(PlaywrightTimeoutError):
            output.wait_for(timeout=5000)
        return output.count() == 1 and output.inner_text().strip() == "42"

    eventually(ran, what="42")

    # a terminal runs a command
    page.evaluate("document.querySelector('[data-command=\"launcher:create\"]')?.click()")
    page.keyboard.press("Control+Shift+L")
    page.locator(".jp-LauncherCard[title='Start a new terminal session']").last.click()
    expect(page.locator(".jp-Terminal .xterm-screen")).to_be_visible()
    page.locator(".jp-Terminal .xterm-screen").click()
    proof = home / "from-the-terminal"
    eventually(
        lambda: (page.keyboard.type(f"echo $((40+2)) > {proof}\n"), page.wait_for_timeout(500), proof.exists())[-1],
        what="the terminal's command",
    )
    assert proof.read_text().strip() == "42"

    # a 50 MB file is uploaded completely
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(range(256)) * (50 * 4096))
    with page.expect_file_chooser() as chooser:
        page.locator(
            "jp-button[title^='Upload'], button[title^='Upload'], [data-command='filebrowser:upload'] button, "
            ".jp-FileBrowser-toolbar [title^='Upload']"
        ).first.click()
    chooser.value.set_files(str(big))
    dialog = page.locator(".jp-Dialog .jp-mod-accept")
    dialog.or_(page.locator(f".jp-DirListing-item[title*='{big.name}']")).first.wait_for()
    if dialog.count():
        dialog.first.click()  # JupyterLab asks before it sends a large file
    landed = home / big.name
    eventually(lambda: landed.exists() and landed.stat().st_size == big.stat().st_size, seconds=120, what="the upload")
    assert landed.read_bytes() == big.read_bytes()

    # stop, on the home page
    page.goto(f"{hub.origin}/hub/home")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("link", name="Stop").first.click()
    confirm = page.get_by_role("button", name="Stop").first
    eventually(
        lambda: page.get_by_text("Stopped", exact=True).count() or (confirm.count() and confirm.click() and False),
        what="the stop",
    )

    # sign out: the Back button leads to the sign-in page, and the used link does not work again
    page.get_by_role("button", name="Sign out").or_(page.get_by_role("link", name="Sign out")).first.click()
    if "/hub/logout" in page.url:
        page.get_by_role("button", name="Sign out").first.click()
    page.wait_for_url("**/hub/login**")
    page.goto(f"{hub.origin}/user/{hub.user()}/lab")
    assert "/hub/login" in page.url
    page.goto(hub.link)
    assert "/hub/home" not in page.url
