"""Plain JupyterLab, run by the starter with the default command: pages, kernels and their WebSocket over the socket."""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import secrets
import socket
import sys
import uuid
from pathlib import Path

import websockets

from batch.jobs.job_builder import job_spec, with_secrets
from batch.launchers.local.launcher import LocalLauncher
from state.config.tables import Config
from tests.batch.rig import ROOT, by_attempt, fresh
from tests.conftest import run, until


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("hub.example.org", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def call(path, method, target, token, body=None, *, headers=None):
    connection = UnixConnection(path)
    with contextlib.closing(connection):
        headers = {**({"Authorization": f"token {token}"} if token else {}), **(headers or {})}
        connection.request(method, target, body=json.dumps(body) if body is not None else None, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


async def execute(path, base, token, kernel, code):
    """Run code in a kernel through its WebSocket, as a browser behind the hub does; return what it printed."""
    uri = f"ws://hub.example.org{base}api/kernels/{kernel}/channels"
    headers = {"Authorization": f"token {token}", "Origin": "https://hub.example.org"}
    async with websockets.unix_connect(path, uri=uri, additional_headers=headers, max_size=None) as line:
        session = uuid.uuid4().hex
        header = {
            "msg_id": uuid.uuid4().hex,
            "username": "",
            "session": session,
            "msg_type": "execute_request",
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        await line.send(
            json.dumps(
                {
                    "header": header,
                    "parent_header": {},
                    "metadata": {},
                    "content": content,
                    "channel": "shell",
                    "buffers": [],
                }
            )
        )
        async with asyncio.timeout(60):
            async for message in line:
                answer = json.loads(message)
                if answer["msg_type"] == "execute_result":
                    return answer["content"]["data"]["text/plain"]
    return ""


def test_plain_jupyterlab_serves_pages_kernels_and_websockets_on_its_socket(short_folder):
    home = short_folder / "jupyter-home"
    home.mkdir()
    (home / "hello.txt").write_text("hello")
    jupyter = next(
        (
            path
            for path in (ROOT / ".venv-jupyter" / "bin", Path(sys.prefix).parent / ".venv-jupyter" / "bin")
            if (path / "jupyter").exists()
        ),
        Path("/usr/bin"),
    )
    own = {**os.environ, "HOME": str(home), "PATH": f"{jupyter}:{os.environ['PATH']}"}
    config = Config()
    profile = config.profile[0]
    token = secrets.token_urlsafe(16)
    server = with_secrets(fresh("zoe@lab.org", "lab"), profile, token=token, secret=secrets.token_urlsafe(16))
    spec = job_spec(server, profile, config, token=token, own=own, as_root=os.geteuid() == 0)
    base = spec.base_path
    secret = server.credential.removeprefix("token ")

    async def body():
        launcher = LocalLauncher("local", short_folder / "jupyter-jobs")
        await launcher.submit(spec)
        try:

            async def ready():
                view = (await launcher.poll())[spec.attempt]
                assert not view.state.final, (
                    view,
                    (short_folder / "jupyter-jobs" / spec.attempt / "app.log").read_text(),
                )
                return view.report and view.report.endpoint

            endpoint = await until(ready, seconds=90)
            path = endpoint.path
            assert Path(path).lstat().st_mode & 0o777 == 0o600
            status, page, _ = await asyncio.to_thread(call, path, "GET", f"{base}lab", secret)
            assert status == 200
            assert b"JupyterLab" in page
            status, _, _ = await asyncio.to_thread(call, path, "GET", f"{base}lab", "")
            assert status in (302, 403)  # nothing is served without the credential
            status, text, _ = await asyncio.to_thread(call, path, "GET", f"{base}api/contents/hello.txt", secret)
            assert status == 200
            assert json.loads(text)["content"] == "hello"
            upload = {"type": "file", "format": "base64", "content": base64.b64encode(b"x" * 100).decode()}
            status, _, _ = await asyncio.to_thread(call, path, "PUT", f"{base}api/contents/new.bin", secret, upload)
            assert status == 201
            status, text, _ = await asyncio.to_thread(call, path, "POST", f"{base}api/kernels", secret, {})
            assert status == 201
            assert await execute(path, base, secret, json.loads(text)["id"], "6*7") == "42"
            for pid in by_attempt()[spec.attempt]:
                assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        finally:
            await launcher.cancel(None, spec.attempt)

        async def over():
            return (await launcher.poll())[spec.attempt].state.final

        await until(over, seconds=60)
        assert not by_attempt().get(spec.attempt)  # kernels too
        report = json.loads((short_folder / "jupyter-jobs" / spec.attempt / "report.json").read_text())
        assert report["exit_code"] == 0  # it shut down by itself

    run(body())
