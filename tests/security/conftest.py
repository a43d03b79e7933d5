"""One hub for the tests of security: several people, an app that shows what it gets, and rights in every shape."""

import pytest
from hub import eventually
from security.people import CONFIG, PEOPLE, SERVERS, SecurityHub


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    hub = SecurityHub(tmp_path_factory.mktemp("security"), config=CONFIG, workers=1).start()
    hub.people = {name: hub.browser_of(name) for name in PEOPLE}
    alice = hub.people["alice"]
    for name, profile in SERVERS.items():
        where = f"/hub/spawn/alice/{name}".rstrip("/")
        assert alice.post(where, data={"profile": profile}).status_code == 303
        server = f"servers/{name}" if name else "server"
        eventually(lambda server=server: alice.get(f"/hub/api/users/alice/{server}").json()["ready"], what=server)
    # until its route is known, the default server answers at the path of another
    eventually(lambda: "authorization: token " in alice.get("/user/alice/notebooks/").text.lower(), what="notebooks")
    yield hub
    for name in SERVERS:
        server = f"servers/{name}" if name else "server"
        alice.delete(f"/hub/api/users/alice/{server}")
        eventually(lambda server=server: alice.get(f"/hub/api/users/alice/{server}").json()["stopped"], what="the end")
    for client in hub.people.values():
        client.close()
    hub.stop()
