"""The admins' pages: users are found, added, changed and removed, with access checks and audit entries."""

import re
from html import unescape

import pytest

from state.config.tables import Config, RoleConfig
from state.records.audit import AuditFilter
from state.records.models import User


async def carol(bench):
    return bench.client(bench.session(await bench.user("carol", admin=True)))


async def acts(bench):
    entries, _ = await bench.store.audit.page(AuditFilter(), limit=50)
    return [(str(entry.act), entry.who, entry.user, entry.what) for entry in reversed(entries)]


def names(page):
    return re.findall(r'href="/hub/admin/users/([^"/]+)"', page)


def test_only_admins_see_the_list(bench):
    async def main(bench):
        alice = bench.client(bench.session(await bench.user()))
        for path in ("/hub/admin", "/hub/admin/users/alice", "/hub/admin/users/alice/remove"):
            assert (await alice.get(path)).status_code == 403
            anonymous = await bench.client().get(path)
            assert "/hub/login" in anonymous.headers["location"]
        for path in ("/hub/admin/users", "/hub/admin/users/alice", "/hub/admin/users/alice/remove"):
            assert (await alice.post(path, data={"names": "x", "admin": "yes"})).status_code == 403
        assert await bench.store.users.count() == 1
        assert "/hub/admin" not in (await alice.get("/hub/home")).text
        assert "/hub/admin" in (await (await carol(bench)).get("/hub/home")).text

    bench(main)


def test_ten_thousand_users_are_paged_and_searched(bench):
    async def main(bench):
        client = await carol(bench)
        await bench.store.redis.pipeline(
            [
                command
                for number in range(10_000)
                for command in (
                    ("ZADD", "towpath:{users}:names", 0, f"u{number:05}"),
                    (
                        "SET",
                        f"towpath:{{u:u{number:05}}}:user",
                        f'{{"name":"u{number:05}","created":1.0,"revision":1}}',
                    ),
                )
            ]
        )
        page = (await client.get("/hub/admin")).text
        assert "1-50 of 10001" in page
        assert names(page)[:3] == ["carol", "u00000", "u00001"]
        after = re.search(r'href="([^"]*)" rel="next"', page)[1].replace("&amp;", "&")
        second = (await client.get(after)).text
        assert "51-100 of 10001" in second
        assert names(second)[0] == "u00049"
        assert 'rel="prev"' in second
        assert "1 user<" in (await client.get("/hub/admin?q=U09999")).text
        assert "1-50 of 100<" in (await client.get("/hub/admin?q=u012")).text
        assert "No results" in (await client.get("/hub/admin?q=zzz")).text
        assert "9951-10000 of 10001" in (await client.get("/hub/admin?offset=9950")).text
        for odd in ("offset=-1", "offset=x", "offset=99999999999999999999", "q=%00", "q=" + "x" * 5000):
            assert (await client.get(f"/hub/admin?{odd}")).status_code == 200

    bench(main)


def test_users_with_a_running_server_are_shown_with_it(bench):
    async def main(bench):
        client = await carol(bench)
        alice = await bench.user()
        await bench.user("bob")
        await bench.client(bench.session(alice)).post("/hub/api/users/alice/servers/lab2")
        await bench.make_ready(client, "alice", "lab2")
        page = (await client.get("/hub/admin?show=active")).text
        assert names(page) == ["alice"]
        assert 'href="/user/alice/lab2/lab"' in page
        user_page = (await client.get("/hub/admin/users/alice")).text
        assert 'href="/hub/stop/alice/lab2"' in user_page
        assert 'href="/user/alice/lab2/lab"' in user_page
        answer = await client.post("/hub/stop/alice/lab2")
        assert answer.headers["location"] == "/hub/admin/users/alice"
        assert ("server-stop", "carol", "alice", "") in await acts(bench)

    bench(main)


def test_users_are_added_by_name(bench):
    async def main(bench):
        client = await carol(bench)
        answer = await client.post("/hub/admin/users", data={"names": " Dora, emil\n carol "})
        assert (answer.status_code, answer.headers["location"]) == (303, "/hub/admin?done=added")
        assert [await bench.store.users.get(name) is not None for name in ("dora", "emil")] == [True, True]
        assert not (await bench.store.users.get("dora")).admin
        bad = await client.post("/hub/admin/users", data={"names": "fine <script>"})
        assert bad.status_code == 400
        assert "cannot be a name" in bad.text
        assert "<script>" not in bad.text
        assert await bench.store.users.get("fine") is None
        assert (await client.post("/hub/admin/users", data={"names": " "})).status_code == 400
        await client.post("/hub/admin/users", data={"names": "fred", "admin": "yes"})
        assert (await bench.store.users.get("fred")).admin
        assert [act for act in await acts(bench) if act[0] == "user-added"] == [
            ("user-added", "carol", "dora", ""),
            ("user-added", "carol", "emil", ""),
            ("user-added", "carol", "fred", "admin"),
        ]

    bench(main)


def test_roles_and_groups_are_set_and_admins_keep_their_own_role(bench):
    async def main(bench):
        client = await carol(bench)
        await bench.user()
        answer = await client.post(
            "/hub/admin/users/alice", data={"admin": "yes", "groups": "physics\r\n staff \r\n\r\nphysics"}
        )
        assert answer.headers["location"] == "/hub/admin/users/alice?done=saved"
        assert "Saved." in (await client.get(answer.headers["location"])).text
        alice = await bench.store.users.get("alice")
        assert (alice.admin, alice.groups) == (True, ("physics", "staff"))
        await client.post("/hub/admin/users/alice", data={"groups": ""})
        alice = await bench.store.users.get("alice")
        assert (alice.admin, alice.groups) == (False, ())
        own = await client.post("/hub/admin/users/carol", data={"groups": ""})
        assert own.status_code == 400
        assert "Another admin can" in own.text
        assert (await client.post("/hub/admin/users/nobody", data={})).status_code == 404
        assert [act[3] for act in await acts(bench) if act[0] == "user-changed"] == [
            "is an admin now, groups: physics, staff",
            "is no longer an admin, groups: none",
        ]

    bench(main)


