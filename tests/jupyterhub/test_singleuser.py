"""JupyterHub's own single-user server, unmodified, behind this hub."""

import pytest
from hub import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def started(hub):
    """Alice's default server."""
    with hub.api("alice") as alice:
        assert alice.post("/users/alice/server").status_code == 202
        eventually(
            lambda: alice.get("/users/alice").json()["servers"].get("", {}).get("ready"),
            seconds=120,
            what="alice's server",
        )
        yield alice
        alice.delete("/users/alice/server")
        eventually(lambda: not alice.get("/users/alice").json()["servers"], what="its end")


def test_a_browser_is_signed_in_by_the_oauth_dance(hub, started):
    with hub.browser_of("alice") as browser:
        page = browser.get("/user/alice/lab", headers={"Sec-Fetch-Mode": "navigate"}, follow_redirects=True)
        assert page.status_code == 200, page.text
        assert "jupyterhub-user-alice" in browser.cookies
    assert '"hubUser": "alice"' in page.text
    hops = [str(hop.url) for hop in page.history]
    assert [hop for hop in hops if "/hub/api/oauth2/authorize" in hop], hops
