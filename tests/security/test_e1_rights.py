"""Known flaws of other hubs in access rights, each test named after the flaw (table: docs/security.md)."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from hub import ROOT, eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.errors import ConfigError
from state.names import escape, server_path, user_name
from state.settings.loader import load

pytestmark = pytest.mark.timeout(240)


def test_cve_2024_41942_ghsa_9x4q_3gxw_849f_admin_users_alone_cannot_grant_admin_rights(hub):
    dave, carol = hub.browsers["dave"], hub.browsers["carol"]
    assert dave.post("/hub/api/users/newcomer").status_code == 201
    tries = (
        ("PATCH", "/hub/api/users/dave", {"admin": True}),
        ("PATCH", "/hub/api/users/newcomer", {"admin": True}),
        ("PATCH", "/hub/api/users/carol", {"admin": False}),
        ("POST", "/hub/api/users/another", {"admin": True}),
        ("POST", "/hub/api/users", {"usernames": ["another"], "admin": True}),
        ("DELETE", "/hub/api/users/carol", None),
        ("PATCH", "/hub/api/users/dave", {"roles": ["admin"]}),
        ("PATCH", "/hub/api/users/dave", {"groups": ["wheel"]}),
        ("POST", "/hub/api/users/another", {"groups": ["wheel"]}),
        ("POST", "/hub/api/groups/wheel/users", {"users": ["dave"]}),
    )
    for method, path, body in tries:
        answer = dave.request(method, path, json=body)
        assert answer.status_code in {200, 400, 403, 404}, (method, path, body)
        if answer.status_code == 200:
            assert body == {"roles": ["admin"]}, "a field that is not stored is ignored"
    users = {user["name"]: user for user in carol.get("/hub/api/users").json()}
    assert [name for name, user in users.items() if user["admin"]] == ["carol"]
    assert all("wheel" not in user["groups"] for user in users.values())
    assert "another" not in users
    # nor with a token of an admin
    for name in ("carol", "dave"):
        token = dave.post(f"/hub/api/users/{name}/tokens", json={"scopes": ["admin:servers", "shutdown"]})
        assert token.status_code in {400, 403, 404} or not {
            scope for scope in token.json()["scopes"] if scope.startswith(("admin:servers", "shutdown"))
        }
    whole = dave.post("/hub/api/users/carol/tokens", json={})
    if whole.status_code == 201:
        mine = set(dave.get("/hub/api/user").json()["scopes"])
        named = {scope.partition("!")[0] for scope in mine}
        assert {scope.partition("!")[0] for scope in whole.json()["scopes"]} <= named
    carol.delete("/hub/api/users/newcomer")


def test_ghsa_69wv_m5fw_2fhp_a_group_filter_applies_to_creating_users_too(hub):
    """Erin has admin:users, admin:servers and tokens, each only for the group physics."""
    erin, carol = hub.browsers["erin"], hub.browsers["carol"]
    assert carol.post("/hub/api/users/pupil", json={"groups": ["physics"]}).status_code == 201
    try:
        refused = (
            ("POST", "/hub/api/users/newcomer", {}),
            ("POST", "/hub/api/users", {"usernames": ["newcomer"]}),
            ("PATCH", "/hub/api/users/bob", {"groups": ["physics"]}),
            ("DELETE", "/hub/api/users/bob", None),
            ("POST", "/hub/api/users/bob/server", {}),
            ("PUT", "/hub/api/users/bob/servers/x", {}),
            ("POST", "/hub/api/users/bob/tokens", {}),
            ("GET", "/hub/api/users/bob/tokens", None),
            ("PATCH", "/hub/api/users/erin", {"groups": ["physics", "wheel"]}),
        )
        for method, path, body in refused:
            assert erin.request(method, path, json=body).status_code in {403, 404}, (method, path)
        assert carol.get("/hub/api/users/newcomer").status_code == 404
        assert carol.get("/hub/api/users/bob").json()["groups"] == []
        assert carol.get("/hub/api/users/bob").json()["servers"] == {}
        assert erin.get("/hub/api/users/pupil").status_code == 200
        assert erin.put("/hub/api/users/pupil/servers/x", json={}).status_code == 201
    finally:
        carol.delete("/hub/api/users/pupil")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON, JSON, JSON)
def test_ghsa_hx46_2cv3_mh6g_invalid_options_are_rejected_without_a_server_error(hub, one, other, whole):
    alice = hub.browsers["alice"]
    for body in (
        whole,
        {"user_options": one, "profile": other},
        {"profile": "notebooks", "user_options": {"text": one, "number": other}},
    ):
        try:
            raw = json.dumps(body)
        except (ValueError, UnicodeEncodeError):
            continue
        answer = alice.put(
            "/hub/api/users/alice/servers/fuzz",
            content=raw.encode(errors="surrogatepass"),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in {201, 400, 409}, answer.text
        if answer.status_code == 201:
            assert (
                alice.request("DELETE", "/hub/api/users/alice/servers/fuzz", json={"remove": True}).status_code == 204
            )


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"user_options": ' + b"9" * 100_000 + b"}",
        b"\xff\xfe",
        b'"' + b"a" * 900_000 + b'"',
        b'{"user_options": {"number": 1e999}}',
        b'{"user_options": {"text": "\\ud800"}}',
    ],
)
def test_ghsa_hx46_2cv3_mh6g_an_invalid_body_is_rejected_without_a_server_error(hub, raw):
    alice = hub.browsers["alice"]
    answer = alice.post("/hub/api/users/alice/servers/fuzz", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 413}, answer.text
    assert httpx.get(f"{hub.origin}/hub/health").status_code == 200


NAMES = (
    "../root",
    "a/b",
    "a%2Fb",
    "<script>",
    '"><img src=x>',
    "a b",
    "a\nb",
    "a?b",
    "a#b",
    ".",
    "..",
    "-rf",
    "é",
    "a\u202eb",
    "a" * 65,
    "",
    "%00",
    "a;b",
    "a&b",
    "a'b",
    "*",
)


@pytest.mark.parametrize("name", NAMES)
def test_ghsa_93gc_h923_mp36_ghsa_x7xh_7hc7_9436_names_that_need_escaping_are_rejected(hub, name):
    carol = hub.browsers["carol"]
    answer = carol.post("/hub/api/users", json={"usernames": [name]})
    assert answer.status_code == 400, answer.text
    assert "<script>" not in answer.text
    assert carol.post(f"/hub/api/users/{escape(name)}").status_code in {400, 404, 405}
    assert carol.patch("/hub/api/users/bob", json={"name": name}).status_code == 400, "users cannot be renamed"
    if name not in {"", "é", ".", ".."}:
        started = hub.browsers["alice"].post(f"/hub/api/users/alice/servers/{escape(name)}", json={})
        assert started.status_code in {400, 404}, started.text


def test_ghsa_93gc_h923_mp36_a_servers_display_name_is_escaped(hub):
    alice = hub.browsers["alice"]
    hostile = '<script>alert("x")</script>'
    made = alice.put("/hub/api/users/alice/servers/shown", json={"display_name": hostile, "profile": "mirror"})
    assert made.status_code == 201
    page = alice.get("/hub/home").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    alice.request("DELETE", "/hub/api/users/alice/servers/shown", json={"remove": True})


@pytest.mark.parametrize("asked", [86401, 10**9, -1, 0, 10**30, None])
def test_ghsa_pvm9_48cg_w76j_the_maximum_token_lifetime_is_enforced(hub, asked):
    """`token_lifetime_max` is one day: more is rejected or reduced, none or 0 is the maximum, negative is rejected."""
    alice = hub.browsers["alice"]
    answer = alice.post("/hub/api/users/alice/tokens", json={"expires_in": asked})
    if answer.status_code == 201:
        from datetime import datetime

        made = answer.json()
        lives = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created"])
        assert 0 < lives.total_seconds() <= 86401
    else:
        assert answer.status_code == 400
    assert answer.status_code == 400 or not asked or asked > 0


def test_ghsa_r764_xgvf_jrfj_admin_names_are_normalised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spelling in ("Carol", "\uff23\uff21\uff32\uff2f\uff2c", " carol", "carol\u200b"):
        (tmp_path / "towpath.toml").write_text(f'[auth]\nadmins = ["{spelling}"]\n')
        with pytest.raises(ConfigError) as caught:
            load(None, tmp_path / "data", environment={})
        assert any(fault.key == "auth.admins" for fault in caught.value.faults)
    assert {user_name(spelling) for spelling in ("Carol", "\uff23\uff21\uff32\uff2f\uff2c", "carol ")} == {"carol"}


DROP = """
import asyncio, sys
from batch.contract import LauncherError
from batch.launchers.slurm.clients.commands import run
from batch.launchers.slurm.identity import Identity
nobody = Identity(name="x", uid=65000, gid=65000, groups=(65000,), home="/", shell="/bin/sh")
try:
    asyncio.run(run(["/bin/sh", "-c", "id; touch " + sys.argv[1]], environment={"PATH": "/usr/bin:/bin"}, seconds=30, become=nobody))
