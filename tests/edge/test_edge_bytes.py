"""Every edge with its ready configuration: what it carries byte for byte, what it hides, and what it tells the hub."""

import hashlib
import json
import re
import subprocess
import threading
from contextlib import ExitStack

import pytest
from hub import eventually

from gateway.tunnel.forwarded import INBOUND
from tests.apps.bulk import BLOCK
from tests.conftest import free_port
from tests.edge.rig import USER, Edge, EdgeHub

pytestmark = pytest.mark.timeout(300)
NAMES = ("nginx", "nginx-1.22", "caddy", "envoy", "haproxy", "apache")
SIZE = 200 * 1024 * 1024
SILENCE = 70
VERSIONS = {"HTTP/1.1": "--http1.1", "HTTP/2": "--http2"}
HOSTILE = {
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "66",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-User": "carol",
    "X-Forwarded-Ssl": "off",
    "Forwarded": "for=192.0.2.66;host=evil.example;proto=http",
    "X-Real-IP": "192.0.2.66",
    "X-Client-IP": "192.0.2.66",
    "True-Client-IP": "192.0.2.66",
    "X-Accel-Redirect": "/etc/passwd",
    "X-Accel-Buffering": "yes",
    "X-Sendfile": "/etc/passwd",
    "X-Original-URL": "/evil",
    "X-Rewrite-URL": "/evil",
    "X-HTTP-Method-Override": "DELETE",
    "X-Envoy-Original-Dst-Host": "127.0.0.1:1",
    "X-Envoy-Original-Path": "/evil",
    "X-Envoy-Upstream-Rq-Timeout-Ms": "1",
    "X-Envoy-Internal": "true",
    "X-Envoy-External-Address": "192.0.2.66",
    "X-Towpath-Ticket": "evil",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory, slapd):
    """A hub at a base path. What an edge does with bytes is the same at the root, which tests/edge/test_edges.py tries."""
    hub = EdgeHub(tmp_path_factory.mktemp("hub"), "/hub1/", slapd).start()
    hub.gate.touch()
    api = hub.api(USER)
    hub.begin(api, "", "bulk")
    hub.token = api.headers["Authorization"]
    yield hub
    api.delete(f"/users/{USER}/server")
    api.close()
    hub.close()


@pytest.fixture(scope="module", params=NAMES)
def edge(request, hub, certificate, tmp_path_factory):
    edge = Edge(request.param, tmp_path_factory.mktemp(request.param), hub, certificate)
    yield edge
    edge.stop()


