"""The tokens of a sign-in at a real provider: kept encrypted, handed over by hooks, refreshed, and not kept unasked."""

import sys
from contextlib import contextmanager

import httpx
import pytest
import secret_scan
from campus import Browser, Campus
from hub import ROOT, Hub, eventually
from ports import free_port

pytestmark = pytest.mark.timeout(240)
KEY = "0123456789abcdef0123456789abcdef"
VARIABLES = ("BY_PROGRAM", "BY_PYTHON", "BY_BLIND")

PROGRAM = f"""#!{sys.executable}
import json, sys
state = json.load(sys.stdin)["auth_state"]
token = "none" if state is None else state["access_token"]
assert state is None or (sorted(state) == ["access_token", "claims", "id_token"] and state["claims"]["sub"] == "alice")
json.dump({{"job": {{"environment": {{"BY_PROGRAM": token}}}}}}, sys.stdout)
"""
PACKAGE = """
from msgspec import Struct
from state.plugins.hooks import HookKind

class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    variable: str

def kind(name):
    return HookKind(name=name, run="campus_hook:hand_over", options=Options, events=frozenset({"before-submit"}))

TOKEN, BLIND = kind("campus_token"), kind("campus_blind")

def hand_over(options, event):
    from batch.hooks.contract import HookChanges, JobChanges
    token = "none" if event.auth_state is None else event.auth_state["access_token"]
    return HookChanges(job=JobChanges(environment={options.variable: token}))
"""
APP = """
import os, sys
from pathlib import Path
lines = [f"{name}={os.environ.get(name, '')}" for name in sys.argv[3].split(",")]
new = Path(sys.argv[2] + ".new")
new.write_text("\\n".join(lines))
new.rename(sys.argv[2])
os.execv(sys.executable, [sys.executable, sys.argv[4], sys.argv[1]])
"""


class TokenHub(Hub):
    """A hub with the campus as its provider, whose hooks hand over the access token."""

    def __init__(self, folder, campus_of):
        port = free_port()
        self.campus = campus_of(f"http://127.0.0.1:{port}")
        super().__init__(folder, config="[[auth.provider]]")
        self.port = port
        self.told = folder / "told"
        self.packages = folder / "packages"
        (folder / "app.py").write_text(APP)
        program = folder / "hooks/before-submit/10-token"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
        info = self.packages / "campus_hook-1.dist-info"
        info.mkdir(parents=True)
        (self.packages / "campus_hook.py").write_text(PACKAGE)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: campus-hook\nVersion: 1\n")
        (info / "entry_points.txt").write_text(
            "[towpath.hooks]\ncampus_token = campus_hook:TOKEN\ncampus_blind = campus_hook:BLIND\n"
        )

    def environment(self):
        return {**super().environment(), "PYTHONPATH": f"{ROOT}:{self.packages}"}

    def configure(self, *, kept, oidc=""):
        self.config.write_text(f"""
[auth]
auth_state_key = "{KEY}"
allowed_users = ["alice"]
{self.campus.config(more="auth_state = true" if kept else "", oidc=oidc)}
[[hook]]
kind = "executables"
auth_state = true
[hook.executables]
folder = "{self.folder}/hooks"

[[hook]]
kind = "campus_token"
auth_state = true
[hook.campus_token]
variable = "BY_PYTHON"

[[hook]]
kind = "campus_blind"
[hook.campus_blind]
variable = "BY_BLIND"

[[cluster]]
name = "local"
kind = "local"
isolation = "none"

[[profile]]
name = "echo"
cluster = "local"
app = "web"
command = ["{sys.executable}", "{self.folder}/app.py", "{{socket}}", "{self.told}", "{",".join(VARIABLES)}", "{ROOT}/tests/apps/echo.py"]
default_path = ""
""")
        return self

    def hand_over(self, browser):
        """Start alice's server, stop it again, and return what the hooks gave it."""
        self.told.unlink(missing_ok=True)
        assert browser.post("/hub/api/users/alice/server", json={}).status_code == 202
        eventually(self.told.exists, what="the app")
        found = dict(line.split("=", 1) for line in self.told.read_text().splitlines())
        self.told.unlink()
        browser.delete("/hub/api/users/alice/server")
        eventually(lambda: not browser.get("/hub/api/users/alice").json()["servers"], what="its end")
        for token in set(found.values()) - {"none"}:
            secret_scan.add_secret(token, "an access token")
        return found

    def kept(self):
        return self.ask_store("EXISTS", "towpath:{u:alice}:auth-state") == b":1\r\n"

    def files(self):
        """Return everything that the hub has written, except the job's own folder, which is its user's."""
        for path in [*(self.data_dir / "valkey").rglob("*"), *self.data_dir.glob("*.log")]:
            if path.is_file():
                yield path, path.read_bytes()


