"""A real JupyterHub 6.1 and our hub with the same services and roles, for tests that compare their responses."""

import contextlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.hub import ROOT, Hub, eventually
from tests.jupyterhub.apps import BIN
from tests.jupyterhub.asked import ROLES, SERVICES
from tests.ports import free_port

PAGED = "application/jupyterhub-pagination+json"


def tables():
    """Return our configuration with the same services and roles."""
    services = [
        f'[[service]]\nname = "{name}"\nadmin = {json.dumps(name == "root1")}\napi_token_file = "{name}.token"'
        for name in SERVICES
    ]
    roles = [
        "\n".join(["[[role]]", *(f"{key} = {json.dumps(value)}" for key, value in role.items())]) for role in ROLES
    ]
    echo = [sys.executable, str(ROOT / "tests/apps/echo.py"), "{socket}"]
    return "\n\n".join(
        [
            "[gateway]\nshare_on_one_host = true",
            '[auth]\nadmins = ["boss"]\nallowed_users = ["ann"]',
            '[[auth.provider]]\nname = "test"\nkind = "test"',
            '[[cluster]]\nname = "local"\nkind = "local"\nisolation = "none"',
            f'[[profile]]\nname = "echo"\ncluster = "local"\napp = "web"\ncommand = {json.dumps(echo)}',
            *services,
            *roles,
        ]
    )


class Side:
    """One of the two hubs, with values from its responses that later requests use."""

    def __init__(self, origin):
        self.client = httpx.Client(base_url=origin, timeout=60)
        self.secrets = {name: name * 8 for name in SERVICES}
        self.kept = {}
        self.own = None

    def ask(self, ask):
        path = ask.path
        for name, value in self.kept.items():
            path = path.replace(f"<{name}>", value)
        headers = {"Accept": PAGED} if ask.paged else {}
        if ask.who:
            headers["Authorization"] = f"token {self.secrets.get(ask.who, 'nobody')}"
        content = None if ask.body is None else json.dumps(ask.body).encode()
        where = path if path.startswith("/hub") else f"/hub/api{path}"
        answer = self.client.request(ask.method, where, headers=headers, content=content)
        for name, field in ask.keep:
            (self.secrets if field == "token" else self.kept)[name] = answer.json()[field]
            if self.own is not None and ask.who == "root1":  # a token that another user creates does not inherit here
                self.secrets[name] = self.own(name)
        if ask.settled:
            eventually(self.settled, what="all servers to settle")
        return answer

    def settled(self):
        headers = {"Authorization": f"token {self.secrets['root1']}"}
        users = self.client.get("/hub/api/users", headers=headers).json()
        return not any(server["pending"] for user in users for server in user["servers"].values())


@contextmanager
def both(folder):
    """Start a real JupyterHub and our hub."""
    for name in SERVICES:
        (folder / f"{name}.token").write_text(name * 8)
        (folder / f"{name}.token").chmod(0o600)
    port = free_port()
    config = Path(__file__).with_name("reference.py")
    given = {"port": port, "services": SERVICES, "roles": ROLES}
    environment = {**os.environ, "REFERENCE": json.dumps(given)}
    command = [BIN / "python", "-m", "jupyterhub", "-f", config, "--log-level=50"]
    hub = Hub(folder, config=tables())
    with subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.DEVNULL) as jupyterhub:
        try:
            hub.start()
            theirs, ours = Side(f"http://127.0.0.1:{port}"), Side(hub.origin)
            with contextlib.closing(theirs.client), contextlib.closing(ours.client):
                eventually(lambda: theirs.client.get("/hub/api/").status_code == 200, what="JupyterHub")
                # JupyterHub creates its admins at its start; ours are created at their first sign-in
                headers = {"Authorization": f"token {ours.secrets['root1']}"}
                ours.client.post("/hub/api/users/boss", json={"admin": True}, headers=headers).raise_for_status()
                theirs.client.post("/hub/api/users/boss", json={"admin": True}, headers=headers)
                ours.own = lambda name: hub.api(name).headers["Authorization"].removeprefix("token ")
                yield theirs, ours
        finally:
            hub.close()
            jupyterhub.terminate()
