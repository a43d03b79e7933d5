"""The hub of the security tests, its users, and requests that are sent byte by byte."""

import socket
import sys
from dataclasses import fields
from pathlib import Path

from hub import ROOT, Hub

from portal.app import Services, create_portal
from state.config.tables import Config
from tests.echo_hub import ECHO, LOCAL

CONFIG = f"""
[auth]
admins = ["carol"]
allowed_users = ["alice", "bob", "dave", "erin"]
token_lifetime_max = 86400

[[auth.provider]]
name = "test"
kind = "test"

[[role]]
name = "keepers"
scopes = ["admin:users", "list:users", "tokens"]
users = ["dave"]

[[role]]
name = "teachers"
scopes = ["admin:users!group=physics", "admin:servers!group=physics", "tokens!group=physics"]
users = ["erin"]

[[role]]
name = "wheel"
scopes = ["admin:users", "admin:servers", "shutdown", "access:servers"]
groups = ["wheel"]
{LOCAL}

[[profile]]
name = "mirror"
cluster = "local"
app = "web"
command = ["{sys.executable}", "{ROOT / "tests/apps/mirror.py"}", "{{socket}}"]
default_path = ""
{ECHO}

[[profile]]
name = "notebooks"
cluster = "local"
app = "jupyter"
command = ["{sys.executable}", "{ROOT / "tests/apps/mirror.py"}", "{{socket}}"]

[profile.option.text]
kind = "text"
default = ""

[profile.option.number]
kind = "integer"
default = 1
minimum = 1
maximum = 4
"""
SERVERS = {"": "mirror", "notes": "notebooks", "echo": "echo"}
"""Alice's servers: name to profile."""
USERS = ("alice", "bob", "carol", "dave", "erin")


class SecurityHub(Hub):
    """A hub with signed-in users: `browsers` maps a user's name to a client."""

    def cookie(self, name):
        """Return the Cookie header of a user's browser."""
        return "; ".join(f"{key}={value}" for key, value in self.browsers[name].cookies.items())

    def send(self, raw, *, seconds=60):
        """Send bytes to the hub unchanged, and return everything until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), seconds) as line:
            line.settimeout(seconds)
            line.sendall(raw)
            answer = b""
            while chunk := line.recv(65536):
                answer += chunk
            return answer

    def ask(self, target, *fields, method="GET", who="alice", body=b""):
        """Send one request with exactly this target, fields and body, and return the raw response."""
        fields = list(fields)
        names = {field.partition(":")[0].lower() for field in fields}
        if "host" not in names:
            fields.insert(0, f"Host: 127.0.0.1:{self.port}")
        if who:
            fields.append(f"Cookie: {self.cookie(who)}")
        head = "\r\n".join((f"{method} {target} HTTP/1.1", *fields, "Connection: close", "", ""))
        return self.send(head.encode("latin-1") + body)


def status(answer):
    """Return the status code of a raw response, or 0."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


PARAMETERS = {
    "name": "alice",
    "server": "notes",
    "token_id": "t1",
    "rest": "x",
    "cluster": "local",
    "status": "404",
}


class Anything:
    """A placeholder for services that no request of these tests reaches."""

    def __getattr__(self, name):
        return Anything()

    def __call__(self, *args, **more):
        return Anything()


def routes():
    """Yield (method, path) of every handler of the portal."""
    given = {field.name: Anything() for field in fields(Services)}
    given |= {"config": Config(), "version": "0", "data_dir": Path("/")}
    for route in create_portal(Services(**given)).routes:
        for method in sorted(route.methods):
            path = route.path
            for part in path.split("/"):
                if part.startswith("{"):
                    path = path.replace(part, PARAMETERS.get(part[1:].partition(":")[0], "x"))
            yield method, path