except LauncherError as error:
    print("refused:", error.code)
"""


def test_ghsa_5jhc_4h3c_q97h_no_command_runs_when_groups_cannot_be_dropped(tmp_path):
    """Root without CAP_SETGID, as in many containers, could change the user id but not drop root's groups."""
    setpriv = shutil.which("setpriv")
    assert setpriv, "util-linux has it"
    way = [setpriv, "--bounding-set=-setgid", "--inh-caps=-setgid"] if os.geteuid() == 0 else []
    mark = tmp_path / "ran"
    done = subprocess.run(
        [*way, sys.executable, "-c", DROP, str(mark)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.stdout == "refused: config\n", done.stderr
    assert not mark.exists()


SHARED = '[[cluster]]\nname = "local"\nkind = "local"\nisolation = "none"\n'
BASE = '[auth]\nallowed_users = ["alice"]\n'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[auth]\nwhitelist = ["alice"]\n', "auth.whitelist"),
        ('[auth]\nallowed_user = ["alice"]\n', "auth.allowed_user"),
        (
            BASE + '[[auth.provider]]\nname = "g"\nkind = "oidc"\ngitlab_group_whitelist = ["x"]\n',
            "auth.provider[1].gitlab_group_whitelist",
        ),
        ("[gateway]\nadmin_access = true\n", "gateway.admin_access"),
        ('[[profile]]\nname = "p"\ncluster = "local"\nallowed_images = []\n', "profile[1].allowed_images"),
    ],
)
def test_ghsa_384w_5v3f_q499_cve_2018_7206_an_unknown_key_is_a_configuration_error(tmp_path, monkeypatch, text, key):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "towpath.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(None, tmp_path / "data", environment={})
    assert key in {fault.key for fault in caught.value.faults}


