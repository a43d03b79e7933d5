"""jupyterhub-singleuser with a host for each user's servers (`user_domain`)."""

import html
import re

import pytest

from tests.gateway.test_user_domain import Browser
from tests.hub import eventually
from tests.jupyterhub.rig import Running, serving
from tests.ports import free_port

pytestmark = pytest.mark.timeout(240)
GATEWAY = '[gateway]\npublic_url = "http://localhost:{port}"\nuser_domain = "localhost"\n'


def test_the_oauth_redirects_lead_from_the_users_host_to_the_hub_and_back(tmp_path):
    port = free_port()
    with serving(tmp_path, GATEWAY.format(port=port), port=port) as hub, Running(hub, "alice") as server:
        hub.at = lambda who: f"http://{f'{who}.' if who else ''}localhost:{port}"
        told = server.spec()["environment"]
        assert told["JUPYTERHUB_OAUTH_CALLBACK_URL"] == f"{hub.at('alice')}/user/alice/oauth_callback"
        browser = Browser(hub).sign_in("alice")
        page, way = browser.go(f"{hub.at('alice')}/user/alice/lab")
        assert way[-1].startswith(f"{hub.at('')}/hub/api/oauth2/authorize?")
        onward = html.unescape(re.search(r'content="0;url=([^"]+)"', page.text)[1])
        assert onward.startswith(f"{hub.at('alice')}/user/alice/oauth_callback?code=")
        page, _ = browser.go(onward)
        assert page.status_code == 200, page.text
        assert '"hubUser": "alice"' in page.text
        assert "jupyterhub-user-alice" in browser.jars[f"alice.localhost:{port}"]
        token = re.search(r'"token": "([^"]+)"', page.text)[1]
        where = f"{hub.at('alice')}/user/alice/api/status"
        assert browser.ask(where, page=False, Authorization=f"token {token}").status_code == 200
        assert browser.ask(f"{hub.at('')}/hub/logout", "POST", page=False, Origin=hub.at("")).status_code == 303
        eventually(
            lambda: browser.ask(where, page=False, Authorization=f"token {token}").status_code == 403,
            seconds=2,
            what="the end of the token",
        )