@pytest.fixture
def hub(tmp_path):
    made = []

    def campus_of(origin):
        made.append(Campus(("hub", origin)).start())
        return made[-1]

    hub = TokenHub(tmp_path, campus_of)
    yield hub
    hub.close()
    for campus in made:
        campus.stop()


@contextmanager
def signed_in(hub):
    """Return alice's browser, signed in at the campus."""
    with Browser(hub.origin, base_url=hub.origin) as browser:
        assert browser.at_campus("/hub/home", "alice").status_code == 200
        browser.headers.update({"Origin": hub.origin, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"})
        yield browser


def subject(campus, token):
    """Return whom the provider takes the bearer for."""
    return httpx.get(f"{campus.issuer}/me", headers={"Authorization": f"Bearer {token}"}).json().get("sub")


def test_hooks_hand_over_the_providers_token_which_is_refreshed_and_never_stored_in_the_clear(hub):
    hub.configure(kept=True, oidc="refresh = 1").start()
    with signed_in(hub) as browser:
        first = hub.hand_over(browser)
        token = first["BY_PROGRAM"]
        assert subject(hub.campus, token) == "alice"
        assert first == {"BY_PROGRAM": token, "BY_PYTHON": token, "BY_BLIND": "none"}
        assert hub.kept()

        def refreshed():
            return next((given for given in [hub.hand_over(browser)] if given["BY_PYTHON"] != token), None)

        later = eventually(refreshed, what="a refreshed token")
        assert subject(hub.campus, later["BY_PYTHON"]) == "alice"
        tokens = {token, later["BY_PYTHON"], later["BY_PROGRAM"]}
        for path, content in hub.files():
            for one in tokens:
                assert one.encode() not in content, path
        assert not [line for line in hub.output if any(one in line for one in tokens)]


def test_without_a_provider_that_keeps_tokens_hooks_get_none_and_what_was_kept_is_removed(hub):
    hub.configure(kept=True, oidc="refresh = 0").start()
    with signed_in(hub) as browser:
        assert hub.hand_over(browser)["BY_PYTHON"] != "none"
        hub.stop()
        hub.configure(kept=False, oidc="refresh = 0").start()
        assert hub.kept()  # from before
        assert hub.hand_over(browser) == dict.fromkeys(VARIABLES, "none")
    with signed_in(hub) as browser:
        assert not hub.kept()
        assert hub.hand_over(browser) == dict.fromkeys(VARIABLES, "none")


def test_a_hub_that_never_keeps_tokens_stores_none(hub):
    hub.configure(kept=False).start()
    with signed_in(hub) as browser:
        assert hub.hand_over(browser) == dict.fromkeys(VARIABLES, "none")
        assert not hub.kept()


def test_kept_tokens_are_encrypted(hub):
    hub.configure(kept=True).start()
    with signed_in(hub) as browser:
        token = hub.hand_over(browser)["BY_PYTHON"]
        stored = hub.ask_store("GET", "towpath:{u:alice}:auth-state")
        assert len(stored) > len(token)
        assert token.encode() not in stored
        assert b"access_token" not in stored
