"""A service on another origin signs users in, in a real Chromium: through the sign-in and the consent page."""

import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.chromium import launch
from tests.jupyterhub.rig import serving
from tests.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SERVICES = """
[[service]]
name = "asks"
api_token_file = "asks.token"
oauth_redirect_uris = ["http://127.0.0.1:{port}/back"]

[[service]]
name = "asks-not"
api_token_file = "asks-not.token"
oauth_redirect_uris = ["http://127.0.0.1:{port}/back"]
oauth_no_confirm = true

[[role]]
name = "user"
scopes = ["self", "access:services"]
"""


class Back(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"It came back: {self.path}".encode())

    def log_message(self, *_):
        """Do not log to the terminal."""


@pytest.fixture
def back():
    """The service's redirect URI."""
    with ThreadingHTTPServer(("127.0.0.1", free_port()), Back) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def page():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_a_user_returns_to_a_service_on_another_origin(tmp_path, back, page):
    for name in ("asks", "asks-not"):
        (tmp_path / f"{name}.token").write_text(secrets.token_hex(32))
        (tmp_path / f"{name}.token").chmod(0o600)
    with serving(tmp_path, SERVICES.format(port=back)) as hub:

        def ask(name):
            where = f"redirect_uri=http://127.0.0.1:{back}/back&response_type=code&state=7"
            page.goto(f"{hub.origin}/hub/api/oauth2/authorize?client_id=service-{name}&{where}")

        ask("asks-not")
        page.get_by_role("button", name="alice", exact=True).click()
        page.wait_for_url(f"http://127.0.0.1:{back}/back?code=*&state=7")
        expect(page.get_by_text("It came back")).to_be_visible()
        ask("asks")
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url(f"http://127.0.0.1:{back}/back?code=*&state=7")
        page.goto(f"{hub.origin}/hub/home")
        ask("asks")
        page.get_by_role("button", name="Cancel").click()
        page.wait_for_url(f"http://127.0.0.1:{back}/back?error=access_denied*")
