"""The check of the edge: a real nginx for each mistake that sites make, and what the hub says about it."""

import asyncio
import re
import ssl

import httpx
import pytest
from hub import Hub, eventually, stub_config

from gateway.edge import watch
from gateway.edge.contract import HEADER, PATH
from gateway.edge.diagnosis import Expected, diagnose
from gateway.edge.probe import Observed
from gateway.edge.rendering import find, render
from gateway.edge.site import Gateway, edge_site
from gateway.edge.watch import check
from gateway.serve import valkey
from state.config.tables import Config, GatewayConfig
from state.records.edge import EdgeFinding, EdgeReport
from state.settings.loader import load
from state.store.all import Store
from tests.conftest import run, until
from tests.edge.proxies import Proxy
from tests.ports import free_port

pytestmark = pytest.mark.timeout(180)
BASE = "/hub1/"


class PublicHub(Hub):
    """A hub for one user whose public URL belongs to an edge that has not been started."""

    def __init__(self, folder):
        self.public_port = free_port()
        self.public = f"https://localhost:{self.public_port}"
        config = (
            f'[gateway]\npublic_url = "{self.public}{BASE}"\nbase_path = "{BASE}"\ntrusted_proxies = ["127.0.0.1"]\n'
        )
        super().__init__(folder, config=config + stub_config(folder))

    def client(self):
        client = super().client()
        client.headers["Origin"] = self.public
        return client


@pytest.fixture(scope="module")
def hub(tmp_path_factory, certificate):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate.authority))
        hub = PublicHub(tmp_path_factory.mktemp("hub")).start()
        yield hub
        hub.close()


def configuration(hub, certificate, name="nginx-1.22"):
    site = edge_site(
        Config(gateway=GatewayConfig(public_url=hub.public, base_path=BASE)),
        certificate=str(certificate.both if name == "haproxy" else certificate.file),
        key="" if name == "haproxy" else str(certificate.key),
        address="127.0.0.1",
        redirect_port=0,
        gateways=(Gateway(host="127.0.0.1", port=hub.port),),
    )
    return render(find(name), site)


def found(hub, *, silence=0.0, changes=None):
    """The findings of one check of the running hub, by name; `changes`: of `[gateway]` as the check sees it."""

    async def main():
        settings = load(hub.config, hub.data_dir)
        store = await Store.open(valkey.url(hub.data_dir))
        try:
            return await check(store.edge_reports, settings.config, silence=silence)
        finally:
            await store.close()

    return {each.check: each for each in run(main()).findings}


def wrong(findings):
    return {name for name, each in findings.items() if not each.good}


