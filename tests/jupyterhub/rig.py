"""A hub whose profiles start jupyterhub-singleuser, and helpers for a browser."""

import asyncio
import html
import json
import re
import sys
import uuid
from contextlib import contextmanager

import pytest
from websockets.asyncio.client import connect

from tests.hub import ROOT, Hub, eventually
from tests.jupyterhub.apps import BIN, SINGLEUSER

CONFIG = f"""
[auth]
admins = ["carol"]
allowed_users = ["alice", "bob", "a-b"]

[[auth.provider]]
name = "test"
kind = "test"

[[cluster]]
name = "local"
kind = "local"
isolation = "none"
start_window = 90

[[profile]]
name = "singleuser"
title = "JupyterHub's single-user server"
cluster = "local"
app = "jupyterhub"

[profile.environment]
JUPYTERHUB_ACTIVITY_INTERVAL = "1"

[[profile]]
name = "by-port"
cluster = "local"
app = "jupyterhub"
command = ["{SINGLEUSER}", "--allow-root"]
shared_node_port = true

[[profile]]
name = "image"
cluster = "local"
app = "jupyterhub"
command = ["{SINGLEUSER}", "--allow-root"]

[[profile]]
name = "echo"
cluster = "local"
app = "jupyterhub"
command = ["{sys.executable}", "{ROOT}/tests/apps/echo.py", "{{socket}}"]
"""


@contextmanager
def serving(folder, more="", *, port=0):
    """Return a hub with this configuration and its own home directory."""
    assert SINGLEUSER.exists(), "jupyterhub-singleuser is missing: `make test` installs it"
    home = folder / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        hub = Hub(folder, config=CONFIG + more, workers=2, path=f"{BIN}:/usr/bin:/bin")
        hub.port = port or hub.port
        hub.start()
        try:
            yield hub
        finally:
            hub.close()


class Running:
    """A server of a user that runs during a `with` block."""

    def __init__(self, hub, user, name="", *, profile="singleuser"):
        self.hub = hub
        self.user = user
        self.name = name
        self.profile = profile
        self.api = hub.api(user)

    def model(self):
        return self.api.get(f"/users/{self.user}").json()["servers"].get(self.name, {})

    def __enter__(self):
        body = {"user_options": {"profile": self.profile}}
        self.where = f"/users/{self.user}/servers/{self.name}" if self.name else f"/users/{self.user}/server"
        assert self.api.post(self.where, json=body).status_code == 202
        eventually(lambda: self.model().get("ready"), seconds=120, what=f"the server {self.user}/{self.name}")
        return self

    def __exit__(self, *_):
        self.stop()
        self.api.close()

    def stop(self):
        self.api.delete(self.where)
        eventually(lambda: not self.model().get("ready") and not self.model().get("pending"), what="the server to stop")

    def spec(self):
        """Return the specification of its job."""
        specs = [json.loads(path.read_text()) for path in (self.hub.data_dir / "jobs").glob("*/spec.json")]
        mine = [spec for spec in specs if (spec["user"], spec["server"]) == (self.user, self.name)]
        return max(mine, key=lambda spec: spec["record"]["requested"])

    def report(self):
        """What its starter reported last."""
        return json.loads((self.hub.data_dir / "jobs" / self.spec()["attempt"] / "report.json").read_text())


async def run_cell(url, code, headers):
    """Run code in a kernel through its WebSocket, and return its output."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    header = {
        "msg_id": uuid.uuid4().hex,
        "username": "",
        "session": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "version": "5.3",
    }
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    async with connect(url, additional_headers=headers, max_size=None) as line, asyncio.timeout(60):
        await line.send(json.dumps(message))
        async for answer in line:
            told = json.loads(answer)
            if told["msg_type"] == "execute_result":
                return told["content"]["data"]["text/plain"]
    return ""


NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
CLICK = {**NAVIGATE, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-User": "?1"}


def visit(browser, path):
    """Open a page as a browser does, and follow redirects."""
    return browser.get(path, headers=NAVIGATE, follow_redirects=True)


def cookies(browser):
    """Return all cookies of a client as a Cookie header."""
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def form_of(page):
    """Return the hidden fields of the consent page."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text)
    return {name: html.unescape(value) for name, value in found}


def decide(browser, page, decision="allow"):
    """Press a button of the consent page."""
    data = {**form_of(page), "towpath_decision": decision}
    return browser.post("/hub/api/oauth2/authorize", data=data, headers=CLICK, follow_redirects=True)
