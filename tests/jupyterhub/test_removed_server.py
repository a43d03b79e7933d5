"""The API token of a server that is removed while it runs: it ends with the server."""

import httpx

from tests.hub import eventually
from tests.jupyterhub.rig import Running


def whoami(hub, token):
    return httpx.get(f"{hub.origin}/hub/api/user", headers={"Authorization": f"token {token}"}, timeout=30)


def test_the_token_of_a_server_that_is_removed_while_it_runs_is_not_valid_any_more(hub):
    server = Running(hub, "alice", "passing", profile="echo")
    with server:
        token = server.spec()["environment"]["JUPYTERHUB_API_TOKEN"]
        assert whoami(hub, token).json()["name"] == "alice"
        answer = server.api.request("DELETE", server.where, json={"remove": True})
        assert answer.status_code in {202, 204}
        eventually(lambda: server.api.get(server.where).status_code == 404, what="its removal")
        eventually(lambda: whoami(hub, token).status_code == 403, seconds=10, what="the end of its token")
        notes = [one["note"] for one in server.api.get("/users/alice/tokens").json()["api_tokens"]]
        assert "The server alice/passing" not in notes
