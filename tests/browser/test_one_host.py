"""An app of bob's that alice, an admin, opens through a share: what its scripts can do with her cookie, in a Chromium.

The attacks are scripts in a page of the app. Nobody clicks there, but where a test says so.
"""

import re
import sys
from contextlib import closing

import pytest
from hub import ROOT, Hub, eventually
from playwright.sync_api import sync_playwright

from tests.chromium import launch

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CONFIG = f"""
[gateway]
share_on_one_host = true

[auth]
admins = ["alice"]
allowed_users = ["bob"]

[[auth.provider]]
name = "test"
kind = "test"

[[role]]
name = "user"
scopes = ["self", "shares!user", "read:users:name", "read:groups:name"]

[[cluster]]
name = "local"
kind = "local"
isolation = "none"

[[profile]]
name = "mirror"
cluster = "local"
app = "web"
command = ["{sys.executable}", "{ROOT / "tests/apps/mirror.py"}", "{{socket}}"]
default_path = ""
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    hub = Hub(tmp_path_factory.mktemp("onehost"), config=CONFIG, workers=1).start()
    with closing(hub.browser_of("alice")), closing(hub.browser_of("bob")) as bob:
        assert bob.post("/hub/spawn/bob", data={"profile": "mirror"}).status_code == 303
        eventually(lambda: bob.get("/hub/api/users/bob/server").json()["ready"], what="bob's server")
        assert bob.post("/hub/api/shares/bob/", json={"user": "alice"}).status_code == 200
        yield hub
        bob.delete("/hub/api/users/bob/server")
        eventually(lambda: bob.get("/hub/api/users/bob/server").json()["stopped"], what="the end")
    hub.close()


@pytest.fixture
def browser():
    with sync_playwright() as playwright, closing(launch(playwright)) as browser:
        yield browser


@pytest.fixture
def alice(hub, browser):
    """A page of a browser in which alice has signed in."""
    page = browser.new_context().new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{hub.origin}/hub/login")
    page.get_by_role("button", name="alice").click()
    page.wait_for_url("**/hub/home")
    return page


def app_page(hub, body, *, header=""):
    """The address of a page of bob's app with this body."""
    html = f"<!doctype html><title>Notebook</title><body>{body}</body>".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{header}Content-Length: {len(html)}\r\n\r\n".encode()
    return f"{hub.origin}/user/bob/x?answer={(head + html).hex()}"


def script(code):
    """A script that says in the page's title that it is done, or what went wrong."""
    return (
        "<script>(async () => { const sleep = (ms) => new Promise((r) => setTimeout(r, ms));"
        f" try {{ {code} }} catch (e) {{ window.told = String(e); }} document.title = 'done'; }})();</script>"
    )


def untouched(hub):
    """Whether nothing has come of it: no token of alice's, and bob is no admin."""
    with hub.api("alice") as api:
        notes = [token["note"] for token in api.get("/users/alice/tokens").json()["api_tokens"]]
        return not any("evil" in note for note in notes) and not api.get("/users/bob").json()["admin"]


