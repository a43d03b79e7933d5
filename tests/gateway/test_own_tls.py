"""The hub's own TLS, without an edge: what it serves, how certificates are renewed, and what is rejected."""

import asyncio
import shutil
import socket
import ssl
from contextlib import closing

import httpx
import pytest
from hub import Hub, eventually
from websockets.asyncio.client import connect

from state.errors import ConfigError
from state.settings.loader import load
from tests.conftest import run
from tests.echo_hub import ECHO, LOCAL
from tests.ldap_server import certificate
from tests.ports import free_port

pytestmark = pytest.mark.timeout(180)
HSTS = "max-age=31536000"

CONFIG = """
[gateway]
public_url = "https://localhost:{tls}/hub1/"
base_path = "/hub1/"
tls_certificate = "{folder}/server.pem"
tls_key = "{folder}/server.key"
tls_host = "127.0.0.1"
tls_port = {tls}
redirect_port = {plain}

[auth]
admins = ["carol"]
allowed_users = ["alice"]

[[auth.provider]]
name = "test"
kind = "test"
{local}{echo}
"""


class TlsHub(Hub):
    """A hub with its own TLS, at a base path."""

    def __init__(self, folder):
        self.tls, self.plain = free_port(), free_port()
        self.authority = certificate(folder, "authority")
        self.renew(folder)
        words = {"tls": self.tls, "plain": self.plain, "local": LOCAL, "echo": ECHO}
        super().__init__(folder, config=CONFIG.format(folder=folder, **words))
        self.context = ssl.create_default_context(cafile=str(folder / "authority.pem"))

    def renew(self, folder):
        """Put a new certificate and its key in place, as certbot does: by renaming."""
        certificate(folder, "new", signer=self.authority)
        for suffix in ("pem", "key"):
            shutil.move(folder / f"new.{suffix}", folder / f"server.{suffix}")
        (folder / "server.key").chmod(0o600)

    @property
    def public(self):
        return f"https://localhost:{self.tls}"

    def over_tls(self, **headers):
        given = {"Origin": self.public, "Sec-Fetch-Site": "same-origin", **headers}
        return httpx.Client(base_url=self.public, verify=self.context, timeout=60, headers=given)

    def api(self, user=None):
        client = super().api(user)
        client.base_url = f"{self.origin}/hub1/hub/api"
        return client

    def shown(self):
        """Return the certificate that a new connection receives, in DER."""
        with self.connected() as line:
            return line.getpeercert(binary_form=True)

    def connected(self):
        raw = socket.create_connection(("127.0.0.1", self.tls), 20)
        return self.context.wrap_socket(raw, server_hostname="localhost")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    hub = TlsHub(tmp_path_factory.mktemp("tls")).start()
    api = hub.api("alice")
    assert api.post("/users/alice/server", json={}).status_code == 202
    eventually(lambda: api.get("/users/alice/server").json()["ready"], what="the server")
    hub.token = api.headers["Authorization"]
    yield hub
    api.delete("/users/alice/server")
    eventually(lambda: api.get("/users/alice/server").json()["stopped"], what="the end")
    api.close()
    hub.close()


