"""Stock JupyterLab, started by the starter: it knows the hub and its user, and the hub knows when it is in use."""

import asyncio
import json
import time
from pathlib import Path

import pytest
import websockets

from batch.jobs.job_builder import JUPYTERLAB
from tests.batch.rig import ROOT
from tests.batch.test_jupyterlab import call
from tests.batch.test_way_in import until
from tests.batch.way_in import SECRET, Node

BASE = "/user/alice/gpu/"
HUB = {"prefix": "/hub/", "host": "", "user": "alice", "server": "gpu"}


class Lab:
    """JupyterLab under a starter that looks at it often."""

    def __init__(self):
        self.node = Node()
        binaries = ROOT / ".venv-jupyter" / "bin"
        command = [part.replace("{base_path}", BASE).replace("{home}", str(self.node.home)) for part in JUPYTERLAB]
        environment = {"PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(self.node.home)}
        environment["JUPYTER_CONFIG_PATH"] = "/etc/site"
        self.node.start(
            (*command, "--allow-root"),
            environment=environment,
            passport=False,
            base_path=BASE,
            jupyter=HUB,
            activity_seconds=0.2,
        )
        self.path = self.node.hub.wait("ready", 90)["endpoint"]["path"]

    def ask(self, method, path, body=None, *, token=SECRET, headers=None):
        """One request as the gateway sends it; status, body, headers."""
        return call(self.path, method, BASE + path, token, body, headers=headers)

    def activity(self):
        """The times that the hub was told, in their order."""
        return [one["last_activity"] for one in self.node.hub.reports if one["kind"] == "activity"]

    def is_quiet(self):
        """Whether several looks in a row have found nothing new."""
        before = self.activity()
        time.sleep(1)  # five looks
        return self.activity() == before

    def socket(self, path):
        """A WebSocket as the gateway opens it."""
        headers = {"Authorization": f"token {SECRET}"}
        return websockets.unix_connect(self.path, uri=f"ws://hub{BASE}{path}", additional_headers=headers)


@pytest.fixture(scope="module")
def lab():
    lab = Lab()
    yield lab
    lab.node.close()


def config_of(page):
    """The configuration in JupyterLab's page."""
    text = page.decode()
    begin = text.index("{", text.index('id="jupyter-config-data"'))
    return json.loads(text[begin : text.index("</script>", begin)])


def test_jupyterlab_shows_the_hub_and_its_user_and_logs_out_of_the_hub(lab):
    page = config_of(lab.ask("GET", "lab")[1])
    assert (page["hubPrefix"], page["hubHost"], page["hubUser"], page["hubServerName"]) == ("/hub/", "", "alice", "gpu")
    assert page["token"] == ""  # the gateway's credential is not for pages
    for visitor in ("alice", "bob@lab.org"):
        status, text, _ = lab.ask("GET", "api/me", headers={"X-Forwarded-User": visitor})
        identity = json.loads(text)["identity"]
        assert (status, identity["username"], identity["display_name"]) == (200, visitor, visitor)
    status, text, _ = lab.ask("GET", "api/me")
    assert json.loads(text)["identity"]["name"].startswith("Anonymous")
    assert lab.ask("GET", "api/me", token="", headers={"X-Forwarded-User": "alice"})[0] in (302, 403)
    status, _, headers = lab.ask("GET", "logout")
    assert (status, headers["Location"]) == (302, "/hub/logout")


def test_programs_in_terminals_do_not_inherit_the_hubs_configuration(lab):
    assert asyncio.run(in_terminal(lab, 'echo "<$JUPYTER_CONFIG_PATH>"', ">")).count("</etc/site>") == 1


def test_a_long_cell_is_activity_and_a_kernel_at_rest_is_none(lab):
    gate = lab.node.root / "gate"
    _, text, _ = lab.ask("POST", "api/kernels", {})
    kernel = json.loads(text)["id"]
    asyncio.run(begin(lab, kernel, f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)"))
    until(lambda: len(lab.activity()) > 1)
    told = len(lab.activity())
    until(lambda: len(lab.activity()) > told + 3)  # only the cell runs
    assert lab.activity() == sorted(lab.activity())
    gate.touch()
    until(lab.is_quiet)
    assert lab.activity()[-1] <= time.time()


def test_a_program_in_a_terminal_is_activity_and_a_prompt_is_none(lab):
    gate = lab.node.root / "door"
    asyncio.run(in_terminal(lab, f"until test -e {gate}; do sleep 0.1; done; echo o''ver"))
    until(lambda: len(lab.activity()) > 1)
    told = len(lab.activity())
    until(lambda: len(lab.activity()) > told + 3)
    gate.touch()
    until(lab.is_quiet)


def test_a_server_that_does_not_answer_the_question_is_left_alone(lab):
    lab.ask("POST", "api/kernels", {})
    until(lab.activity)
    Path(lab.path).rename(f"{lab.path}.away")
    until(lab.is_quiet)
    Path(f"{lab.path}.away").rename(lab.path)
    told = len(lab.activity())
    lab.ask("POST", "api/kernels", {})
    until(lambda: len(lab.activity()) > told)


async def begin(lab, kernel, code):
    """Run code in a kernel, and go once it runs."""
    header = {
        "msg_id": "1",
        "username": "",
        "session": "s",
        "msg_type": "execute_request",
        "version": "5.3",
        "date": "",
    }
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    message = {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }
    async with lab.socket(f"api/kernels/{kernel}/channels") as line, asyncio.timeout(60):
        await line.send(json.dumps(message))
        async for answer in line:
            if json.loads(answer)["msg_type"] == "execute_input":
                return


async def in_terminal(lab, command, end=""):
    """Type a command into a new terminal; what the terminal shows, up to `end` in the command's output."""
    name = json.loads((await asyncio.to_thread(lab.ask, "POST", "api/terminals", {}))[1])["name"]
    shown = ""
    async with lab.socket(f"terminals/websocket/{name}") as line, asyncio.timeout(60):
        await line.send(json.dumps(["stdin", command + "\r"]))
        async for text in line:
            kind, *rest = json.loads(text)
            shown += rest[0] if kind == "stdout" else ""
            if kind == "stdout" and shown.replace(command, "").count(end or "\n"):
                return shown.replace(command, "")
    return shown
