"""What the hubs of a run of the tests have logged, and every secret that the tests came to know: no line may hold one.

Owns: a folder that all processes of the run share (`TOWPATH_TEST_LOGS`), and the look through it. That is done at the
end of the run, when all processes are done (tests/conftest.py), and in tests/security/test_secrets_in_logs.py.
"""

import json
import os
import re
from pathlib import Path

VARIABLE = "TOWPATH_TEST_LOGS"
SHORTEST = 16
"""What is shorter is no secret of ours, and would be found by chance."""


def folder():
    return Path(os.environ[VARIABLE])


def secret(text, what):
    """Remember a secret."""
    if len(text) >= SHORTEST and VARIABLE in os.environ:
        with (folder() / f"{os.getpid()}.secrets").open("a") as file:
            file.write(json.dumps([what, text]) + "\n")


def line(text):
    """Keep a line of a hub's log. The one that prints a sign-in link is for the person who starts the hub."""
    if VARIABLE in os.environ and not text.startswith("Sign in once with: "):
        with (folder() / f"{os.getpid()}.log").open("a") as file:
            file.write(text + "\n")


def watched(client):
    """The client; tickets and tokens that it is given are remembered."""
    client.event_hooks["response"].append(_look)
    return client


def leaks():
    """Which kinds of secrets stand in which lines; how many secrets and how many lines there were."""
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
            secret(found[1], "cookie")
    if response.request.method == "POST" and response.request.url.path.endswith(("/tokens", "/token")):
        response.read()
        for value in re.findall(r'(?:"token": ?"|data-secret>)([A-Za-z0-9_-]{20,})', response.text):
            secret(value, "API token")