@pytest.mark.parametrize("lists", ["", "allowed_users = []\nadmins = []\n"])
def test_cve_2023_48311_a_hub_that_allows_no_user_does_not_start(tmp_path, monkeypatch, lists):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "towpath.toml").write_text(f'[auth]\n{lists}[[auth.provider]]\nname = "test"\nkind = "test"\n{SHARED}')
    with pytest.raises(ConfigError):
        load(None, tmp_path / "data", environment={})


def test_cve_2021_41194_a_name_cannot_be_claimed_by_asking_for_it(hub):
    """There is no sign-up: an unknown name cannot be claimed, and a known one needs its provider."""
    for fields in (
        {"provider": "test", "username": "nobody-yet"},
        {"provider": "test", "username": "alice", "password": "mine", "provider ": "x"},
        {"username": "alice", "password": "mine"},
    ):
        answer = httpx.post(
            f"{hub.origin}/hub/login",
            data={**fields, **({"username": "mallory"} if fields.get("username") == "alice" else {})},
            headers={"Origin": hub.origin},
        )
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
    for path in ("/hub/signup", "/hub/reset-password", "/hub/change-password", "/hub/authorize/alice"):
        assert httpx.post(f"{hub.origin}{path}", headers={"Origin": hub.origin}).status_code in {404, 405}


USERS = st.from_regex(r"[a-z0-9_][a-z0-9_.@+-]{0,20}", fullmatch=True)
SERVERS = st.just("") | st.from_regex(r"[a-z](-?[a-z0-9]){0,10}", fullmatch=True)


@given(USERS, SERVERS, USERS, SERVERS)
def test_cve_2020_15110_two_servers_never_share_a_path_or_key(user, server, other, another):
    from state.names import server_key
    from state.store import keys

    if (user, server) == (other, another):
        return
    assert server_path("/", user, server) != server_path("/", other, another)
    assert server_key(user, server) != server_key(other, another)
    assert (keys.servers(user), server) != (keys.servers(other), another)