MISTAKES = {
    "host": (
        "proxy_set_header Host $http_host;",
        "proxy_set_header Host $proxy_host;",
        {"host"},
        "proxy_set_header Host $http_host;",
    ),
    "origin": (
        "proxy_http_version",
        'proxy_set_header Origin "";\nproxy_set_header Sec-Fetch-Site "";\nproxy_http_version',
        {"origin"},
        "Origin",
    ),
    "websocket": (
        "proxy_set_header Upgrade $http_upgrade;",
        "",
        {"websocket"},
        "proxy_set_header Upgrade $http_upgrade;",
    ),
    "HTTP/1.0": ("proxy_http_version 1.1;", "proxy_http_version 1.0;", {"websocket"}, "proxy_http_version 1.1;"),
    "buffering": (
        "proxy_buffering off;",
        "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;",
        {"buffering"},
        "proxy_buffering off;",
    ),
    "body": ("client_max_body_size 0;", "", {"body"}, "client_max_body_size 0;"),
    "base path": (
        "proxy_pass http://towpath_gateway;",
        "proxy_pass http://towpath_gateway/;",
        {"path"},
        "proxy_pass http://127.0.0.1:8000;",
    ),
    "decoded path": (
        "proxy_pass http://towpath_gateway;",
        "proxy_pass http://towpath_gateway/hub1/;",
        {"path"},
        "proxy_pass http://127.0.0.1:8000;",
    ),
    "no address": (
        "proxy_set_header X-Forwarded-For $remote_addr;",
        'proxy_set_header X-Forwarded-For "";',
        {"address"},
        "X-Forwarded-For $remote_addr;",
    ),
    "a client's address": (
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "",
        {"address"},
        "X-Forwarded-For $remote_addr;",
    ),
    "a client's scheme": ("proxy_set_header X-Forwarded-Proto $scheme;", "", {"scheme"}, "X-Forwarded-Proto $scheme;"),
    "a wrong scheme": (
        "X-Forwarded-Proto $scheme;",
        "X-Forwarded-Proto http;",
        {"scheme"},
        "X-Forwarded-Proto $scheme;",
    ),
    "a client's host": (
        "proxy_set_header X-Forwarded-Host $http_host;",
        "",
        {"forwarded-host"},
        "X-Forwarded-Host $http_host;",
    ),
    "gateway": (r"server 127.0.0.1:", "server 127.0.0.2:", {"route"}, "127.0.0.1:"),
    "sign-in of the edge": (
        "location /hub1/ {",
        'location /hub1/ { auth_basic "x"; auth_basic_user_file /dev/null;',
        {"route"},
        "/hub/api/",
    ),
    "another site": ("location /hub1/ {", "location /hub1/ { return 404;", {"route"}, "the gateway"),
    "redirect": ("location /hub1/ {", "location /hub1/ { return 301 http://localhost/;", {"route"}, "redirect"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_of_an_edge_is_found_and_the_line_that_mends_it_is_named(mistake, hub, certificate, tmp_path):
    right, instead, checks, fix = MISTAKES[mistake]
    text = configuration(hub, certificate)
    assert right in text
    proxy = Proxy("nginx-1.22", tmp_path, text.replace(right, instead), port=hub.public_port).start()
    try:
        findings = found(hub)
    finally:
        proxy.stop()
    assert wrong(findings) == checks, findings
    assert fix in "".join(findings[name].fix for name in checks)


def test_a_host_without_its_port_is_no_mistake(hub, certificate, tmp_path):
    """`public_url` has the port."""
    text = configuration(hub, certificate)
    text = text.replace("proxy_set_header Host $http_host;", "proxy_set_header Host $host;")
    proxy = Proxy("nginx-1.22", tmp_path, text, port=hub.public_port).start()
    try:
        findings = found(hub)
    finally:
        proxy.stop()
    assert wrong(findings) == set(), findings


@pytest.mark.parametrize("name", ["nginx", "nginx-1.22", "caddy", "envoy", "haproxy", "apache"])
def test_the_ready_configurations_pass(name, hub, certificate, tmp_path):
    proxy = Proxy(name, tmp_path, configuration(hub, certificate, name), port=hub.public_port).start()
    try:
        findings = found(hub)
    finally:
        proxy.stop()
    assert not [each for each in findings.values() if each.warning or not each.good], findings
    assert set(findings) == {"certificate", "host", "path", "address", "websocket", "buffering", "body", "http2"}


@pytest.mark.parametrize(
    ("name", "right", "instead", "fix"),
    [
        ("nginx-1.22", "proxy_read_timeout 1d;", "proxy_read_timeout 4s;", "proxy_read_timeout 1d;"),
        ("nginx", "proxy_read_timeout 1d;", "proxy_read_timeout 4s;", "proxy_read_timeout 1d;"),
        ("haproxy", "timeout server 1d", "timeout server 4s", ""),
        ("apache", "timeout=86400", "timeout=4", "timeout=86400"),
        ("envoy", "timeout: 0s }", "timeout: 4s }", "timeout: 0s"),
        ("caddy", "keepalive 60s", "keepalive 60s\nresponse_header_timeout 4s", "response_header_timeout"),
    ],
)
def test_a_short_time_out_is_found_at_every_edge(name, right, instead, fix, hub, certificate, tmp_path):
    """Scaled down: the edges' own defaults are 15 and 60 s, and a running hub tries 75 s."""
    text = configuration(hub, certificate, name)
    assert right in text
    proxy = Proxy(name, tmp_path, text.replace(right, instead), port=hub.public_port).start()
    try:
        findings = found(hub, silence=12)
    finally:
        proxy.stop()
    assert "silence" in findings, findings
    assert not findings["silence"].good
    assert fix in findings["silence"].fix


def test_less_than_a_mistake_is_a_warning(hub, certificate, tmp_path):
    text = configuration(hub, certificate).replace(" ssl http2;", " ssl;")
    text = text.replace("client_max_body_size 0;", "client_max_body_size 1g;")
    proxy = Proxy("nginx-1.22", tmp_path, text, port=hub.public_port).start()
    try:
        findings = found(hub)
    finally:
        proxy.stop()
    assert {name for name, each in findings.items() if each.warning} == {"http2", "body"}
    assert not wrong(findings)


def test_a_certificate_that_this_machine_does_not_trust_is_a_warning_and_the_rest_is_checked(
    hub, certificate, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", ssl.get_default_verify_paths().openssl_cafile)
    proxy = Proxy("nginx-1.22", tmp_path, configuration(hub, certificate), port=hub.public_port).start()
    try:
        findings = found(hub)
    finally:
        proxy.stop()
    assert findings["certificate"].warning
    assert findings["websocket"].good


def test_an_edge_that_is_not_there_is_one_finding(hub):
    findings = found(hub)
    assert wrong(findings) == {"reach"} == set(findings)
    assert hub.public in findings["reach"].text


def test_check_and_log_and_the_admins_page_say_what_is_wrong_until_it_is_mended(hub, certificate, tmp_path):
    """The hub starts and keeps running without its edge. The edge is started with a mistake, then correctly."""
    hub.ask_store("DEL", "towpath:{edge}:turn")
    text = configuration(hub, certificate).replace("proxy_set_header Upgrade $http_upgrade;", "")
    proxy = Proxy("nginx-1.22", tmp_path / "wrong", text, port=hub.public_port).start()
    try:
        done = hub.command("check", check=False)
        assert done.returncode == 1
        assert re.search(r"^FAIL +edge websocket .*proxy_set_header Upgrade \$http_upgrade;", done.stdout, re.MULTILINE)
        eventually(lambda: any("check=websocket" in line for line in hub.output), what="the line in the log")
        with httpx.Client(base_url=f"http://127.0.0.1:{hub.port}", timeout=30) as client:
            sign_in = hub.fresh_link().replace("/hub/login", f"{BASE}hub/login")
            own = {"Host": hub.public.removeprefix("https://")}
            cookie = client.get(sign_in, headers=own).headers["set-cookie"].partition(";")[0]
            page = client.get(f"{BASE}hub/admin", headers={**own, "Cookie": cookie})
            assert page.status_code == 200
            assert "The edge does not pass WebSockets on" in page.text
    finally:
        proxy.stop()
    proxy = Proxy("nginx-1.22", tmp_path / "right", configuration(hub, certificate), port=hub.public_port).start()
    try:
        done = hub.command("check", check=False)
        assert re.search(rf"^ok +edge +{hub.public}", done.stdout, re.MULTILINE), done.stdout
    finally:
        proxy.stop()


def test_requests_without_the_secret_of_a_check_are_not_found(hub):
    with httpx.Client(base_url=f"http://127.0.0.1:{hub.port}", timeout=30) as client:
        for what in ("echo/", "events", "body", "silence/1", "websocket", "limit"):
            nothing = client.get(f"{BASE}{PATH}{what}")
            assert nothing.status_code == 404
            for secret in (None, "x", "A" * 43, "A" * 43 + "\x7f", "é" * 43):
                headers = [] if secret is None else [(HEADER.decode(), secret.encode("utf-8", "ignore"))]
                answer = client.get(f"{BASE}{PATH}{what}", headers=headers)
                assert answer.status_code in (400, 404), (what, secret)
                if answer.status_code == 404:
                    assert answer.headers["content-type"] == nothing.headers["content-type"]


def test_one_worker_checks_for_all(store_url):
    async def main():
        store = await Store.open(store_url)
        other = await Store.open(store_url)
        assert await store.edge_reports.take_turn(seconds=30) == 0.0
        left = await other.edge_reports.take_turn(seconds=30)
        assert 0 < left <= 30
        await store.edge_reports.extend_turn(seconds=0.001)
        await asyncio.sleep(0.05)
        assert await other.edge_reports.take_turn(seconds=30) == 0.0
        secret = await store.edge_reports.issue(lifetime=30)
        assert await other.edge_reports.knows(secret)
        assert not await other.edge_reports.knows(secret + "x")
        assert await other.edge_reports.latest() is None
        await store.close()
        await other.close()

    run(main())


def test_an_edge_that_gives_no_answer_is_a_finding():
    observed = Observed(http2=False)
    findings = diagnose(observed, Expected(netloc="h", scheme="https", gateway="x", own_tls=True))
    assert [each.check for each in findings] == ["certificate", "route"]


@pytest.mark.parametrize(
    ("silences", "published"),
    [([False, True], [True]), ([False, False, True], [False, True]), ([None, True], [True])],
    ids=["restarted-meanwhile", "until-it-is-repaired", "not-reached-at-first"],
)
def test_a_long_silence_that_ended_is_tried_again_before_it_is_a_problem(silences, published, store_url, monkeypatch):
    """An edge that is started again ends the request too."""
    left, saved = list(silences), []

    async def check_once(_reports, _config, *, silence=0.0):
        good = [EdgeFinding(check="websocket", good=True, text="")]
        if silence and (ended_well := left.pop(0)) is not None:
            good.append(EdgeFinding(check="silence", good=ended_well, text=str(ended_well)))
        return EdgeReport(time=0.0, url="https://hub", findings=tuple(good))

    async def main():
        store = await Store.open(store_url)
        save = store.edge_reports.save

        async def note(report):
            saved.extend(each.good for each in report.findings if each.check == "silence")
            await save(report)

        monkeypatch.setattr(store.edge_reports, "save", note)
        watcher = watch.EdgeWatch(store.edge_reports, Config(gateway=GatewayConfig(public_url="https://hub")))
        watcher.start()
        try:
            await until(lambda: saved[-1:] == [True])
        finally:
            watcher.stop()
            await store.close()

    for name in ("BAD_SECONDS", "SILENCE_SECONDS", "WELL_SECONDS"):
        monkeypatch.setattr(watch, name, 0.02)
    monkeypatch.setattr(watch, "check", check_once)
    run(main())
    assert list(dict.fromkeys(saved)) == published
