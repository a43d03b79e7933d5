"""Collects the log lines of all hubs in a test run and all secrets that the tests know: no line may contain a secret.

Owns a folder that all processes of the run share (`TOWPATH_TEST_LOGS`), and the scan. It runs at the end of the run, when
all processes have finished (tests/conftest.py), and in tests/security/test_secrets_in_logs.py.
"""

import json
import os
import re
from pathlib import Path

VARIABLE = "TOWPATH_TEST_LOGS"
SHORTEST = 16
"""Minimum length: shorter texts are not the hub's secrets and would be found by chance."""


def folder():
    return Path(os.environ[VARIABLE])


def add_secret(text, what):
    """Record a secret and its kind."""
    if len(text) >= SHORTEST and VARIABLE in os.environ:
        with (folder() / f"{os.getpid()}.secrets").open("a") as file:
            file.write(json.dumps([what, text]) + "\n")


def add_line(text):
    """Record a line of a hub's log, except the one with the sign-in link, which is meant for the terminal."""
    if VARIABLE in os.environ and not text.startswith("Sign in once with: "):
        with (folder() / f"{os.getpid()}.log").open("a") as file:
            file.write(text + "\n")


def watch(client):
    """Record the session cookies and tokens that the client receives; return the client."""
    client.event_hooks["response"].append(_look)
    return client


def find_leaks():
    """Return the (kind of secret, line) pairs that were found, the number of secrets, and the number of lines."""
    secrets = {}
    for path in folder().glob("*.secrets"):
        for text in path.read_text().splitlines():
            what, value = json.loads(text)
            secrets[value] = what
    logged = "\n".join(path.read_text() for path in sorted(folder().glob("*.log")))
    found = [(what, _around(logged, value)) for value, what in secrets.items() if value in logged]
    return found, len(secrets), logged.count("\n")


def _around(logged, value):
    at = logged.index(value)
    start, end = logged.rfind("\n", 0, at) + 1, logged.find("\n", at)
    return logged[start:end].replace(value, "<THE SECRET>")[:500]


def _look(response):
    for cookie in response.headers.get_list("set-cookie"):
        if found := re.match(r"(?:__Host-)?towpath-[a-z-]+=([^;]+)", cookie):
            add_secret(found[1], "cookie")
    if response.request.method == "POST" and response.request.url.path.endswith(("/tokens", "/token")):
        response.read()
        for value in re.findall(r'(?:"token": ?"|data-secret>)([A-Za-z0-9_-]{20,})', response.text):
            add_secret(value, "API token")