def test_cve_2020_26261_files_of_jobs_are_private_and_secrets_are_not_in_arguments(hub):
    """No folder or file of the hub and its jobs is accessible to other users."""
    for path in (hub.data_dir, *hub.data_dir.rglob("*")):
        if path.is_symlink():
            continue
        try:
            mode = stat.S_IMODE(path.lstat().st_mode)
        except FileNotFoundError:
            continue
        inside = any(
            parent != hub.data_dir and stat.S_IMODE(parent.stat().st_mode) & 0o077 == 0
            for parent in path.parents
            if hub.data_dir in parent.parents
        )
        assert mode & 0o077 == 0 or inside, (path, oct(mode))
    assert stat.S_IMODE(hub.data_dir.stat().st_mode) == 0o700
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(hub.data_dir).encode() in line:
                assert not re.search(rb"(?i)(token|secret|password)[= ][A-Za-z0-9_-]{20,}", line)


def test_batchspawner_mass_assignment_a_report_with_a_wrong_token_changes_nothing(hub):
    """Fields of the server's record in a report are ignored (batchspawner set any attribute that was posted)."""
    before = hub.browsers["alice"].get("/hub/api/users/alice").json()["servers"][""]
    word = {
        "user": "alice",
        "server": "",
        "attempt": "0" * 32,
        "kind": "ready",
        "endpoint": {"kind": "tcp", "host": "192.0.2.1", "port": 1, "name": "x"},
        "credential": "token mine",
        "target": "stopped",
        "status": "failed",
        "owner": "mallory",
        "cluster": "other",
    }
    for token in ("nonsense", "x" * 64, "0"):
        answer = httpx.post(
            f"{hub.origin}/hub/api/towpath/report",
            json=word,
            headers={"Authorization": f"token {token}", "Origin": hub.origin},
        )
        assert answer.status_code in {400, 401, 403, 404, 409}
    assert hub.browsers["alice"].get("/hub/api/users/alice").json()["servers"][""] | {"last_activity": 0} == before | {
        "last_activity": 0
    }


def test_batchspawner_mass_assignment_unknown_fields_of_a_report_are_ignored():
    import msgspec

    from portal.servers.report_messages import Report

    word = {
        "user": "alice",
        "server": "",
        "attempt": "0" * 32,
        "kind": "running",
        "node": "cn1",
        "credential": "mine",
        "status": "ready",
        "fence": 99,
    }
    read = msgspec.json.decode(json.dumps(word).encode(), type=Report)
    assert set(msgspec.structs.asdict(read)) == {
        "user",
        "server",
        "attempt",
        "restart",
        "node",
        "native_id",
        "ends",
        "log",
        "takeover",
    }


@pytest.mark.parametrize("secret", ["changeme", "secret", "client-secret", "password", ""])
def test_cve_2026_55171_a_well_known_secret_is_a_configuration_error(tmp_path, monkeypatch, secret):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "towpath.toml").write_text(
        BASE
        + f'[[auth.provider]]\nname = "campus"\nkind = "oidc"\n[auth.provider.oidc]\nissuer = "https://idp.example.edu"\nclient_id = "hub"\nclient_secret = "{secret}"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(None, tmp_path / "data", environment={})
    assert any("client_secret" in fault.key for fault in caught.value.faults)
    assert (
        secret == ""
        or secret not in str(caught.value).replace("client_secret", "").replace("client-secret", "").lower()
        or len(secret) < 16
    )


def test_cve_2026_55172_an_open_data_directory_is_closed_and_one_of_another_user_is_refused(tmp_path):
    ours = tmp_path / "open"
    ours.mkdir()
    ours.chmod(0o777)
    assert stat.S_IMODE(load(None, ours, environment={}).data_dir.stat().st_mode) == 0o750
    if os.geteuid() == 0:
        base = Path(tempfile.mkdtemp(prefix="towpath-"))
        base.chmod(0o755)
        anothers = base / "anothers"
        anothers.mkdir()
        anothers.chmod(0o777)
        os.chown(anothers, 65000, 65000)
        with pytest.raises(ConfigError, match="other accounts can access"):
            load(None, anothers, environment={})
        code = (
            "import sys; from state.settings.loader import _close; from pathlib import Path; _close(Path(sys.argv[1]))"
        )
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import os; from pathlib import Path; import state.settings.loader; os.setgid(65001); os.setuid(65001); {code}",
                str(anothers),
            ],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
        )
        shutil.rmtree(base)
        assert "belongs to another account" in done.stderr


