"""A hub behind real edges: its users in a directory, its apps, its certificate, and clients that go through an edge."""

import base64
import hashlib
import os
import re
import shutil
import ssl
import sys
from pathlib import Path

import httpx
import msgspec
import secret_scan
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hub import ROOT, Hub, eventually

from gateway.edge.rendering import find, render
from gateway.edge.site import Gateway, edge_site
from state.config.tables import Config, GatewayConfig
from tests.chromium import ARGUMENTS
from tests.conftest import free_port
from tests.edge.proxies import Proxy
from tests.ldap_server import HUB_DN, HUB_PASSWORD, USERS, Slapd, certificate, user_entry

SECRET = "right horse 4711"
USER = "alice"

CONFIG = """
[gateway]
public_url = "https://localhost:{port}{base}"
base_path = "{base}"
trusted_proxies = ["127.0.0.1"]

[auth]
admins = ["carol"]
allowed_users = ["alice"]

[[auth.provider]]
name = "campus"
kind = "ldap"
title = "Campus account"
allow_all = true
[auth.provider.ldap]
servers = ["{slapd.ldaps}"]
ca_file = "{slapd.ca}"
bind_dn = "{hub_dn}"
bind_password_file = "ldap.secret"
user_base = "{users}"

[[cluster]]
name = "local"
kind = "local"
isolation = "none"

[[profile]]
name = "jupyterlab"
cluster = "local"

[[profile]]
name = "bulk"
cluster = "local"
app = "web"
command = ["{python}", "{root}/tests/apps/bulk.py", "{{socket}}", "{folder}/gate"]
default_path = ""
"""


class EdgeHub(Hub):
    """A hub at a base path. `gate`: the file without which the app `bulk` does not come up."""

    def __init__(self, folder, base, slapd):
        (folder / "ldap.secret").write_text(HUB_PASSWORD)
        (folder / "ldap.secret").chmod(0o600)
        self.base = base
        words = {"slapd": slapd, "hub_dn": HUB_DN, "users": USERS, "python": sys.executable, "root": ROOT}
        self.public_port = free_port()
        config = CONFIG.format(port=self.public_port, base=base, folder=folder, **words)
        jupyter = f"{ROOT / '.venv-jupyter' / 'bin'}:{Path(sys.prefix).parent / '.venv-jupyter' / 'bin'}:/usr/bin:/bin"
        super().__init__(folder, config=config, path=jupyter)
        self.gate = folder / "gate"

    @property
    def hub_path(self):
        return f"{self.base}hub/"

    def api(self, user=None):
        client = super().api(user)
        client.base_url = f"{self.origin}{self.base}hub/api"
        return client

    def begin(self, api, name, profile):
        """Start a server of alice's by the API, and wait until it is ready."""
        where = f"/users/{USER}/servers/{name}" if name else f"/users/{USER}/server"
        assert api.post(where, json={"profile": profile}).status_code in (201, 202)
        eventually(lambda: api.get(where).json()["ready"], what=f"the server {name!r}")


def directory(folder):
    """A directory of users, running."""
    slapd = Slapd(folder).start()
    slapd.add(user_entry(USER, SECRET), user_entry("carol", SECRET))
    return slapd


class Certificate:
    """A certificate for localhost and all names below it, its authority, and both files in one."""

    def __init__(self, folder):
        certificate(
            folder,
            "edge",
            names=("localhost", "*.localhost"),
            days=90,
            signer=certificate(folder, "authority", days=90),
        )
        self.file, self.key, self.authority = folder / "edge.pem", folder / "edge.key", folder / "authority.pem"
        self.both = folder / "both.pem"
        self.both.write_bytes(self.file.read_bytes() + self.key.read_bytes())
        self.context = ssl.create_default_context(cafile=str(self.authority))
        key = x509.load_pem_x509_certificate(self.file.read_bytes()).public_key()
        told = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.spki = base64.b64encode(hashlib.sha256(told).digest()).decode()


class Edge:
    """A real edge in front of a hub, with the configuration that `towpath edge` writes."""

    def __init__(self, name, folder, hub, certificate, *, port=0, change=None):
        """`port`: another one than that of the hub's public URL. `change`: of the configuration, to break it."""
        self.name, self.hub, self.certificate = name, hub, certificate
        self.port, self.redirect_port = port or hub.public_port, free_port()
        self.origin = f"https://localhost:{self.port}"
        self.http3 = find(name).http3
        together = name == "haproxy"
        config = Config(gateway=GatewayConfig(public_url=self.origin, base_path=hub.base))
        site = edge_site(
            config,
            certificate=str(certificate.both if together else certificate.file),
            key="" if together else str(certificate.key),
            address="127.0.0.1",
            redirect_port=self.redirect_port,
            gateways=(Gateway(host="127.0.0.1", port=hub.port),),
        )
        text = render(find(name), site)
        self.proxy = Proxy(name, folder, change(text) if change else text, port=self.port).start()

    def at(self, path):
        return f"{self.origin}{self.hub.base}{path}"

    def client(self, *, source="127.0.0.1", token="", **headers):
        """A client over HTTP/1.1, from an address of this machine."""
        given = {"Authorization": f"token {token}"} if token else {}
        transport = httpx.HTTPTransport(verify=self.certificate.context, local_address=source)
        return secret_scan.watch(
            httpx.Client(transport=transport, base_url=self.origin, timeout=300, headers={**given, **headers})
        )

    def arguments(self, *, http3=False):
        """Chromium's, so that it takes the certificate; with QUIC alone for this edge where wanted."""
        given = [each for each in ARGUMENTS if not (http3 and each == "--disable-quic")]
        given.append(f"--ignore-certificate-errors-spki-list={self.certificate.spki}")
        if http3:
            # QUIC to ::1 would be tried first, where nothing listens.
            given += [
                "--host-resolver-rules=MAP localhost 127.0.0.1",
                "--enable-quic",
                f"--origin-to-force-quic-on=localhost:{self.port}",
            ]
        return given

    def sign_in(self, page, user=USER):
        """Sign in with name and password, as a user does."""
        page.goto(self.at("hub/login"))
        page.get_by_label("Username", exact=True).fill(user)
        page.get_by_label("Password", exact=True).fill(SECRET)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/hub/home")

    def stop(self):
        self.proxy.stop()


def chromium(kind, arguments):
    """A Chromium of Playwright's browser type `kind`."""
    return kind.launch(executable_path=shutil.which("chromium"), args=list(arguments))


def encoded(value):
    return msgspec.json.encode(value)


def private_home(monkeypatch, folder):
    """A home for JupyterLab that holds nothing of this machine's."""
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in [name for name in os.environ if re.match(r"JUPYTER_|XDG_|IPYTHON", name)]:
        monkeypatch.delenv(name)
    return folder
