"""The sign-in of `towpath-connect` and the steps to connect, in a real Chromium."""

import re

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.chromium import launch
from tests.connect.connect_hub import Client, ConnectHub, hub_config, sshd_folder

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("b")
    with sshd_folder():
        hub = ConnectHub(folder, config=hub_config(folder))
        hub.start()
        try:
            yield hub
        finally:
            hub.close()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


def test_from_the_home_page_to_a_prompt_in_the_job(hub, browser, tmp_path):
    faults = []
    context = browser.new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{hub.origin}/hub/login")
    page.get_by_role("button", name="alice").click()
    api = hub.api("alice")
    hub.start_for(api, "alice")
    page.goto(f"{hub.origin}/hub/home")
    page.get_by_role("link", name="Connect to your server by SSH").click()
    expect(page.get_by_role("heading", name="Connect by SSH")).to_be_visible()
    page.get_by_role("button", name="Copy").nth(1).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"python3 towpath-connect.py login {hub.origin}/"

    laptop = Client(tmp_path, hub)
    program, code, where = laptop.begin_login()
    page.goto(where)
    page.get_by_label("Code").fill("BBBB-BBBB")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("This code is not valid")).to_be_visible()
    page.get_by_label("Code").fill(code.lower())
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Approve it only if you started it yourself, just now.")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status")).to_have_text(re.compile("Approved"))
    program.communicate(timeout=60)
    assert program.returncode == 0
    laptop.write_config()
    assert laptop.ssh("towpath", "echo prompt").stdout == "prompt\n"

    page.goto(f"{hub.origin}/hub/token")
    expect(page.get_by_role("cell", name=re.compile("^SSH from"))).to_be_visible()
    page.goto(f"{hub.origin}/hub/audit")
    expect(page.get_by_text("connected to a server by SSH").first).to_be_visible()
    api.close()
    # Chromium reports the 400 of the wrong code, and nothing else.
    assert all("400" in fault for fault in faults), faults
    context.close()
