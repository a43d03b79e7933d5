"""`towpath import-jupyterhub`, with a database that a real JupyterHub 6.1 has written."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from hub import Hub, apart, eventually, stub_config
from jupyterhub.apps import BIN
from msgspec.structs import replace

from gateway.jupyterhub.importer import ImportCounts, import_plan
from gateway.jupyterhub.plan import plan
from gateway.jupyterhub.source import GroupRow, RoleRow, read
from gateway.serve import valkey
from state.errors import TowpathError
from state.rights.roles import Roles
from state.store.all import Store

pytestmark = pytest.mark.timeout(240)
CONFIG = """
[auth]
admins = ["root2"]
allowed_users = ["alice", "bob"]

[[auth.provider]]
name = "test"
kind = "test"

[[role]]
name = "teachers"
scopes = ["admin:servers!group=physics"]
groups = ["physics"]
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The database file, and the secrets of its tokens."""
    folder = tmp_path_factory.mktemp("jupyterhub")
    path = folder / "jupyterhub.sqlite"
    script = Path(__file__).with_name("database.py")
    done = subprocess.run([BIN / "python", script, path, folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("SECRETS ")]
    return path, json.loads(told.removeprefix("SECRETS "))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("import")
    hub = Hub(folder, config=CONFIG + stub_config(folder)).start()
    hub.admin = hub.browser_of("root2")
    yield hub
    hub.admin.close()
    hub.close()


async def shares_of(hub, owner):
    store = await Store.open(valkey.url(hub.data_dir))
    try:
        return await store.shares.of_owner(owner)
    finally:
        await store.close()


def ask(hub, secret, path="/user"):
    return httpx.get(f"{hub.origin}/hub/api{path}", headers={"Authorization": f"token {secret}"}, timeout=30)


def test_without_apply_everything_is_reported_and_nothing_is_written(hub, database):
    path, secrets = database
    before = path.read_bytes()
    said = hub.command("import-jupyterhub", str(path)).stdout
    for line in (
        "Would be imported:",
        "3 users: 3 new, 0 changed; 1 of them admins",
        "2 groups: 2 new",
        "5 API tokens: 5 new",
        "2 shares: 2 new",
        "user 'dora smith': A username has",
        "user 'ärger': A username has",
        "user root: this is a system account",
        "of bob: it has expired",
        "of bob: it is hashed in 16384 rounds",
        "of dora smith: its owner is not imported",
        "service culler: services are in the configuration",
        "1 named servers: their jobs belong to JupyterHub",
        "1 share codes: only their salted hashes are known",
        'name = "teachers"',
        'users = ["bob"]',
        'groups = ["physics"]',
        "Nothing was written. Repeat with --apply to import.",
    ):
        assert line in said, (line, said)
    assert path.read_bytes() == before
    assert [user["name"] for user in hub.admin.get("/hub/api/users").json()] == ["root2"]
    assert ask(hub, secrets["whole"]).status_code == 403


def test_apply_imports_users_groups_tokens_and_shares(hub, database):
    path, secrets = database
    said = hub.command("import-jupyterhub", str(path), "--apply").stdout
    assert said.startswith("Imported:\n  3 users: 3 new")
    users = {user["name"]: user for user in hub.admin.get("/hub/api/users").json()}
    assert {name: (user["admin"], user["groups"]) for name, user in users.items() if name != "root2"} == {
        "alice": (False, ["physics"]),
        "bob": (False, ["physics"]),
        "carol": (True, []),
    }
    groups = {group["name"]: group for group in hub.admin.get("/hub/api/groups").json()}
    assert groups["physics"]["properties"] == {"quota": 3}
    assert sorted(groups["physics"]["users"]) == ["alice", "bob"]
    shares = apart(shares_of(hub, "alice"))
    assert {share.key: share.scopes for share in shares} == {
        "bob": ("access:servers!server=alice/lab2",),
        "group:physics": ("access:servers!server=alice/lab2",),
    }
    again = hub.command("import-jupyterhub", str(path), "--apply").stdout
    assert "3 users: 0 new, 0 changed" in again
    assert "5 API tokens: 0 new" in again
    assert "2 shares: 0 new" in again


def test_an_imported_token_works_with_its_scopes_and_is_listed(hub, database):
    _, secrets = database
    listed = {token["note"]: token for token in hub.admin.get("/hub/api/users/alice/tokens").json()["api_tokens"]}
    assert set(listed) == {"nightly", "reader", "a week", "to be revoked"}
    assert listed["a week"]["expires_at"] is not None
    # a worker remembers for some seconds that a secret is unknown, and this one was tried before the import
    eventually(lambda: ask(hub, secrets["whole"]).status_code == 200, what="the token")
    for _ in range(2):  # the first use converts the stored hash
        answer = ask(hub, secrets["whole"])
        assert (answer.status_code, answer.json()["name"]) == (200, "alice")
    assert "servers!user=alice" in ask(hub, secrets["whole"]).json()["scopes"]
    narrow = ask(hub, secrets["narrow"]).json()["scopes"]
    assert "read:servers!user=alice" in narrow
    assert not any(scope.startswith(("servers", "tokens", "access")) for scope in narrow)
    assert ask(hub, secrets["mortal"]).status_code == 200
    assert ask(hub, secrets["admins"], "/users").status_code == 200
    after = {token["note"] for token in hub.admin.get("/hub/api/users/alice/tokens").json()["api_tokens"]}
    assert after == set(listed)
    for name in ("expired", "odd", "own"):
        assert ask(hub, secrets[name]).status_code == 403, name


def test_a_revoked_token_stays_revoked_after_another_import(hub, database):
    path, secrets = database
    listed = {token["note"]: token["id"] for token in hub.admin.get("/hub/api/users/alice/tokens").json()["api_tokens"]}
    for note, name in (("to be revoked", "revoked"), ("a week", "mortal")):
        assert hub.admin.delete(f"/hub/api/users/alice/tokens/{listed[note]}").status_code == 204
        assert ask(hub, secrets[name]).status_code == 403
    assert "5 API tokens: 0 new" in hub.command("import-jupyterhub", str(path), "--apply").stdout
    for name in ("revoked", "mortal"):
        assert ask(hub, secrets[name]).status_code == 403
    assert ask(hub, secrets["whole"][:4] + "x" * 28).status_code == 403, "the prefix alone is not enough"


def test_the_import_is_in_the_audit(hub, database):
    acts = [
        entry
        for entry in hub.admin.get("/hub/api/towpath/audit?limit=1000").json()["entries"]
        if "JupyterHub" in entry.get("what", "")
    ]
    assert {entry["act"] for entry in acts} == {"user-added", "token-made", "share-made"}
    assert {entry["by"] for entry in acts} == {"command line"}


def test_a_file_that_is_not_jupyterhubs_database_is_refused_with_a_message(hub, tmp_path):
    text = tmp_path / "text"
    text.write_text("not a database, but as long as the header of one" * 10)
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE users (id, name)")
    other.close()
    for path, message in (
        (text, "SQLite"),
        (tmp_path / "other.sqlite", "not the database of JupyterHub"),
        (tmp_path / "none", "is not a file"),
    ):
        with pytest.raises(TowpathError, match=message):
            read(path)
        done = hub.command("import-jupyterhub", str(path), check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_second_import_changes_nothing_and_a_dry_run_never_does(database, store_url):
    decided = plan(read(database[0]), Roles())

    async def stored(store):
        keys = sorted(await store.redis.call("KEYS", "*"))
        return {key: await store.redis.call("DUMP", key) for key in keys}

    async def main():
        store = await Store.open(store_url)
        try:
            empty = await stored(store)
            expected = ImportCounts(users=3, groups=2, tokens=5, shares=2)
            assert await import_plan(store, decided, write=False) == expected
            assert await stored(store) == empty
            assert await import_plan(store, decided, write=True) == expected
            after = await stored(store)
            for write in (False, True):
                assert await import_plan(store, plan(read(database[0]), Roles()), write=write) == ImportCounts()
                assert await stored(store) == after
        finally:
            await store.close()

    asyncio.run(main())


def older(database, folder, revision, *statements):
    """Return a copy of the database as an earlier JupyterHub had it: JupyterHub's own downgrade, then `statements`."""
    path = folder / f"{revision}.sqlite"
    shutil.copy(database[0], path)
    command = [BIN / "python", Path(__file__).with_name("downgrade.py"), path, revision]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(path)) as changed:
        for statement in statements:
            changed.execute(statement)
        changed.commit()
    return path


