"""Sharing in a real Chromium: share, use, revoke with an open WebSocket; with the keyboard, on a phone, without scripts."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hub import Hub, eventually
from playwright.sync_api import expect, sync_playwright

from tests.chromium import launch
from tests.echo_hub import ECHO, LOCAL

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
CONFIG = f"""
[gateway]
share_on_one_host = true

[auth]
allowed_users = ["alice", "bob", "dave"]

[[auth.provider]]
name = "test"
kind = "test"

[[role]]
name = "user"
scopes = ["self", "shares!user", "read:users:name", "read:groups:name"]
{LOCAL}{ECHO}
"""
SOCKET = """() => new Promise((opened) => {
  window.socket = new WebSocket(`ws://${location.host}/user/alice/ws`);
  window.socket.onmessage = (message) => opened(message.data);
  window.socket.onclose = (event) => { window.ended = event.code; opened(`closed ${event.code}`); };
  window.socket.onopen = () => window.socket.send("hello");
})"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    hub = Hub(tmp_path_factory.mktemp("sharing"), config=CONFIG, workers=2).start()
    clients = {name: hub.browser_of(name) for name in ("alice", "bob", "dave")}
    alice = clients["alice"]
    assert alice.post("/hub/spawn/alice", data={"profile": "echo"}).status_code == 303
    eventually(lambda: alice.get("/hub/api/users/alice/server").json()["ready"], what="alice's server")
    yield hub
    alice.delete("/hub/api/users/alice/server")
    eventually(lambda: alice.get("/hub/api/users/alice/server").json()["stopped"], what="the end")
    for client in clients.values():
        client.close()
    hub.close()


