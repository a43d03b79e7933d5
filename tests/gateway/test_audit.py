"""The audit on a real hub: each event is recorded once, shown to the users concerned, and exported without a gap."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import threading
import time

import httpx
import pytest
from hub import Hub, children, eventually, stub_config

from gateway.serve import valkey
from state.records.audit import Act, Entry
from state.store.all import Store

pytestmark = pytest.mark.timeout(240)

CONFIG = """
[auth]
admins = ["carol"]
allowed_users = ["alice", "bob"]

[[auth.provider]]
name = "test"
kind = "test"

[audit]
file = "{folder}/audit.jsonl"
syslog = "unix://{folder}/log.sock"
"""


class Log:
    """A syslog daemon's socket."""

    def __init__(self, path):
        self.path = path
        self.messages = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while True:
            message = self._socket.recv(65536)
            if not message:
                return
            self.messages.append(message.decode())

    def ids(self):
        return [re.search(r' id="([0-9-]+)"', message)[1] for message in list(self.messages)]

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.connect(str(self.path))
            last.send(b"")
        self._thread.join(10)
        self._socket.close()
        self.path.unlink()


@pytest.fixture(scope="module")
def hub(tmp_path_factory, short_folder):
    folder = tmp_path_factory.mktemp("audit")
    there = short_folder / "audit"
    there.mkdir()
    log = Log(there / "log.sock")
    hub = Hub(folder, config=CONFIG.format(folder=there) + stub_config(folder), workers=2)
    hub.log, hub.there = log, there
    hub.start()
    hub.browsers = {name: hub.browser_of(name) for name in ("alice", "bob", "carol")}
    alice = hub.browsers["alice"]
    assert alice.post("/hub/spawn/alice", data={"profile": "stub"}).status_code == 303
    eventually(lambda: alice.get("/hub/api/users/alice/server").json()["ready"], what="alice's server")
    yield hub
    alice.delete("/hub/api/users/alice/server")
    eventually(lambda: alice.get("/hub/api/users/alice/server").json()["stopped"], what="the end of the server")
    for client in hub.browsers.values():
        client.close()
    hub.close()
    hub.log.close()


def entries(hub, **filters):
    answer = hub.browsers["carol"].get("/hub/api/towpath/audit", params={"limit": 1000, **filters})
    assert answer.status_code == 200, answer.text
    return answer.json()["entries"]


def written(hub):
    whole = (hub.there / "audit.jsonl").read_text()
    return [json.loads(text) for text in whole[: whole.rfind("\n") + 1].splitlines()]


def stored(hub, work):
    async def with_store():
        store = await Store.open(valkey.url(hub.data_dir))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(with_store())


def test_a_sign_in_is_recorded_with_user_provider_session_and_address(hub):
    (entry,) = entries(hub, act="sign-in", who="bob", outcome="done")
    session = hub.browsers["bob"].get("/hub/api/user").json()["session_id"]
    assert entry["by"] == f"session {session}"
    assert (entry["address"], entry["user"], entry["what"]) == ("127.0.0.1", "bob", "test")


def test_a_rejected_sign_in_is_recorded_once_a_minute_without_invalid_names(hub):
    for _ in range(5):
        for name in ("mallory", "hunter2 is my password", "x\r\nfake=1"):
            fields = {"provider": "test", "username": name}
            assert httpx.post(f"{hub.origin}/hub/login", data=fields, headers={"Origin": hub.origin}).status_code == 403
    found = entries(hub, act="sign-in", outcome="refused")
    assert sorted(entry.get("who", "") for entry in found) == ["", "mallory"]
    assert {entry["why"] for entry in found} == {"Choose one of the names."}


def test_tokens_are_recorded_by_id_and_never_by_secret(hub):
    alice = hub.browsers["alice"]
    made = alice.post("/hub/api/users/alice/tokens", json={"note": "nightly", "scopes": ["read:servers!user"]}).json()
    assert alice.delete(f"/hub/api/users/alice/tokens/{made['id']}").status_code == 204
    (revoked,) = entries(hub, act="token-revoked")
    issued = next(entry for entry in entries(hub, act="token-made") if made["id"] in entry["what"])
    assert "nightly" in issued["what"]
    assert (revoked["what"], revoked["user"]) == (f"token {made['id']}", "alice")
    assert made["token"] not in json.dumps(entries(hub))
    hub.command("token", "bob")
    assert [entry["by"] for entry in entries(hub, act="token-made", user="bob")] == ["command line"]