# JupyterHub's downgrades work back to 3c2384c5aae1 and fail at the next revision. The head was 4621fec11365 in 5.0 to
# 5.4, and 0eee8c825d24 in 4.x, which had no shares.
FIVE = "4621fec11365"
FOUR = "3c2384c5aae1"
TO_FOUR = (
    "DROP TABLE shares",
    "DROP TABLE share_codes",
    "ALTER TABLE services DROP COLUMN from_config",
    "ALTER TABLE services DROP COLUMN url",
)


def test_a_database_of_jupyterhub_5_is_read_alike(database, tmp_path):
    assert read(older(database, tmp_path, FIVE)) == read(database[0])


def test_a_database_of_jupyterhub_4_is_read_alike_except_for_shares(hub, database, tmp_path):
    path = older(database, tmp_path, FOUR, *TO_FOUR)
    assert read(path) == replace(read(database[0]), shares=(), codes=0)
    said = hub.command("import-jupyterhub", str(path)).stdout
    assert "0 shares: 0 new" in said
    assert "5 API tokens:" in said


@pytest.mark.parametrize(
    ("version", "statement", "lacks"),
    [
        ("2", "ALTER TABLE api_tokens DROP COLUMN scopes", "its table api_tokens has no scopes"),
        ("1", "DROP TABLE roles", "it has no table roles"),
    ],
)
def test_an_older_database_is_refused_with_advice(hub, database, tmp_path, version, statement, lacks):
    path = older(database, tmp_path, FOUR, *TO_FOUR, statement)
    before = path.read_bytes()
    done = hub.command("import-jupyterhub", str(path), "--apply", check=False)
    assert done.returncode == 2, version
    assert f"{path} is not the database of JupyterHub 4, 5 or 6: {lacks}." in done.stderr
    assert "jupyterhub upgrade-db" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert path.read_bytes() == before


