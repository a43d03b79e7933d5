"""The admin pages in a real Chromium: with only the keyboard, on a phone, without errors in the console."""

import time

import pytest
from playwright.sync_api import expect, sync_playwright
from stage import Stage

from state.records.audit import Act, Entry
from state.records.models import User
from tests.chromium import launch

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("users")).start()

    async def fill(store):
        for number in range(120):
            await store.users.add(User(name=f"student{number:03}", groups=("physics",), created=1.0))
        await store.audit.note(
            Entry(time=time.time(), act=Act.SERVER_ACCESS, who="carol", address="192.0.2.7", user="alice", server="")
        )

    stage.run(fill)
    yield stage
    stage.stop()


@pytest.fixture
def page(stage):
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 360, "height": 800})
        page.set_default_timeout(30_000)
        page.faults = []
        page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.goto(f"{stage.origin}/hub/login")
        page.get_by_role("button", name="carol").click()
        page.wait_for_url("**/hub/home")
        yield page
        browser.close()


def tab_to(page, name):
    """Move the focus to a control with the Tab key."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.labels?.[0]?.innerText || document.activeElement.innerText") == name:
            return
    raise AssertionError(f"{name} cannot be reached with Tab")


def test_an_admin_finds_adds_and_changes_users_with_the_keyboard(stage, page):
    page.goto(f"{stage.origin}/hub/admin")
    tab_to(page, "Name contains")
    page.keyboard.type("student11")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="1-10 of 10")).to_be_visible()
    tab_to(page, "Names")
    page.keyboard.type("dora")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Users added.")
    tab_to(page, "Name contains")
    page.keyboard.type("dora")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=dora**")
    tab_to(page, "dora")
    page.keyboard.press("Enter")
    page.wait_for_url("**/hub/admin/users/dora")
    tab_to(page, "Groups")
    page.keyboard.type("chemistry")
    page.keyboard.press("Enter")  # the next line
    page.keyboard.type("staff")
    tab_to(page, "Save")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.get_by_role("textbox", name="Groups")).to_have_value("chemistry\nstaff")
    tab_to(page, "Remove dora")
    page.keyboard.press("Enter")
    page.wait_for_url("**/remove")
    tab_to(page, "Remove user")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("User removed.")
    assert page.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(stage, page, scheme):
    page.emulate_media(color_scheme=scheme)
    for path in ("admin", "admin?q=zzz", "admin/users/student000", "admin/users/student000/remove", "audit", "home"):
        page.goto(f"{stage.origin}/hub/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    assert page.faults == []


def test_the_activity_page_can_be_filtered(stage, page):
    page.goto(f"{stage.origin}/hub/audit")
    expect(page.get_by_role("cell").filter(has_text="used a server")).to_be_visible()
    page.get_by_label("Action", exact=True).select_option("sign-in")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**act=sign-in**")
    expect(page.get_by_role("cell").filter(has_text="used a server")).to_have_count(0)
    expect(page.get_by_role("cell").filter(has_text="signed in").first).to_be_visible()