def test_a_user_is_removed_after_a_confirmation(bench):
    async def main(bench):
        client = await carol(bench)
        alice = await bench.user()
        session = bench.client(bench.session(alice))
        await session.post("/hub/api/users/alice/server")
        question = (await client.get("/hub/admin/users/alice/remove")).text
        assert "1 running server is stopped" in question
        assert await bench.store.users.get("alice") is not None
        assert (await client.post("/hub/admin/users/carol/remove")).status_code == 400
        await bench.end()
        answer = await client.post("/hub/admin/users/alice/remove")
        assert answer.headers["location"] == "/hub/admin?done=removed"
        assert await bench.store.users.get("alice") is None
        assert (await acts(bench))[-1] == ("user-removed", "carol", "alice", "")

    bench(main)


@pytest.mark.parametrize("value", ["<b>x", "Your account is locked: call 0900-1234"])
def test_a_url_cannot_put_text_on_the_page(bench, value):
    async def main(bench):
        client = await carol(bench)
        page = (await client.get("/hub/admin", params={"done": value, "told": value})).text
        assert value not in page

    bench(main)


def test_a_role_for_a_group_shows_only_its_members(bench):
    config = Config(
        role=(RoleConfig(name="teachers", scopes=("admin-ui", "list:users!group=physics"), users=("erin",)),)
    )

    async def main(bench):
        erin = await bench.user("erin")
        await bench.store.users.add(User(name="pupil", groups=("physics",), created=1.0))
        await bench.store.users.add(User(name="other", created=1.0))
        client = bench.client(bench.session(erin))
        page = (await client.get("/hub/admin")).text
        assert names(page) == ["pupil"]
        assert "Add users" not in page
        assert (await client.get("/hub/admin/users/other")).status_code == 404
        shown = await client.get("/hub/admin/users/pupil")
        assert shown.status_code == 200
        assert "Role and groups" not in shown.text
        assert "Remove" not in shown.text
        assert (await client.post("/hub/admin/users/pupil", data={"admin": "yes"})).status_code == 403
        assert (await client.post("/hub/admin/users", data={"names": "x"})).status_code == 403

    bench(main, config=config)


def test_saving_an_unchanged_form_keeps_groups_with_any_name(bench):
    """If names were split at spaces or commas, a group's name could become those of other groups."""

    async def main(bench):
        client = await carol(bench)
        held = ("guests admins", "physics, applied", "Chemie", *(f"g{number}" for number in range(150)))
        await bench.store.users.add(User(name="alice", groups=held, created=1.0))
        page = (await client.get("/hub/admin/users/alice")).text
        shown = unescape(re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)[1])
        answer = await client.post("/hub/admin/users/alice", data={"groups": shown.replace("\n", "\r\n")})
        assert answer.status_code == 303
        assert (await bench.store.users.get("alice")).groups == held
        await client.post("/hub/admin/users/alice", data={"groups": "\uff50hysics"})
        assert (await bench.store.users.get("alice")).groups == ("physics",)
        for bad in ("x" * 256, "a\x00b", "\n".join(f"new{number}" for number in range(101))):
            assert (await client.post("/hub/admin/users/alice", data={"groups": bad})).status_code == 400
        assert (await bench.store.users.get("alice")).groups == ("physics",)

    bench(main)


def test_changes_of_groups_and_services_are_recorded_for_the_users_concerned(bench):
    async def main(bench):
        client = await carol(bench)
        await bench.user()
        await client.post("/hub/api/groups/physics", json={"users": ["alice"]})
        await client.put("/hub/api/groups/physics/properties", json={"quota": 3})
        await client.request("DELETE", "/hub/api/groups/physics/users", json={"users": ["alice"]})
        await client.delete("/hub/api/groups/physics")
        await client.post("/hub/api/services/grader", json={"admin": True})
        await client.delete("/hub/api/services/grader")
        assert [act for act in await acts(bench) if act[0].startswith(("group", "service"))] == [
            ("group-changed", "carol", "", "physics is made"),
            ("group-changed", "carol", "alice", "into physics"),
            ("group-changed", "carol", "", "properties of physics"),
            ("group-changed", "carol", "alice", "out of physics"),
            ("group-changed", "carol", "", "physics is removed"),
            ("service-changed", "carol", "", "grader is made, admin"),
            ("service-changed", "carol", "", "grader is removed"),
        ]
        assert [entry.what for entry in await bench.store.audit.of_user("alice")] == ["out of physics", "into physics"]

    bench(main)


def test_records_that_cannot_be_read_are_named_and_the_others_are_shown(bench):
    async def main(bench):
        client = await carol(bench)
        for name in ("alice", "bob"):
            await bench.user(name)
        await bench.store.redis.call("SET", "towpath:{u:bob}:user", '{"name": 5}')
        page = (await client.get("/hub/admin")).text
        assert names(page) == ["alice", "carol"]
        await bench.store.bad_records.tell()  # as the mirror does
        page = unescape((await client.get("/hub/admin")).text)
        assert "1 record in the store cannot be read" in page
        assert "towpath:{u:bob}:user" in page
        assert [user["name"] for user in (await client.get("/hub/api/users")).json()] == ["alice", "carol"]
        for path in ("/hub/admin/users/bob", "/hub/api/users/bob"):
            answer = await client.get(path)
            assert answer.status_code == 500
            assert "towpath store check" in answer.text

    bench(main)