def test_a_user_signs_in_and_uses_a_server_over_tls(hub):
    with hub.over_tls() as client:
        answer = client.post("/hub1/hub/login", data={"provider": "test", "username": "alice"}, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        assert str(answer.url) == f"{hub.public}/hub1/hub/home"
        assert any(name.startswith("__Host-towpath-session") for name in client.cookies)
        told = dict(client.get("/hub1/user/alice/x").json()["headers"])
        assert told["X-Forwarded-Proto"] == "https"
        assert told["X-Forwarded-For"] == "127.0.0.1"
        assert told["X-Forwarded-Host"] == told["Host"] == f"localhost:{hub.tls}"


def test_forwarding_headers_from_clients_are_not_trusted(hub):
    with hub.over_tls(**{"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "http", "Forwarded": "for=x"}) as client:
        told = dict(client.get("/hub1/user/alice/x", headers={"Authorization": hub.token}).json()["headers"])
    assert (told["X-Forwarded-For"], told["X-Forwarded-Proto"]) == ("127.0.0.1", "https")


def test_responses_over_tls_have_hsts_and_others_do_not(hub):
    paths = ("/hub1/hub/login", "/hub1/hub/api/", "/hub1/hub/static/x/y", "/nothing", "/hub1/user/alice/", "/hub1/%00")
    with hub.over_tls(Authorization=hub.token) as client, closing(hub.client()) as plain:
        for path in paths:
            for method in ("GET", "HEAD"):
                assert client.request(method, path).headers.get_list("strict-transport-security") == [HSTS], path
            assert "strict-transport-security" not in plain.get(path, headers={"Authorization": hub.token}).headers


def test_an_invalid_request_over_tls_is_rejected_with_hsts(hub):
    with hub.connected() as line:
        line.sendall(b"NO HTTP\r\n\r\n")
        said = line.recv(65536)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nstrict-transport-security: max-age=31536000\r\n" in said


def test_websockets_work_over_tls(hub):
    async def main():
        headers = {"Authorization": hub.token}
        url = f"wss://localhost:{hub.tls}/hub1/user/alice/ws"
        where = {"ssl": hub.context, "additional_headers": headers, "proxy": None, "host": "127.0.0.1"}
        async with connect(url, origin=hub.public, **where) as line:
            await line.send("hello" * 100_000)
            assert await line.recv() == "hello" * 100_000

    run(main())


def test_plain_http_redirects_to_the_public_https_url_for_any_host(hub):
    where = f"http://127.0.0.1:{hub.plain}"
    for host in (f"localhost:{hub.plain}", "evil.example", "127.0.0.1"):
        answer = httpx.get(f"{where}/hub1/hub/login?next=%2Fx", headers={"Host": host})
        assert (answer.status_code, answer.headers["location"]) == (301, f"{hub.public}/hub1/hub/login?next=%2Fx")
    answer = httpx.get(f"{where}//evil.example/x")
    assert answer.headers["location"] == f"{hub.public}//evil.example/x"
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = httpx.request(method, f"{where}/hub1/hub/api/users", headers={"Authorization": hub.token})
        assert (answer.status_code, "location" in answer.headers) == (403, False)
        assert hub.public in answer.text


def test_a_renewed_certificate_is_served_without_a_restart_and_open_connections_stay(hub):
    async def main():
        where = {"ssl": hub.context, "additional_headers": {"Authorization": hub.token}, "proxy": None}
        async with connect(f"wss://localhost:{hub.tls}/hub1/user/alice/ws", origin=hub.public, **where) as line:
            before = await asyncio.to_thread(hub.shown)
            hub.renew(hub.folder)
            renewed = ssl.PEM_cert_to_DER_cert((hub.folder / "server.pem").read_text())
            assert renewed != before
            await asyncio.to_thread(eventually, lambda: hub.shown() == renewed, what="the renewed certificate")
            await line.send("still here")
            assert await line.recv() == "still here"

    run(main())


def test_a_world_readable_key_is_rejected(tmp_path):
    hub = TlsHub(tmp_path)
    (tmp_path / "server.key").chmod(0o644)
    done = hub.command("serve", "--port", str(hub.port), check=False)
    assert done.returncode == 1
    assert f"chmod o= {tmp_path}/server.key" in done.stderr
    checked = hub.command("check", check=False)
    assert checked.returncode == 1
    assert f"chmod o= {tmp_path}/server.key" in checked.stdout


def test_unusable_files_and_ports_in_use_stop_the_start_with_a_message(tmp_path):
    hub = TlsHub(tmp_path)
    (tmp_path / "server.key").write_text("nothing")
    done = hub.command("serve", "--port", str(hub.port), check=False)
    assert done.returncode == 1
    assert "The TLS certificate cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    hub.renew(tmp_path)
    with socket.create_server(("127.0.0.1", hub.plain)):
        done = hub.command("serve", "--port", str(hub.port), check=False)
    assert done.returncode == 1
    assert str(hub.plain) in done.stderr


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"tls_key": '"/k.pem"'}, "gateway.tls_key"),
        ({"redirect_port": "80"}, "gateway.redirect_port"),
        ({"tls_certificate": '"c.pem"', "public_url": '"https://h.example"'}, "gateway.tls_certificate"),
        ({"tls_certificate": '"/c.pem"', "public_url": '"http://h.example"'}, "gateway.public_url"),
        ({"tls_certificate": '"/c.pem"'}, "gateway.public_url"),
        ({"tls_certificate": '"/c.pem"', "public_url": '"https://h.example"', "tls_port": "8000"}, "gateway.tls_port"),
        ({"tls_certificate": '"/c.pem"', "public_url": '"https://h.example"', "tls_port": "0"}, "gateway.tls_port"),
        ({"tls_certificate": '"/c.pem"', "public_url": '"https://h.example"'}, "gateway.tls_host"),
    ],
)
def test_contradictory_settings_are_faults_of_the_configuration(changes, key, tmp_path):
    (tmp_path / "towpath.toml").write_text(
        "[gateway]\n" + "\n".join(f"{name} = {value}" for name, value in changes.items())
    )
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "towpath.toml", tmp_path / "data", environment={})
    assert key in {fault.key for fault in raised.value.faults}
