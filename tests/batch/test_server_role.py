"""The token that a server gets for the hub's API: by the site's role `server`, and never more than its user has."""

import json

import httpx

from tests.hub import Hub, eventually, stub_config

ROLE = """
[[role]]
name = "server"
scopes = ["read:servers!server", "users:activity!user", "admin:users"]
"""


def environment_of(hub, name):
    """What the starter was told for the app of a server."""
    for path in (hub.data_dir / "jobs").glob("*/spec.json"):
        spec = json.loads(path.read_text())
        if spec["server"] == name:
            return spec["environment"]
    raise AssertionError(name)


def started(hub, api, name):
    hub.start_server(api, name)
    hub.wait_ready(api, name)
    return environment_of(hub, name)


def end(hub):
    """Stop the servers, and the hub."""
    with hub.api() as api:
        for name in api.get(f"/users/{hub.user()}").json()["servers"]:
            hub.stop_server(api, name)
    hub.close()


def test_a_servers_token_may_do_what_the_role_says_for_this_server_alone(tmp_path):
    hub = Hub(tmp_path, config=stub_config(tmp_path, more=ROLE)).start()
    try:
        with hub.api() as api:
            environment = started(hub, api, "work")
            started(hub, api, "other")
            me = hub.user()
            headers = {"Authorization": f"token {environment['JUPYTERHUB_API_TOKEN']}"}
            with httpx.Client(base_url=environment["JUPYTERHUB_API_URL"], headers=headers) as mine:
                told = mine.get("/user").json()
                assert told["scopes"] == sorted(told["scopes"])
                assert f"read:servers!server={me}/work" in told["scopes"]
                assert not [scope for scope in told["scopes"] if "other" in scope]
                assert set(mine.get(f"/users/{me}").json()["servers"]) == {"work"}
                activity = {"servers": {"work": {"last_activity": "2026-11-30T01:00:00Z"}}}
                assert mine.post(environment["JUPYTERHUB_ACTIVITY_URL"], json=activity).status_code == 200
                assert mine.delete(f"/users/{me}/servers/work").status_code in (403, 404)
                hub.stop_server(api, "work")
                eventually(lambda: mine.get("/user").status_code == 403, what="the end of the token")
    finally:
        end(hub)


def test_without_the_role_an_app_that_is_not_jupyterhubs_gets_no_token(tmp_path):
    hub = Hub(tmp_path, config=stub_config(tmp_path)).start()
    try:
        with hub.api() as api:
            assert not [name for name in started(hub, api, "work") if "API_TOKEN" in name]
    finally:
        end(hub)
