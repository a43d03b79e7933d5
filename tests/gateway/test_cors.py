"""Pages of other origins at a user's server: only where its profile names them, and only with a token."""

import http.server
import threading
from contextlib import closing

import httpx
import pytest
from playwright.sync_api import sync_playwright

from gateway.tunnel.cors import AllowedOrigins, without_own
from state.errors import ConfigError
from state.settings.loader import load
from tests.chromium import launch
from tests.echo_hub import lab_and_echo
from tests.ports import free_port

PREFLIGHT = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization,content-type"}


class Page(http.server.BaseHTTPRequestHandler):
    """An empty page of another origin."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def origin():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def hub(tmp_path_factory, origin):
    with lab_and_echo(tmp_path_factory.mktemp("hub"), more=f'cors_origins = ["{origin}"]') as hub:
        yield hub


def ask(hub, path, method="GET", **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, f"{hub.origin}/user/{hub.user()}/{path}", headers=given)


@pytest.mark.browser
def test_a_page_of_an_allowed_origin_works_with_a_token(hub, origin):
    """As JupyterLab on another site with this server: read, write, delete, and the reason of a refusal."""
    script = """async ([base, authorization]) => {
        const told = [];
        const ask = async (method, path, token) => {
            const headers = {Authorization: token, 'Content-Type': 'application/json'};
            try {
                const answer = await fetch(base + path, {method, headers});
                told.push(answer.status);
                return await answer.text();
            } catch { told.push('not readable'); }
        };
        await ask('GET', 'api/status', authorization);
        const kernel = JSON.parse(await ask('POST', 'api/kernels', authorization));
        await ask('DELETE', 'api/kernels/' + kernel.id, authorization);
        await ask('GET', 'api/status', 'token wrong');
        await ask('GET', 'echo/x', authorization);
        return told;
    }"""
    with sync_playwright() as playwright, closing(launch(playwright)) as chromium:
        page = chromium.new_page()
        page.goto(origin)
        told = page.evaluate(script, [f"{hub.origin}/user/{hub.user()}/", hub.authorization])
    assert told == [200, 201, 204, 403, "not readable"]


def test_a_preflight_is_answered_alike_whoever_runs_what(hub, origin):
    answers = [
        httpx.options(hub.origin + path, headers={"Origin": origin, **PREFLIGHT})
        for path in (f"/user/{hub.user()}/x", f"/user/{hub.user()}/echo/", "/user/nobody/")
    ]
    for answer in answers:
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-methods"] == "PUT"
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers
        assert "content-length" not in answer.headers


@pytest.mark.parametrize("other", ["http://evil.example", "null", "http://127.0.0.1"])
def test_a_page_of_another_origin_gets_nothing(hub, other):
    assert ask(hub, "api/status", "OPTIONS", Origin=other, **PREFLIGHT).status_code == 403
    answer = ask(hub, "api/status", Origin=other, Authorization=hub.authorization)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["vary"] == "Origin"


def test_a_cookie_lets_no_page_of_another_origin_in(hub, origin):
    with closing(hub.browser()) as browser:
        cookie = "; ".join(f"{one.name}={one.value}" for one in browser.cookies.jar)
        answer = ask(hub, "api/status", Origin=origin, Cookie=cookie)
        assert "access-control-allow-origin" not in answer.headers
        assert ask(hub, "api/contents", "POST", Origin=origin, Cookie=cookie).status_code == 403


def test_the_hubs_own_pages_and_api_allow_no_origin(hub, origin):
    for path in ("/hub/api/user", "/hub/login"):
        answer = httpx.options(hub.origin + path, headers={"Origin": origin, **PREFLIGHT})
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_an_apps_own_fields_are_dropped():
    fields = [(b"Access-Control-Allow-Origin", b"*"), (b"access-control-allow-credentials", b"true"), (b"x", b"1")]
    assert without_own(fields) == [(b"x", b"1")]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"origin", b"https://a.example")],
        [(b"origin", b"https://b.example"), (b"access-control-request-method", b"GET")],
        [(b"origin", b"https://a.example"), (b"access-control-request-method", b"get x")],
        [
            (b"origin", b"https://a.example"),
            (b"origin", b"https://a.example"),
            (b"access-control-request-method", b"GET"),
        ],
        [
            (b"origin", b"https://a.example"),
            (b"access-control-request-method", b"GET"),
            (b"access-control-request-headers", b"x:y"),
        ],
    ],
)
def test_a_request_that_is_not_a_preflight_of_an_allowed_origin_is_not_answered(fields):
    assert AllowedOrigins(["https://a.example"]).preflight(fields) == []


@pytest.mark.parametrize(
    "origin", ["example.org", "https://a.example/", "https://A.example", "https://a.example:443", "null", "https://*.a"]
)
def test_a_configured_value_that_is_not_an_origin_is_refused(tmp_path, origin):
    file = tmp_path / "towpath.toml"
    file.write_text(f'[[profile]]\nname = "lab"\ncluster = "local"\ncors_origins = ["{origin}"]\n')
    with pytest.raises(ConfigError, match="is not an origin"):
        load(file, tmp_path / "data")
