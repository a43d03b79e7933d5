"""One hub for the security tests: several users with different rights, and an app that returns what it receives."""

import pytest
from hub import eventually
from security.security_hub import CONFIG, SERVERS, USERS, SecurityHub


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    hub = SecurityHub(tmp_path_factory.mktemp("security"), config=CONFIG, workers=1).start()
    hub.browsers = {name: hub.browser_of(name) for name in USERS}
    alice = hub.browsers["alice"]
    for name, profile in SERVERS.items():
        where = f"/hub/spawn/alice/{name}".rstrip("/")
        assert alice.post(where, data={"profile": profile}).status_code == 303
        server = f"servers/{name}" if name else "server"
        eventually(lambda server=server: alice.get(f"/hub/api/users/alice/{server}").json()["ready"], what=server)
    # until its route is published, the default server answers at this path
    eventually(lambda: "authorization: token " in alice.get("/user/alice/notes/").text.lower(), what="notebooks")
    yield hub
    for name in SERVERS:
        server = f"servers/{name}" if name else "server"
        alice.delete(f"/hub/api/users/alice/{server}")
        eventually(lambda server=server: alice.get(f"/hub/api/users/alice/{server}").json()["stopped"], what="the end")
    for client in hub.browsers.values():
        client.close()
    hub.close()