@contextmanager
def browsers(hub, *names, **more):
    """Open a signed-in page for each user, each in its own browser."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        pages = []
        for name in names:
            page = browser.new_context(**more).new_page()
            page.set_default_timeout(30_000)
            page.goto(f"{hub.origin}/hub/login")
            page.get_by_role("button", name=name).click()
            page.wait_for_url("**/hub/home")
            pages.append(page)
        yield pages
        browser.close()


def tab_to(page, name):
    """Move the focus to a control with the Tab key."""
    for _ in range(60):
        page.keyboard.press("Tab")
        named = "document.activeElement.getAttribute('aria-label') || document.activeElement.labels?.[0]?.innerText"
        if page.evaluate(f"{named} || document.activeElement.innerText") == name:
            return
    raise AssertionError(f"{name} cannot be reached with Tab")


def test_a_share_works_and_revoking_it_closes_open_connections(hub):
    with browsers(hub, "alice", "bob") as (alice, bob):
        expect(bob.get_by_role("heading", name="Shared with you")).to_have_count(0)
        alice.get_by_role("link", name="Share your server").click()
        alice.get_by_role("textbox", name="Name").fill("bob")
        alice.get_by_role("group", name="Access").first.get_by_label("Full").check()
        alice.get_by_role("button", name="Share", exact=True).click()
        expect(alice.get_by_role("status")).to_contain_text("bob now has full access")

        bob.reload()
        bob.get_by_role("link", name="Open alice's server").click()
        bob.wait_for_url(f"{hub.origin}/user/alice/")
        assert bob.evaluate(SOCKET) == "hello"

        alice.get_by_role("button", name="Revoke from bob").click()
        expect(alice.get_by_role("status")).to_contain_text("Access of bob was revoked")
        bob.wait_for_function("window.ended")
        assert bob.evaluate("window.ended") == 4403
        assert bob.reload().status == 403
        bob.goto(f"{hub.origin}/hub/home")
        expect(bob.get_by_role("heading", name="Shared with you")).to_have_count(0)


def test_a_read_only_share_allows_reading_and_no_websocket(hub):
    with browsers(hub, "alice", "bob") as (alice, bob):
        alice.goto(f"{hub.origin}/hub/share/alice")
        alice.get_by_role("textbox", name="Name").fill("bob")
        alice.get_by_role("button", name="Share", exact=True).click()
        expect(alice.get_by_role("status")).to_contain_text("bob now has read-only access")
        assert bob.goto(f"{hub.origin}/user/alice/").status == 200
        assert bob.evaluate(SOCKET) == "closed 1006"  # refused before it was opened
        bob.goto(f"{hub.origin}/hub/home")
        bob.get_by_role("link", name="Leave alice's server").click()
        bob.get_by_role("button", name="Leave").click()
        expect(bob.get_by_role("status")).to_have_text("You left the shared server.")
        assert bob.goto(f"{hub.origin}/user/alice/").status == 403


def test_an_invitation_link_is_copied_used_and_revoked_with_the_keyboard_on_a_phone(hub):
    phone = {"viewport": {"width": 360, "height": 800}, "permissions": ["clipboard-read", "clipboard-write"]}
    with browsers(hub, "alice", "dave", **phone) as (alice, dave):
        faults = []
        alice.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        alice.goto(f"{hub.origin}/hub/share/alice")
        tab_to(alice, "Link expires after")
        alice.keyboard.press("ArrowDown")
        tab_to(alice, "Create link")
        alice.keyboard.press("Enter")
        expect(alice.get_by_role("heading", name="Your new link")).to_be_visible()
        tab_to(alice, "Copy")
        alice.keyboard.press("Enter")
        expect(alice.get_by_role("button", name="Copied")).to_be_visible()
        link = alice.evaluate("navigator.clipboard.readText()")
        assert link.startswith(f"{hub.origin}/hub/accept-share?code=")
        expires = alice.locator("td[data-label='Expires'] time").get_attribute("datetime")
        assert timedelta(days=6, hours=23) < datetime.fromisoformat(expires) - datetime.now(UTC) <= timedelta(days=7)

        came_from = []
        dave.on("request", lambda request: came_from.append(request.all_headers().get("referer", "")))
        dave.goto(link)
        dave.get_by_role("button", name="Accept").click()
        dave.wait_for_url(f"{hub.origin}/user/alice/")
        assert not any("code=" in one for one in came_from)

        alice.goto(f"{hub.origin}/hub/share/alice")
        expect(alice.get_by_role("cell").filter(has_text="once, last")).to_be_visible()
        tab_to(alice, "Stop all sharing")
        alice.keyboard.press("Enter")
        tab_to(alice, "Stop sharing")
        alice.keyboard.press("Enter")
        expect(alice.get_by_role("status")).to_contain_text("no longer shared")
        assert dave.goto(link).status == 404
        assert dave.goto(f"{hub.origin}/user/alice/").status == 403
        assert faults == []
        assert not any(link.partition("=")[2] in line for line in hub.output)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sharing_works_without_scripts_and_fits_a_phone(hub, scheme):
    bare = {"viewport": {"width": 360, "height": 800}, "java_script_enabled": False, "color_scheme": scheme}
    with browsers(hub, "alice", **bare) as (alice,):

        def fits():
            assert alice.evaluate("document.documentElement.scrollWidth") <= 360

        alice.goto(f"{hub.origin}/hub/share/alice")
        fits()
        alice.get_by_role("textbox", name="Name").fill("nobody")
        alice.get_by_role("button", name="Share", exact=True).click()
        expect(alice.get_by_role("alert")).to_have_text("No such user: nobody")
        expect(alice.get_by_role("textbox", name="Name")).to_have_value("nobody")
        fits()
        alice.get_by_role("textbox", name="Name").fill("bob")
        alice.get_by_role("button", name="Share", exact=True).click()
        alice.get_by_role("button", name="Create link").click()
        expect(alice.get_by_role("button", name="Copy")).to_have_count(0)
        fits()
        alice.get_by_role("button", name="Revoke from bob").click()
        expect(alice.get_by_role("status")).to_contain_text("A link below is still active")
        alice.get_by_text("Stop all sharing").click()
        fits()
        alice.get_by_role("button", name="Stop sharing").click()
        expect(alice.get_by_role("status")).to_contain_text("no longer shared")
        alice.goto(f"{hub.origin}/hub/home")
        fits()
