"""Servers on hosts without a scheduler: started as their users, reached, stopped."""

import contextlib

from tests.hub import eventually


def test_a_server_runs_as_its_user_on_a_host_and_is_stopped(hub, pool, api):
    assert hub.start_one(api, "alice", profile="stub").status_code in (201, 202)
    model = hub.until(api, "alice", status="ready")
    with contextlib.closing(hub.browser_of("alice")) as alice:
        answer = alice.get("/user/alice/hello").json()
    assert answer["uid"] != 0
    assert answer["node"] in pool.hosts
    host = pool.hosts[answer["node"]]
    assert host.processes("towpath-job")
    assert api.delete("/users/alice/server").status_code in (202, 204)
    hub.until(api, "alice", status="stopped")
    eventually(lambda: not host.processes("towpath-job"), what="the end of the starter")
    assert model["ready"]