def test_use_by_an_admin_is_recorded_once_and_use_by_the_owner_is_not(hub):
    alice, carol = hub.browsers["alice"], hub.browsers["carol"]
    for _ in range(20):
        assert alice.get("/user/alice/hello").status_code == 200
        assert carol.get("/user/alice/hello").status_code == 200
    (entry,) = eventually(lambda: entries(hub, act="server-access", outcome="done"), what="the entry")
    assert (entry["who"], entry["user"], entry["server"], entry["address"]) == ("carol", "alice", "", "127.0.0.1")


def test_attempts_to_use_another_users_server_are_recorded_as_refused(hub):
    for _ in range(5):
        assert hub.browsers["bob"].get("/user/alice/hello").status_code == 403
        assert hub.browsers["bob"].get("/hub/api/users/alice/server").status_code == 404
    refused = eventually(lambda: entries(hub, outcome="refused", who="bob"), what="the entries")
    eventually(lambda: len(entries(hub, outcome="refused", who="bob")) == 2, what="both entries")
    refused = {entry["act"]: entry for entry in entries(hub, outcome="refused", who="bob")}
    assert (refused["server-access"]["user"], refused["server-access"]["server"]) == ("alice", "")
    assert refused["request"]["what"] == "GET /hub/api/users/alice/server"


def test_starts_and_changes_of_users_by_an_admin_are_recorded(hub):
    (start,) = entries(hub, act="server-start", user="alice")
    assert (start["who"], start["server"], start["what"]) == ("alice", "", "stub")
    carol = hub.browsers["carol"]
    assert carol.post("/hub/api/users/dora").status_code == 201
    assert carol.patch("/hub/api/users/dora", json={"admin": True, "groups": ["staff"]}).status_code == 200
    assert carol.delete("/hub/api/users/dora").status_code == 204
    told = [(entry["act"], entry.get("what", "")) for entry in entries(hub, user="dora")]
    assert told == [("user-removed", ""), ("user-changed", "is an admin now, groups: staff"), ("user-added", "")]


def test_a_sign_out_is_recorded(hub):
    client = hub.browser_of("bob")
    session = client.get("/hub/api/user").json()["session_id"]
    client.post("/hub/logout")
    client.close()
    assert [entry["by"] for entry in entries(hub, act="sign-out", who="bob")] == [f"session {session}"]


def test_the_end_of_a_server_is_recorded_with_its_reason(hub):
    alice = hub.browsers["alice"]
    assert alice.post("/hub/api/users/alice/servers/broken", json={"profile": "exits"}).status_code == 202
    (entry,) = eventually(lambda: entries(hub, act="server-ended", server="broken"), what="its end")
    assert (entry["by"], entry["what"]) == ("the job", "failed")
    assert entry["why"]


def test_users_see_who_used_their_servers_but_not_the_address(hub):
    alice = hub.browsers["alice"]
    page = alice.get("/hub/home").text
    assert "Activity by others" in page
    assert "<strong>carol</strong> used a server" in page
    mine = alice.get("/hub/api/towpath/audit").json()["entries"]
    assert {"alice"} == {name for entry in mine for name in [entry.get("user")] if entry.get("who") != "alice"}
    (visit,) = [entry for entry in mine if entry.get("who") == "carol"]
    assert "address" not in visit
    assert "by" not in visit
    guessed = alice.get("/hub/api/towpath/audit?limit=1000&address=127.0.0.1").json()["entries"]
    assert {entry["who"] for entry in guessed} == {"alice"}, "a filter must not reveal hidden fields"
    assert "used a server" not in hub.browsers["bob"].get("/hub/home").text
    trail = alice.get("/hub/audit")
    assert trail.status_code == 200
    assert "carol" in trail.text
    assert "127.0.0.1" not in trail.text


