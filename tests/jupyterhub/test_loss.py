"""What a loss of the whole store leaves of a running server of JupyterHub's kind."""

import httpx
import pytest

from tests.hub import eventually
from tests.jupyterhub.rig import Running, serving

pytestmark = pytest.mark.timeout(240)


def test_a_server_goes_on_with_its_token_when_the_hub_has_lost_everything(tmp_path):
    with serving(tmp_path) as hub, Running(hub, "alice", profile="echo") as server:
        environment = server.spec()["environment"]
        bearer = {"Authorization": f"token {environment['JUPYTERHUB_API_TOKEN']}"}
        with httpx.Client(base_url=hub.origin, headers=bearer, timeout=30) as app:
            assert app.get("/hub/api/user").json()["name"] == "alice"
            hub.lose_store()

            def found_again():
                return app.get("/hub/api/user").status_code == 200

            eventually(found_again, seconds=60, what="its token")
            seen = {"servers": {"": {"last_activity": "2026-01-01T00:00:00Z"}}}
            assert app.post("/hub/api/users/alice/activity", json=seen).status_code == 200
        server.api.close()
        server.api = hub.api("alice")