TOKEN = "note=evil&expires_in=86400&scopes="
FORM = (
    "const form = document.createElement('form'); form.method = 'post'; form.action = '/hub/token';"
    " for (const [name, value] of Object.entries({note: 'evil', expires_in: '86400', scopes: '', ...extra})) {"
    " const field = document.createElement('input'); field.name = name; field.value = value; form.append(field); }"
    " document.body.append(form);"
)
ATTACKS = {
    "the API by fetch": """
        window.told = await (await fetch('/hub/api/users/alice/tokens', {method: 'POST',
            headers: {'Content-Type': 'application/json'}, body: JSON.stringify({note: 'evil'})})).text();""",
    "the API by fetch, to make an admin": """
        window.told = await (await fetch('/hub/api/users/bob', {method: 'PATCH',
            headers: {'Content-Type': 'application/json'}, body: JSON.stringify({admin: true})})).text();""",
    "the form by fetch": f"""
        window.told = await (await fetch('/hub/token', {{method: 'POST',
            headers: {{'Content-Type': 'application/x-www-form-urlencoded'}}, body: '{TOKEN}'}})).text();""",
    "the form by fetch, with what the page holds": f"""
        const page = await (await fetch('/hub/token', {{headers: {{Accept: 'text/html'}}}})).text();
        const xsrf = (page.match(/name="_xsrf" value="([^"]*)"/) || ['', ''])[1];
        window.told = xsrf + await (await fetch('/hub/token', {{method: 'POST',
            headers: {{'Content-Type': 'application/x-www-form-urlencoded'}}, body: '{TOKEN}&_xsrf=' + xsrf}})).text();""",
    "the admins' form by XMLHttpRequest": """
        const ask = (method, url, body) => new Promise((done) => { const x = new XMLHttpRequest(); x.open(method, url);
            if (body) x.setRequestHeader('Content-Type', 'application/x-www-form-urlencoded');
            x.onload = () => done(x.responseText); x.send(body); });
        const page = await ask('GET', '/hub/admin/users/bob');
        const xsrf = (page.match(/name="_xsrf" value="([^"]*)"/) || ['', ''])[1];
        window.told = xsrf + await ask('POST', '/hub/admin/users/bob', 'admin=yes&groups=&_xsrf=' + xsrf);""",
    "a form in a frame": f"""
        const extra = {{}}; {FORM} const frame = document.createElement('iframe'); frame.name = 'f';
        document.body.append(frame); form.target = 'f';
        const loaded = new Promise((done) => {{ frame.onload = done; }}); form.submit(); await loaded;
        window.told = frame.contentDocument ? frame.contentDocument.body.innerText : 'closed';""",
    "the page in a frame": """
        const frame = document.createElement('iframe'); frame.src = '/hub/token';
        const loaded = new Promise((done) => { frame.onload = done; }); document.body.append(frame); await loaded;
        const there = frame.contentDocument; window.told = there ? there.body.innerText : 'closed';
        const form = there && there.querySelector('form[action="/hub/token"]');
        if (form) { form.querySelector('[name=note]').value = 'evil';
            const again = new Promise((done) => { frame.onload = done; }); form.submit(); await again; }""",
    "an object": """
        const part = document.createElement('object'); part.data = '/hub/token'; document.body.append(part);
        await sleep(500); const there = part.contentDocument;
        const form = there && there.querySelector('form[action="/hub/token"]');
        if (form) { form.querySelector('[name=note]').value = 'evil'; form.submit(); await sleep(500); }""",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_script_of_an_app_cannot_create_a_token_or_an_admin(hub, alice, name):
    alice.goto(app_page(hub, script(ATTACKS[name])))
    alice.wait_for_function("document.title === 'done'")
    told = alice.evaluate("window.told || ''")
    assert untouched(hub), told
    assert not re.match(r"[0-9a-f]{64}", told), "it has read the form token"


@pytest.mark.parametrize("click", [False, True], ids=["by itself", "after a click of alice's"])
def test_a_form_that_an_app_sends_by_a_script_does_nothing(hub, alice, click):
    act = f"const extra = {{}}; {FORM} form.submit();"
    body = f'<button onclick="{act}">Run the cell</button>' if click else f"<script>{act}</script>"
    alice.goto(app_page(hub, body.replace("'", "&#39;") if click else body), wait_until="commit")
    if click:
        alice.get_by_role("button", name="Run the cell").click()
    alice.wait_for_url("**/hub/token")
    assert alice.get_by_text("not sent by a click").is_visible()
    assert untouched(hub)


@pytest.mark.parametrize("header", ["", "Cross-Origin-Opener-Policy: same-origin\r\n"], ids=["plain", "with a policy"])
def test_an_app_cannot_access_a_window_that_it_opens(hub, alice, header):
    """Alice has clicked, so that the window opens; the app cannot look into it, nor send a form that is in it."""
    code = """
        const w = window.open('/hub/token');
        let told = 'closed';
        for (let turn = 0; turn < 40; turn++) {
            await sleep(50);
            try {
                const form = w.document && w.document.querySelector('form[action="/hub/token"]');
                if (form) { told = form.querySelector('[name=_xsrf]').value;
                    form.querySelector('[name=note]').value = 'evil';
                    form.requestSubmit(); await sleep(1000);
                    told += ' ' + (w.document.querySelector('[data-secret]') || {innerText: ''}).innerText; break; }
            } catch (e) { told = String(e); }
        }
        window.told = told;"""
    act = f"(async () => {{ const sleep = (ms) => new Promise((r) => setTimeout(r, ms)); {code} document.title = 'done'; }})()"
    escaped = act.replace("&", "&amp;").replace('"', "&quot;").replace("'", "&#39;")
    alice.goto(app_page(hub, f'<button onclick="{escaped}">Run the cell</button>', header=header))
    alice.get_by_role("button", name="Run the cell").click()
    alice.wait_for_function("document.title === 'done'")
    told = alice.evaluate("window.told")
    assert not re.search(r"[0-9a-f]{64}", told), told
    assert untouched(hub)


def test_a_form_into_a_new_window_does_nothing(hub, alice):
    act = f"const extra = {{}}; {FORM} form.target = '_blank'; form.submit();"
    escaped = act.replace("&", "&amp;").replace('"', "&quot;").replace("'", "&#39;")
    alice.goto(app_page(hub, f'<button onclick="{escaped}">Run the cell</button>'))
    with alice.expect_popup() as popup:
        alice.get_by_role("button", name="Run the cell").click()
    popup.value.wait_for_load_state()
    assert untouched(hub)


def test_alice_creates_a_token_and_an_admin_on_the_hubs_pages(hub, alice):
    alice.goto(f"{hub.origin}/hub/token")
    alice.get_by_label("Note").fill("mine")
    alice.get_by_label("Note").press("Enter")
    alice.locator("[data-secret]").wait_for()
    alice.goto(f"{hub.origin}/hub/admin/users/bob")
    alice.get_by_label("Admin of this hub").check()
    alice.get_by_role("button", name="Save").click()
    alice.get_by_text("Saved.").wait_for()
    with hub.api("alice") as api:
        assert api.get("/users/bob").json()["admin"]
        assert api.patch("/users/bob", json={"admin": False}).status_code == 200


def test_the_invitation_page_names_the_user_to_trust(hub, alice):
    with closing(hub.browser_of("bob")) as bob:
        code = bob.post("/hub/api/share-codes/bob/", json={}).json()
    alice.goto(hub.origin + code["accept_url"])
    assert alice.get_by_text("Accept only if you trust bob.").is_visible()
    alice.get_by_role("button", name="Accept").click()
    alice.wait_for_url("**/user/bob/**")


def test_sharing_must_be_allowed_in_the_configuration(tmp_path):
    config = CONFIG.replace("share_on_one_host = true", "")
    hub = Hub(tmp_path, config=config, workers=1).start()
    try:
        with closing(hub.browser_of("alice")), closing(hub.browser_of("bob")) as bob:
            for url in ("/hub/api/shares/bob/", "/hub/api/share-codes/bob/"):
                answer = bob.post(url, json={"user": "alice"} if "shares" in url else {})
                assert answer.status_code == 403
                assert "one host name" in answer.json()["message"]
            assert "/hub/share/" not in bob.get("/hub/home").text
        said = hub.command("check").stdout
        assert re.search(r"sharing +off\. .*one host name", said)
        hub.config.write_text(CONFIG)
        assert re.search(r"WARN +sharing +share_on_one_host is set\..*one host name", hub.command("check").stdout)
    finally:
        hub.close()
