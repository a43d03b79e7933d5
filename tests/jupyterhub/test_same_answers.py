"""The same requests to a real JupyterHub 6.1 and to ours: the same statuses, and all that its answers hold."""

import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.hub import ROOT, Hub, eventually
from tests.jupyterhub.apps import BIN
from tests.jupyterhub.asked import ROLES, SERVICES, everything
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)
PAGED = "application/jupyterhub-pagination+json"
OWN_SCOPES = ("read:access:servers", "read:audit")
"""Scopes of Towpath's own."""
TIMES_AND_SECRETS = {"created", "created_at", "started", "expires_at", "token", "id", "code", "accept_url", "token_id"}
OF_THEIR_OWN = {
    "user_info",  # an empty object, not null
    "user_options",  # profiles
    "state",  # jobs
    "session_id",
    "last_activity",  # written a moment later; its own test is in tests/gateway/test_visits.py
    "url",  # of the next page: the same but for the port, and of services
    "python",
    "sys_executable",
    "spawner",
    "authenticator",
    "info",
    "display",
}


def tables():
    """Our configuration: the same services and roles."""
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
            '[auth]\nadmins = ["boss"]\nallowed_users = ["ann"]',
            '[[auth.provider]]\nname = "test"\nkind = "test"',
            '[[cluster]]\nname = "local"\nkind = "local"',
            f'[[profile]]\nname = "echo"\ncluster = "local"\napp = "web"\ncommand = {json.dumps(echo)}',
            *services,
            *roles,
        ]
    )


class Side:
    """One of the two hubs, and what it has answered that is asked for again."""

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
            if self.own is not None and ask.who == "root1":  # what others make of somebody's does not inherit here
                self.secrets[name] = self.own(name)
        if ask.settled:
            eventually(self.settled, what="the end of what is on its way")
        return answer

    def settled(self):
        headers = {"Authorization": f"token {self.secrets['root1']}"}
        users = self.client.get("/hub/api/users", headers=headers).json()
        return not any(server["pending"] for user in users for server in user["servers"].values())


@pytest.fixture
def sides(tmp_path):
    """A real JupyterHub, and ours."""
    for name in SERVICES:
        (tmp_path / f"{name}.token").write_text(name * 8)
        (tmp_path / f"{name}.token").chmod(0o600)
    port = free_port()
    config = Path(__file__).with_name("reference.py")
    given = {"port": port, "services": SERVICES, "roles": ROLES}
    environment = {**os.environ, "REFERENCE": json.dumps(given)}
    command = [BIN / "python", "-m", "jupyterhub", "-f", config, "--log-level=50"]
    hub = Hub(tmp_path, config=tables())
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as jupyterhub:
        try:
            hub.start()
            theirs, ours = Side(f"http://127.0.0.1:{port}"), Side(hub.origin)
            with contextlib.closing(theirs.client), contextlib.closing(ours.client):
                eventually(lambda: theirs.client.get("/hub/api/").status_code == 200, what="JupyterHub")
                # JupyterHub makes its admins when it starts; ours come in first
                headers = {"Authorization": f"token {ours.secrets['root1']}"}
                ours.client.post("/hub/api/users/boss", json={"admin": True}, headers=headers).raise_for_status()
                theirs.client.post("/hub/api/users/boss", json={"admin": True}, headers=headers)
                ours.own = lambda name: hub.api(name).headers["Authorization"].removeprefix("token ")
                yield theirs, ours
        finally:
            hub.stop()
            jupyterhub.terminate()


def body_of(answer):
    json_given = answer.content and answer.headers.get("content-type", "").startswith("application/json")
    return answer.json() if json_given else None


def differences(theirs, ours, at=""):
    """What of their answer is not in ours."""
    if at.endswith(".scopes"):
        return (
            [] if {one for one in ours if not one.startswith(OWN_SCOPES)} >= set(theirs) else [f"{at}: {theirs} {ours}"]
        )
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found = []
        for key, value in theirs.items():
            if key not in ours:
                found.append(f"{at}.{key} is missing")
            elif key in TIMES_AND_SECRETS:
                found += [f"{at}.{key}: {value} {ours[key]}"] if (value is None) != (ours[key] is None) else []
            elif key not in OF_THEIR_OWN:
                found += differences(value, ours[key], f"{at}.{key}")
        return found
    if isinstance(theirs, list) and isinstance(ours, list):
        theirs, ours = sorted(theirs, key=_place), sorted(ours, key=_place)
        if len(theirs) != len(ours):
            return [f"{at}: {len(theirs)} {len(ours)}: {theirs} {ours}"]
        return [line for one, other in zip(theirs, ours, strict=True) for line in differences(one, other, f"{at}[]")]
    return [] if theirs == ours else [f"{at}: {theirs!r} {ours!r}"]


def _place(item):
    """Of shares and codes, tokens, groups, users and names: in an order that is the same on both sides."""
    if not isinstance(item, dict):
        return str(item)
    parts = item.get("name"), item.get("server"), item.get("kind"), item.get("user"), item.get("note")
    return json.dumps(parts, sort_keys=True, default=str)


def test_the_same_requests_have_the_same_answers(sides):
    theirs, ours = sides
    now = dt.datetime.now(dt.UTC).isoformat()
    found = []
    for ask in everything(now):
        expected, answer = theirs.ask(ask), ours.ask(ask)
        lines = []
        if answer.status_code != (ask.ours or expected.status_code):
            lines.append(f"{expected.status_code} {answer.status_code}: {expected.text[:200]} {answer.text[:200]}")
        elif expected.is_success and (told := body_of(expected)) is not None:
            lines += differences(told, body_of(answer))
        elif answer.is_error and "/api" in str(answer.url):
            lines += [] if set(answer.json()) >= {"status", "message"} else [answer.text[:200]]
        if "x-jupyterhub-version" in expected.headers:
            version = answer.headers.get("x-jupyterhub-version")
            lines += [] if version == expected.headers["x-jupyterhub-version"] else [f"version {version}"]
        found += [f"{ask.who or 'nobody'} {ask.method} {ask.path} {ask.body}: {line}" for line in lines]
    assert not found, "\n".join(found)
