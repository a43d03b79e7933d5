"""Clients of JupyterHub that add `?token=` to their URLs, beside a valid Authorization header."""

import asyncio
import json
import uuid
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from gateway.tunnel.query import without_token
from tests.echo_hub import lab_and_echo


@pytest.mark.parametrize(
    ("target", "passed_on"),
    [
        (b"/user/a/lab", b"/user/a/lab"),
        (b"/user/a/lab?token=x", b"/user/a/lab"),
        (b"/user/a/lab?a=1&token=x&b=%2f", b"/user/a/lab?a=1&b=%2f"),
        (b"/user/a/lab?%74oken=x&a", b"/user/a/lab?a"),
        (b"/user/a/lab?token&token=", b"/user/a/lab"),
        (b"/user/a/lab?tokens=1&xtoken=2&a=token=3", b"/user/a/lab?tokens=1&xtoken=2&a=token=3"),
        (b"/user/a/token=x?a=%zz&", b"/user/a/token=x?a=%zz&"),
        (b"/user/a/lab?", b"/user/a/lab?"),
    ],
)
def test_only_parameters_named_token_are_removed(target, passed_on):
    assert without_token(target) == passed_on


@given(st.lists(st.binary().filter(lambda part: not {b"&"[0], b"?"[0], b"%"[0]} & set(part)), min_size=1))
def test_all_other_bytes_of_a_query_stay(parts):
    others = [part for part in parts if part.partition(b"=")[0] != b"token"]
    target = b"/x?" + b"&".join([*parts, b"token=secret"])
    assert without_token(target) == (b"/x?" + b"&".join(others) if others else b"/x")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with lab_and_echo(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def api(hub):
    with hub.api() as client:
        yield client


@pytest.fixture(params=["own", "wrong"])
def query(request, hub):
    """The parameter with the token of the request, as @jupyterlab/services adds it, and with another."""
    return "token=" + (hub.authorization.split()[1] if request.param == "own" else "wrong")


def test_jupyter_takes_a_request_with_a_token_in_its_url(hub, api, query):
    base = f"{hub.origin}/user/{hub.user()}/"
    assert api.get(f"{base}api/status?{query}").status_code == 200
    made = api.post(f"{base}api/sessions?{query}", json={"path": "x", "type": "console", "name": "", "kernel": {}})
    assert made.status_code == 201
    kernel = made.json()["kernel"]["id"]
    assert asyncio.run(answer_of(hub, f"api/kernels/{kernel}/channels?session_id=a&{query}")) == "kernel_info_reply"
    assert api.delete(f"{base}api/kernels/{kernel}?{query}").status_code == 204


async def answer_of(hub, path):
    """Ask a kernel for its information over a WebSocket, and return the type of its reply."""
    request = {
        "header": {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "kernel_info_request",
            "username": "",
            "session": "a",
            "date": "",
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": {},
        "buffers": [],
        "channel": "shell",
    }
    url = f"ws://127.0.0.1:{hub.port}/user/{hub.user()}/{path}"
    async with connect(url, additional_headers={"Authorization": hub.authorization}, proxy=None) as socket:
        await socket.send(json.dumps(request))
        async for message in socket:
            reply = json.loads(message)
            if reply["channel"] == "shell":
                return reply["msg_type"]
    raise AssertionError("no reply")


def test_no_app_sees_a_token_in_the_url_of_a_caller_with_a_token(hub, api, query):
    seen = api.get(f"{hub.origin}/user/{hub.user()}/echo/x?a=1&{query}").json()
    assert seen["path"] == f"/user/{hub.user()}/echo/x?a=1"


def test_a_web_app_keeps_its_own_parameter_for_a_caller_with_a_cookie(hub):
    with closing(hub.browser()) as browser:
        seen = browser.get(f"/user/{hub.user()}/echo/x?a=1&token=its-own").json()
    assert seen["path"] == f"/user/{hub.user()}/echo/x?a=1&token=its-own"


def test_the_hubs_own_api_takes_a_request_with_a_token_in_its_url(api, query):
    assert api.get(f"/user?{query}").status_code == 200


def test_a_token_in_the_url_proves_nothing_by_itself(hub):
    secret = hub.authorization.split()[1]
    with hub.client() as nobody:
        assert nobody.get(f"/user/{hub.user()}/api/status?token={secret}").status_code == 403
        assert nobody.get(f"/hub/api/user?token={secret}").status_code == 403