def curl(edge, version, path, *more, source="127.0.0.1", headers=None):
    """Ask through an edge, as alice; the answer's body."""
    given = {"Authorization": edge.hub.token, **(headers or {})}
    sent = [part for name, value in given.items() for part in ("-H", f"{name}: {value}")]
    argv = ["curl", "--silent", "--show-error", "--fail", "--path-as-is", "--ipv4", "--interface", source]
    argv += ["--cacert", str(edge.certificate.authority), VERSIONS[version], "--write-out", "%{stderr}%{http_version}"]
    done = subprocess.run([*argv, *sent, *more, edge.at(path)], capture_output=True, timeout=200)
    assert done.returncode == 0, (done.stderr, edge.proxy.log()[-3000:])
    assert done.stderr.decode().strip() == version[-1].replace("1", "1.1"), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A file of 200 MB, and its digest."""
    file = tmp_path_factory.mktemp("big") / "file"
    file.write_bytes(BLOCK * (SIZE // len(BLOCK)))
    return file, hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("version", VERSIONS)
def test_200_mb_go_up_and_down_byte_for_byte(edge, version, big, tmp_path):
    file, digest = big
    told = json.loads(curl(edge, version, f"user/{USER}/upload", "--upload-file", str(file)))
    assert (told["length"], told["sha256"]) == (SIZE, digest)
    curl(edge, version, f"user/{USER}/download?size={SIZE}", "--output", str(tmp_path / "down"))
    assert hashlib.sha256((tmp_path / "down").read_bytes()).hexdigest() == digest
    (tmp_path / "down").unlink()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upload_of_unknown_length_arrives_whole(edge, version):
    """HTTP/1.1 sends it in chunks."""
    content = BLOCK * 8 + b"end"
    told = json.loads(upload(edge, version, ["--upload-file", "-"], content))
    assert (told["length"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def upload(edge, version, more, content):
    argv = ["curl", "--silent", "--show-error", "--fail", "--ipv4", "--cacert", str(edge.certificate.authority)]
    argv += [VERSIONS[version], "-H", f"Authorization: {edge.hub.token}", *more, edge.at(f"user/{USER}/upload")]
    done = subprocess.run(argv, input=content, capture_output=True, timeout=200)
    assert done.returncode == 0, (done.stderr, edge.proxy.log()[-3000:])
    return done.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_an_app_is_told_the_clients_address_host_and_scheme_and_nothing_that_the_client_says(edge, version):
    source = "127.0.9.9"
    told = json.loads(curl(edge, version, f"user/{USER}/head", source=source, headers=HOSTILE))
    fields = sent_fields(told["head"])
    assert fields["host"] == [f"localhost:{edge.port}"]
    assert fields["x-forwarded-for"] == [f"{source}, 127.0.0.1"]
    assert fields["x-forwarded-proto"] == ["https"]
    assert fields["x-forwarded-host"] == [f"localhost:{edge.port}"]
    assert fields["x-forwarded-port"] == [str(edge.port)]
    assert fields["forwarded"] == [f"for={source}, for=127.0.0.1;proto=https"]
    assert fields["x-real-ip"] == [source]
    believed = " ".join(value for name in INBOUND for value in fields.get(name.decode(), []))
    assert not re.search(r"evil|192\.0\.2\.66|carol", believed)
    assert told["head"].startswith(f"GET {edge.hub.base}user/{USER}/head HTTP/1.1\r\n")


def sent_fields(head):
    found = {}
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        if name:
            found.setdefault(name.lower(), []).append(value)
    return found


@pytest.mark.parametrize("named", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Host", "Cookie"])
def test_a_client_cannot_take_a_field_away_by_naming_it_in_connection(edge, named):
    """CVE-2022-31813 of Apache httpd: fields that the proxy had set were removed as hop-by-hop fields."""
    headers = {"Connection": f"close, {named}", "X-Forwarded-For": "192.0.2.66"}
    with edge.client(source="127.0.9.8", token=edge.hub.token.removeprefix("token "), **headers) as client:
        answer = client.get(edge.at(f"user/{USER}/head"))
    if edge.name == "envoy" and answer.status_code == 400:
        return  # it refuses requests that name some fields
    assert answer.status_code == 200
    fields = sent_fields(answer.json()["head"])
    assert fields["x-forwarded-for"] == ["127.0.9.8, 127.0.0.1"]
    assert fields["x-forwarded-proto"] == ["https"]
    assert fields["x-forwarded-host"] == fields["host"] == [f"localhost:{edge.port}"]


def test_the_hub_records_the_clients_address(edge):
    number = NAMES.index(edge.name) + 1
    source = f"127.0.8.{number}"
    headers = {"Origin": edge.origin, "Sec-Fetch-Site": "same-origin", **HOSTILE}
    with edge.client(source=source) as client:
        form = {"provider": "campus", "username": USER, "password": "wrong"}
        answer = client.post(edge.at("hub/login"), data=form, headers=headers)
        assert answer.status_code == 403, answer.text
    with edge.hub.api("carol") as api:

        def recorded():
            entries = api.get("/towpath/audit").json()
            return [entry for entry in entries["entries"] if entry.get("address") == source]

        eventually(recorded, what="the refused sign-in")
        everything = api.get("/towpath/audit").text
    assert "192.0.2.66" not in everything


@pytest.mark.parametrize("version", VERSIONS)
def test_a_path_and_a_query_arrive_as_they_were_sent(edge, version):
    path = f"{edge.hub.base}user/{USER}/a%2Fb//c%20d/%E2%82%AC;x=1/~e,f+g/%25%2f?q=%2F&r=a+b&&s"
    told = json.loads(curl(edge, version, path.removeprefix(edge.hub.base)))
    assert told["head"].partition(" HTTP/1.1")[0] == f"GET {path}"


def test_an_app_cannot_make_the_edge_send_other_files_or_answers(edge):
    """X-Accel-Redirect and X-Sendfile are orders to a proxy. They end at the gateway."""
    (edge.hub.folder / "secret").write_text("a file of the edge's machine")
    fields = "".join(
        f"{name}: {edge.hub.folder}/secret\r\n"
        for name in ("X-Accel-Redirect", "X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-URL", "X-Accel-Expires")
    )
    raw = f"HTTP/1.1 200 OK\r\n{fields}Connection: close, X-Hidden\r\nX-Hidden: 1\r\nContent-Length: 7\r\n\r\nthe app"
    for version in VERSIONS:
        text = curl(edge, version, f"user/{USER}/answer?hex={raw.encode().hex()}", "--include").decode()
        assert text.endswith("the app")
        assert not re.search(r"(?mi)^x-(accel|sendfile|lighttpd|reproxy|hidden)", text)


@pytest.mark.parametrize(
    ("protocol", "options"), [("h2", ["-m", "4"]), ("http/1.1", ["--h1"])], ids=["HTTP/2", "HTTP/1.1"]
)
def test_32_connections_at_once_see_no_error(edge, protocol, options):
    argv = ["h2load", "-n", "4000", "-c", "32", *options, "-H", f"Authorization: {edge.hub.token}"]
    done = subprocess.run([*argv, edge.at(f"user/{USER}/head")], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert f"Application protocol: {protocol}" in done.stdout
    assert "4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
    assert "status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx" in done.stdout, done.stdout


def test_a_request_may_be_silent_for_70_seconds_at_every_edge(certificate, tmp_path_factory, slapd):
    """All at the same time. Most proxies end an answer that says nothing for 60 s."""
    found = {}
    with ExitStack() as stack:
        hub = EdgeHub(tmp_path_factory.mktemp("silent"), "/", slapd).start()
        stack.callback(hub.stop)
        hub.gate.touch()
        api = stack.enter_context(hub.api(USER))
        hub.begin(api, "", "bulk")
        stack.callback(lambda: api.delete(f"/users/{USER}/server"))
        hub.token = api.headers["Authorization"]
        edges = [
            Edge(name, tmp_path_factory.mktemp(f"silent-{name}"), hub, certificate, port=free_port()) for name in NAMES
        ]
        for edge in edges:
            stack.callback(edge.stop)

        def ask(edge, version):
            key = edge.name, version
            try:
                found[key] = json.loads(curl(edge, version, f"user/{USER}/silence?seconds={SILENCE}"))["length"]
            except AssertionError as error:
                found[key] = str(error)

        threads = [threading.Thread(target=ask, args=(edge, version)) for edge in edges for version in VERSIONS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(200)
    assert found == {(name, version): 0 for name in NAMES for version in VERSIONS}
