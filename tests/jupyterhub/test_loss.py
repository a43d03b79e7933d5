"""A running single-user server after the store was lost."""

import httpx
import pytest

from tests.hub import eventually
from tests.jupyterhub.rig import Running, serving

pytestmark = pytest.mark.timeout(240)
SEEN = {"servers": {"": {"last_activity": "2026-01-01T00:00:00Z"}}}


def test_a_server_keeps_running_with_its_token_after_the_store_was_lost(tmp_path):
    with serving(tmp_path) as hub, Running(hub, "alice", profile="echo") as server:
        bearer = {"Authorization": f"token {server.spec()['environment']['JUPYTERHUB_API_TOKEN']}"}
        with httpx.Client(base_url=hub.origin, headers=bearer, timeout=30) as app:
            assert app.post("/hub/api/users/alice/activity", json=SEEN).status_code == 200
            hub.lose_store()
            eventually(
                lambda: app.post("/hub/api/users/alice/activity", json=SEEN).status_code == 200,
                seconds=60,
                what="its activity report",
            )
            assert app.get("/hub/api/user").json()["name"] == "alice"
        server.api.close()
        server.api = hub.api("alice")  # the old token is lost