def test_roles_that_cannot_be_printed_as_tables_are_reported_as_skipped(database):
    found = read(database[0])
    roles = [replace(role, scopes=("self", "shares!user")) if role.name == "user" else role for role in found.roles]
    unheld = RoleRow(name="sweeps", description="", scopes=("delete:servers",))
    wheel = GroupRow(name="wheel", properties={}, roles=("admin",))
    decided = plan(replace(found, roles=(*roles, unheld), groups=(*found.groups, wheel)), Roles())
    skipped = {one.entry: one.reason for one in decided.skipped}
    assert skipped["role sweeps"] == "no imported user or group has it"
    assert skipped["role admin of the group wheel"] == "here a provider's admin_groups gives a group the admin right"
    assert '[[role]]\nname = "user"\nscopes = ["self", "shares!user"]' in decided.roles
    assert "sweeps" not in decided.roles
    assert 'name = "user"' not in plan(found, Roles()).roles


def test_running_servers_and_sign_in_states_are_reported_as_skipped(database):
    decided = plan(replace(read(database[0]), running=2, auth_states=1), Roles())
    skipped = {one.entry: one.reason for one in decided.skipped}
    assert skipped["2 running servers"] == "they belong to JupyterHub until it stops them"
    assert skipped["1 sign-in states"] == "only JupyterHub can decrypt them; users sign in again"
    assert (
        not {one.entry for one in plan(read(database[0]), Roles()).skipped}
        & skipped.keys()
        & {
            "2 running servers",
            "1 sign-in states",
        }
    )


def test_the_hash_format_is_jupyterhubs():
    from state.store.imported import Hashed

    digest = hashlib.sha512(b"salt" + b"secret" * 3).hexdigest()
    assert Hashed.read(f"sha512:3:salt:{digest}", "secr").fits("secret")
    assert not Hashed.read(f"sha512:3:salt:{digest}", "secr").fits("secrets")
    for odd in ("", "sha512:1:salt", "md5:1:a:b", "sha512:x:a:b", "sha512:-1:a:b", "sha512:100000:a:b"):
        assert Hashed.fault(odd, "abcd")
