"""The password form in a real Chromium on a small screen, with a real directory."""

import pytest
from hub import Hub, stub_config
from playwright.sync_api import expect, sync_playwright

from tests.chromium import launch
from tests.ldap_server import GROUPS, HUB_DN, HUB_PASSWORD, USERS, Slapd, group, user_entry

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
SECRET = "right horse 4711"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    slapd = Slapd(tmp_path_factory.mktemp("slapd")).start()
    folder = tmp_path_factory.mktemp("form")
    alice = f"uid=alice,{USERS}"
    slapd.add(
        user_entry("alice", SECRET), user_entry("bob", SECRET), group("hpc", alice), group("boss", f"cn=hpc,{GROUPS}")
    )
    secret = folder / "ldap.secret"
    secret.write_text(HUB_PASSWORD)
    secret.chmod(0o600)
    config = f"""
[auth]
[[auth.provider]]
name = "campus"
kind = "ldap"
title = "Campus account"
note = "The name and password of your mail."
allowed_groups = ["hpc"]
admin_groups = ["boss"]
[auth.provider.ldap]
servers = ["{slapd.ldaps}"]
ca_file = "{slapd.ca}"
bind_dn = "{HUB_DN}"
bind_password_file = "ldap.secret"
user_base = "{USERS}"
groups = "search"
group_base = "{GROUPS}"
"""
    hub = Hub(folder, config=config + stub_config(folder), workers=1).start()
    yield hub
    hub.close()
    slapd.stop()


@pytest.fixture
def page():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 360, "height": 640})
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_a_user_signs_in_with_only_the_keyboard_on_a_small_screen(hub, page):
    page.goto(f"{hub.origin}/hub/login?next=/hub/token")
    expect(page.get_by_role("heading", name="Campus account")).to_be_visible()
    name, password = page.get_by_label("Username", exact=True), page.get_by_label("Password", exact=True)
    expect(name).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for field in (name, password, page.get_by_role("button", name="Sign in")):
        box = field.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert box["height"] >= 24

    # after a mistake there is an alert, also for screen readers; the name is kept, the password is not
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong horse")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The name or the password is incorrect.")
    expect(name).to_have_value("alice")
    expect(password).to_have_value("")
    expect(password).to_be_focused()
    assert password.get_attribute("aria-describedby") == alert.get_attribute("id")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    page.keyboard.type(SECRET)
    page.keyboard.press("Enter")
    page.wait_for_url("**/hub/token")
    me = page.evaluate("fetch('/hub/api/user').then(answer => answer.json())")
    assert (me["name"], me["admin"], sorted(me["groups"])) == ("alice", True, ["boss", "hpc"])
    cookies = {one["name"]: one for one in page.context.cookies()}
    assert cookies[hub.cookie_name("towpath-known")]["httpOnly"]
    assert "alice" not in cookies[hub.cookie_name("towpath-known")]["value"]

    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{hub.origin}/hub/home")
    expect(name).to_be_visible()
    assert hub.cookie_name("towpath-known") in {one["name"] for one in page.context.cookies()}


def test_the_rules_and_not_the_directory_decide_who_may_sign_in(hub, page):
    page.goto(f"{hub.origin}/hub/login")
    page.get_by_label("Username", exact=True).fill("bob")
    page.get_by_label("Password", exact=True).fill(SECRET)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("is not allowed to use this hub")