def test_cve_2026_55169_cve_2025_58435_an_apps_credential_is_new_at_each_start_and_never_logged(hub):
    """The secret that the hub sends to a Jupyter server is never sent to the browser, and changes at each start."""
    alice = hub.browsers["alice"]
    seen = set()
    for _ in range(2):
        told = alice.get("/user/alice/notes/api").json()["head"]
        credential = re.search(r"(?i)\r\nauthorization: token (\S+)\r\n", told)[1]
        seen.add(credential)
        assert credential not in alice.get("/hub/api/users/alice?include_stopped_servers=1").text
        assert not any(credential in line for line in hub.output)
        alice.delete("/hub/api/users/alice/servers/notes")
        eventually(lambda: alice.get("/hub/api/users/alice/servers/notes").json()["stopped"], what="its end")
        assert alice.post("/hub/spawn/alice/notes", data={"profile": "notebooks"}).status_code == 303
        eventually(lambda: "authorization: token" in alice.get("/user/alice/notes/").text.lower(), what="a start")
    assert len(seen) == 2


def test_cve_2025_53636_a_long_log_is_truncated_before_it_is_stored():
    from portal.servers.report_messages import LOG_TAIL_MAX, Ended, reason_of
    from tests.batch.launchers.slurm.making import record

    reason = reason_of(
        record(), Ended(user="alice", server="lab", attempt="0" * 32, exit_code=1, log_tail="x" * 10**6)
    )[1]
    assert len(reason.log_tail) <= LOG_TAIL_MAX


def test_ghsa_xcv4_m435_m33h_a_hostile_file_name_is_escaped():
    """The app's log, for example with a file name, is escaped on the page of a failed start."""
    from portal.site.site import Look
    from state.config.tables import Config

    pages = Look(Config(), "0", time.time)._templates
    shown = pages.from_string('{% from "macros.html" import log %}{{ log(server) }}').render(
        server={
            "reason": {"log_tail": "<img src=x onerror=alert(1)>.ipynb"},
            "log": "<img>",
            "node": "<img>",
            "job": "",
            "job_id": "",
            "status": "failed",
        }
    )
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_cve_2025_62724_cve_2026_26002_static_files_cannot_be_read_outside_their_folder(hub):
    for path in (
        "/hub/static/x/../../../../etc/passwd",
        "/hub/static/x/%2e%2e%2fetc%2fpasswd",
        "/hub/static/x/..%5c..%5cetc",
        "/hub/static//etc/passwd",
        "/hub/static/x/towpath.css%00.html",
    ):
        answer = hub.ask(path)
        assert b"root:" not in answer
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")), answer[:80]


@pytest.mark.parametrize(
    "value",
    [
        "$(touch canary)",
        "`touch canary`",
        "x\n#SBATCH --uid=0",
        "x; touch canary",
        "--wrap=id",
        "x y",
        "'",
        '"',
        "x\x00y",
        "${HOME}",
        "\\",
        "%j",
        "a\rb",
    ],
)
@pytest.mark.parametrize("field", ["partition", "account", "qos", "reservation", "constraint", "gpu_type"])
def test_ghsa_cfw7_6c5v_2wjq_a_hostile_form_value_cannot_inject_into_the_job_script(field, value):
    from batch.contract import LauncherError, Resources
    from batch.launchers.slurm.script import batch
    from tests.batch.launchers.slurm.making import ALICE, job

    try:
        text = batch(job(resources=Resources(**{field: value, "signal": 60})), ALICE, comment="c", starter="").text
    except LauncherError as error:
        assert not error.transient
        return
    lines = [line for line in text.split("\n") if line.startswith("#SBATCH")]
    assert not any("--uid" in line for line in lines)
    assert "canary" not in text


@pytest.mark.parametrize(
    "value", ["$(touch canary)", "`touch canary`", "x\n#SBATCH --uid=0", "'; touch canary; '", "\x1b]0;x\x07"]
)
def test_enterprise_gateway_shell_injection_a_hostile_argument_is_not_interpreted_by_a_shell(tmp_path, value):
    from batch.launchers.slurm.script import batch
    from tests.batch.launchers.slurm.making import ALICE, job

    script = tmp_path / "script"
    script.write_text(
        batch(
            job(command=("/bin/echo", value, "{socket}"), environment={"X": value}),
            ALICE,
            comment="c",
            starter="import sys",
        ).text
    )
    subprocess.run(
        ["/bin/bash", script],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        timeout=60,
        capture_output=True,
    )
    assert not list(tmp_path.rglob("canary"))