def test_only_admins_read_the_audit_of_other_users(hub):
    bob = hub.browsers["bob"]
    for query in ("?about=alice", "?about=carol", "?about=alice&who=alice"):
        assert bob.get(f"/hub/api/towpath/audit{query}").status_code == 403
        assert bob.get(f"/hub/audit{query}").status_code == 403
    assert bob.get("/hub/api/towpath/audit?user=alice&limit=1000").json()["entries"] == []
    assert httpx.get(f"{hub.origin}/hub/api/towpath/audit").status_code == 403
    token = bob.post("/hub/api/users/bob/tokens", json={"scopes": ["read:servers!user"]}).json()["token"]
    answer = httpx.get(f"{hub.origin}/hub/api/towpath/audit", headers={"Authorization": f"token {token}"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1001", "before=x", "act=none", "since=yesterday", "outcome=x"]
)
def test_an_invalid_filter_is_an_error(hub, query):
    assert hub.browsers["carol"].get(f"/hub/api/towpath/audit?{query}").status_code == 400


def test_pages_link_to_older_entries(hub):
    carol = hub.browsers["carol"]
    seen, where = [], "/hub/api/towpath/audit?limit=3"
    while where:
        answer = carol.get(where).json()
        seen += [entry["id"] for entry in answer["entries"]]
        where = answer["next"]
    everything = [entry["id"] for entry in entries(hub)]
    assert seen == everything
    alice = hub.browsers["alice"]
    seen, where = [], "/hub/api/towpath/audit?limit=2"
    while where:
        answer = alice.get(where).json()
        seen += [entry["id"] for entry in answer["entries"]]
        where = answer["next"]
    assert seen == [entry["id"] for entry in alice.get("/hub/api/towpath/audit?limit=1000").json()["entries"]]
    assert len(seen) > 3
    page = carol.get("/hub/audit?limit=3").text
    assert 'rel="next"' in page
    assert carol.get("/hub/audit?act=sign-in&since=2020-01-01").text.count("signed in</") >= 1


def test_file_and_syslog_have_every_entry_once_and_the_file_is_private(hub):
    ids = [entry["id"] for entry in reversed(entries(hub))]
    eventually(lambda: [entry["id"] for entry in written(hub)] == ids, what="the file")
    eventually(lambda: hub.log.ids() == ids, what="the messages")
    assert stat.S_IMODE((hub.there / "audit.jsonl").stat().st_mode) == 0o600


def controller(hub):
    """Return the controller's process id; 0: there is none at the moment."""
    return next((pid for pid, line in children(hub.process.pid) if "batch controller" in line), 0)


def test_repeated_kills_of_the_controller_lose_and_duplicate_no_line(hub):
    async def flood(store):
        for number in range(400):
            await store.audit.note(Entry(time=time.time(), act=Act.HUB, who="flood", what=str(number)))
            await asyncio.sleep(0.005)

    writing = threading.Thread(target=stored, args=(hub, flood))
    writing.start()
    killed = 0
    while writing.is_alive():
        pid = eventually(lambda: controller(hub), what="a controller")
        lines = len(written(hub))
        eventually(lambda lines=lines: len(written(hub)) > lines + 20 or not writing.is_alive(), what="more lines")
        os.kill(pid, signal.SIGKILL)
        killed += 1
        eventually(lambda pid=pid: controller(hub) not in {0, pid}, what="another controller")
    writing.join()
    assert killed >= 2
    expected = [str(number) for number in range(400)]
    stored(hub, lambda store: store.audit.note(Entry(time=time.time(), act=Act.HUB, who="last")))
    eventually(lambda: written(hub)[-1].get("who") == "last", seconds=60, what="the last line")
    assert [entry["what"] for entry in written(hub) if entry.get("who") == "flood"] == expected
    told = eventually(
        lambda: hub.log.messages[-1].count("by last") and list(hub.log.messages), seconds=60, what="the last message"
    )
    numbers = [int(re.search(r' what="(\d+)"', text)[1]) for text in told if ' who="flood"' in text]
    assert sorted(set(numbers)) == list(range(400))
    assert len(numbers) <= 400 + killed


def test_a_restarted_syslog_gets_all_entries(hub):
    hub.log.close()
    stored(hub, lambda store: store.audit.note(Entry(time=time.time(), act=Act.HUB, who="meanwhile")))
    eventually(
        lambda: any("The audit cannot be exported" in line and "sink=syslog" in line for line in hub.output),
        what="the warning",
    )
    hub.log = Log(hub.log.path)
    eventually(lambda: any('who="meanwhile"' in text for text in hub.log.messages), seconds=60, what="the message")


def test_a_moved_file_is_created_again_without_a_gap(hub):
    last = written(hub)[-1]["id"]
    (hub.there / "audit.jsonl").rename(hub.there / "audit.jsonl.1")
    stored(hub, lambda store: store.audit.note(Entry(time=time.time(), act=Act.HUB, who="rotated")))
    eventually(lambda: (hub.there / "audit.jsonl").exists() and written(hub), what="the new file")
    assert [entry["who"] for entry in written(hub)] == ["rotated"]
    assert written(hub)[0]["id"] > last
