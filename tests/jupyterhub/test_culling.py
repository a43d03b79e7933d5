"""The unmodified idle culler and stock JupyterLab: a computation keeps its server, with no browser open."""

import json
import os
import secrets
import subprocess
from contextlib import closing

import pytest
from websockets.sync.client import connect

from tests.hub import eventually
from tests.jupyterhub.apps import CULLER
from tests.jupyterhub.rig import Running, cookies, serving

pytestmark = pytest.mark.timeout(600)
TIMEOUT = 75
"""Seconds without activity after which a server is culled: more than the starter's interval between two looks."""
CONFIG = """
[[profile]]
name = "lab"
cluster = "local"
app = "jupyter"

[[service]]
name = "culler"
api_token_file = "culler.token"

[[role]]
name = "culls"
scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
services = ["culler"]
"""


@pytest.fixture
def hub(tmp_path):
    token = secrets.token_hex(32)
    (tmp_path / "culler.token").write_text(token)
    (tmp_path / "culler.token").chmod(0o600)
    with serving(tmp_path, CONFIG) as hub:
        hub.culler_token = token
        yield hub


def compute(hub, name, gate):
    """Start a cell that runs until the file `gate` exists, and close everything as a browser does."""
    with closing(hub.browser_of("alice")) as browser:
        base = f"/user/alice/{name}/"
        page = browser.get(f"{base}api/kernels")  # for Jupyter's own cookie
        assert page.status_code == 200
        headers = {"X-XSRFToken": browser.cookies.get("_xsrf", path=base, default="")}
        answer = browser.post(f"{base}api/kernels", json={}, headers=headers)
        assert answer.status_code == 201, answer.text
        code = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.1)"
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        header = {"msg_id": "1", "username": "", "session": "s", "msg_type": "execute_request", "version": "5.3"}
        message = {"header": {**header, "date": ""}, "parent_header": {}, "metadata": {}, "content": content}
        url = f"ws://127.0.0.1:{hub.port}{base}api/kernels/{answer.json()['id']}/channels"
        given = {"Cookie": cookies(browser), "Origin": hub.origin}
        with connect(url, additional_headers=given, max_size=None) as line:
            line.send(json.dumps({**message, "channel": "shell", "buffers": []}))
            for told in line:
                if json.loads(told)["msg_type"] == "execute_input":
                    return


def test_the_culler_keeps_a_server_whose_cell_runs_and_stops_an_idle_one(hub, tmp_path):
    gate = tmp_path / "gate"
    environment = {"PATH": os.environ["PATH"], "JUPYTERHUB_API_TOKEN": hub.culler_token}
    program = [CULLER, f"--url={hub.origin}/hub/api", f"--timeout={TIMEOUT}", "--cull-every=1"]
    log = tmp_path / "culler.log"
    with Running(hub, "alice", "busy", profile="lab") as busy:
        compute(hub, "busy", gate)
        # The idle one is used last, so that without the running cell the busy one would be culled first.
        with (
            Running(hub, "alice", "idle", profile="lab") as idle,
            log.open("w") as lines,
            subprocess.Popen(program, env=environment, stderr=lines) as process,
        ):
            try:
                eventually(lambda: not idle.model().get("ready"), seconds=300, what="the culler to stop it")
                model = busy.model()
                assert model.get("ready"), log.read_text()
                assert not model["pending"], log.read_text()
            finally:
                process.terminate()
    told = log.read_text()
    assert "Culling server alice/idle" in told
    assert "Culling server alice/busy" not in told
    assert "Traceback" not in told, told
