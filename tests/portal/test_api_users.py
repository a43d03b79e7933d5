"""Users in the API, in JupyterHub's shapes."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from portal.site.site import Look
from state.records.models import Share
from tests.portal.conftest import CONFIG


def test_the_root_shows_the_jupyterhub_version_to_everyone(bench):
    async def main(bench):
        answer = await bench.client().get("/hub/api/")
        assert answer.json()["version"] == "6.1.1"
        assert answer.headers["x-jupyterhub-version"] == "6.1.1"

    bench(main)


def test_a_user_reads_their_own_model(bench):
    async def main(bench):
        alice = await bench.user()
        answer = await bench.client(bench.session(alice)).get("/hub/api/users/alice")
        assert answer.status_code == 200
        model = answer.json()
        assert {
            "kind",
            "name",
            "admin",
            "roles",
            "groups",
            "server",
            "pending",
            "created",
            "last_activity",
            "servers",
            "auth_state",
            "user_info",
        } >= set(model)
        assert model["name"] == "alice"
        assert model["servers"] == {}
        assert model["server"] is None
        assert model["created"].endswith("Z")

    bench(main)


def test_whoami_names_the_credential_and_its_scopes(bench):
    async def main(bench):
        alice = await bench.user()
        model = (await bench.client(bench.token(alice, "read:users:name!user=alice")).get("/hub/api/user")).json()
        assert (model["name"], model["kind"], model["token_id"], model["session_id"]) == ("alice", "user", "t", None)
        assert model["scopes"] == ["read:users:name!user=alice"]
        model = (await bench.client(bench.session(alice)).get("/hub/api/user")).json()
        assert model["session_id"] == "s-alice"
        assert (await bench.client().get("/hub/api/user")).status_code == 403

    bench(main)


def test_whoami_works_for_services_but_pages_do_not(bench):
    async def main(bench):
        client = bench.client(bench.service("culler", "list:users"))
        model = (await client.get("/hub/api/user")).json()
        assert (model["kind"], model["name"], model["admin"], model["session_id"]) == ("service", "culler", False, None)
        assert model["scopes"] == ["list:users", "read:users:name"]
        refused = await client.get("/hub/home")
        assert refused.status_code == 403
        # a user with the same name is a different identity
        await bench.user("culler")
        assert (await client.post("/hub/api/users/culler/server")).status_code == 403
        assert (await client.get("/hub/api/users/culler/tokens")).status_code == 403

    bench(main)


def test_other_users_are_not_found_without_the_scope(bench):
    async def main(bench):
        alice, _ = await bench.user(), await bench.user("bob")
        client = bench.client(bench.session(alice))
        hidden, missing = await client.get("/hub/api/users/bob"), await client.get("/hub/api/users/nobody")
        assert hidden.status_code == missing.status_code == 404
        assert hidden.json() == missing.json()
        assert (await client.get("/hub/api/users/bob/tokens")).status_code == 404
        assert (await client.post("/hub/api/users/bob/server")).status_code == 404

    bench(main)


def test_admins_add_change_and_delete_users(bench):
    async def main(bench):
        admin = await bench.user("root", admin=True)
        client = bench.client(bench.session(admin))
        made = await client.post("/hub/api/users", json={"usernames": ["carol", "dave"]})
        assert made.status_code == 201
        assert [user["name"] for user in made.json()] == ["carol", "dave"]
        assert (await client.post("/hub/api/users", json={"usernames": ["carol"]})).status_code == 409
        assert (await client.post("/hub/api/users/erin")).status_code == 201
        assert (await client.post("/hub/api/users/erin")).status_code == 409
        changed = await client.patch("/hub/api/users/erin", json={"admin": True, "groups": ["bio"]})
        assert (changed.json()["admin"], changed.json()["groups"]) == (True, ["bio"])
        assert (await client.delete("/hub/api/users/erin")).status_code == 204
        assert (await client.get("/hub/api/users/erin")).status_code == 404
        assert (await client.delete("/hub/api/users/root")).status_code == 400

    bench(main)


def test_only_admins_make_or_change_admins(bench):
    async def main(bench):
        admin, alice = await bench.user("root", admin=True), await bench.user()
        lent = bench.token(admin, "admin:users", "delete:users")
        lent.owner = alice  # a user with the scopes who is not an admin
        client = bench.client(lent)
        assert (await client.post("/hub/api/users/x", json={"admin": True})).status_code == 403
        assert (await client.post("/hub/api/users", json={"usernames": ["x"], "admin": True})).status_code == 403
        assert (await client.patch("/hub/api/users/alice", json={"admin": True})).status_code == 403
        assert (await client.patch("/hub/api/users/root", json={"admin": False})).status_code == 403
        assert (await client.delete("/hub/api/users/root")).status_code == 403

    bench(main)


def test_a_restricted_token_of_an_admin_cannot_create_or_change_admins(bench):
    """Otherwise it could gain more rights through an admin that it creates."""

    async def main(bench):
        admin = await bench.user("carol", admin=True)
        await bench.user("dean", admin=True)
        await bench.user()
        client = bench.client(bench.token(admin, "admin:users"))
        assert (await client.post("/hub/api/users/x", json={"admin": True})).status_code == 403
        assert (await client.post("/hub/api/users", json={"usernames": ["x"], "admin": True})).status_code == 403
        assert (await client.patch("/hub/api/users/alice", json={"admin": True})).status_code == 403
        assert (await client.patch("/hub/api/users/dean", json={"admin": False})).status_code == 403
        assert (await client.delete("/hub/api/users/dean")).status_code == 403
        assert (await client.post("/hub/admin/users", data={"names": "x", "admin": "yes"})).status_code == 403
        assert (await client.post("/hub/admin/users/alice", data={"admin": "yes"})).status_code == 403
        assert (await client.post("/hub/admin/users/dean/remove")).status_code == 403
        assert [user.admin for user in await bench.store.users.gather(["carol", "dean", "alice"])] == [
            True,
            True,
            False,
        ]
        assert (await client.post("/hub/api/users/x", json={})).status_code == 201
        whole = bench.client(bench.token(admin, "inherit"))
        assert (await whole.patch("/hub/api/users/alice", json={"admin": True})).status_code == 200

    bench(main)


def test_unknown_fields_of_a_body_are_rejected(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user("root", admin=True)))
        for wrong in ({"odd": 1}, {"admin": None}, {"groups": None}):
            assert (await client.post("/hub/api/users/x", json=wrong)).status_code == 400, wrong
            assert (await client.patch("/hub/api/users/root", json=wrong)).status_code == 400, wrong
        assert (await client.post("/hub/api/users", json={"usernames": ["x"], "odd": 1})).status_code == 400
        assert await bench.store.users.get("x") is None

    bench(main)


def test_the_next_page_is_an_absolute_url_on_the_requested_host(bench):
    """Clients use it unchanged: jupyterhub-idle-culler with more than one page of users."""

    async def main(bench):
        client = bench.client(bench.session(await bench.user("root", admin=True)))
        await bench.user("bob")
        paged = {"Accept": "application/jupyterhub-pagination+json"}
        for config, host, expected in (
            (CONFIG.gateway, "10.0.0.7:8000", "http://10.0.0.7:8000"),
            (replace(CONFIG.gateway, public_url="https://hub.test"), "hub.test", "https://hub.test"),
            (replace(CONFIG.gateway, public_url="https://hub.test"), "evil.test", "https://hub.test"),
            (
                replace(CONFIG.gateway, public_url="https://hub.test", internal_url="http://10.0.0.7:8000"),
                "10.0.0.7:8000",
                "http://10.0.0.7:8000",
            ),
        ):
            look = Look(replace(CONFIG, gateway=config), "0", bench.clock)
            assert look.origin(host) == expected
        following = (await client.get("/hub/api/users?limit=1", headers=paged)).json()["_pagination"]["next"]["url"]
        assert following == "http://hub.test/hub/api/users?limit=1&offset=1"
        await client.post("/hub/api/groups/a%20b")
        for server in ("", "x"):
            scope = f"access:servers!server=root/{server}"
            share = Share(owner="root", server=server, group="a b", scopes=(scope,), created=0.0)
            await bench.store.shares.grant(share)
        shared = (await client.get("/hub/api/groups/a%20b/shared?limit=1")).json()["_pagination"]["next"]["url"]
        assert shared == "http://hub.test/hub/api/groups/a%20b/shared?limit=1&offset=1"

    bench(main)


def test_the_list_is_paged_filtered_and_sorted(bench):
    async def main(bench):
        admin = await bench.user("root", admin=True)
        client = bench.client(bench.session(admin))
        for number in range(5):
            await bench.user(f"user{number}")
        await client.post("/hub/api/users/user3/server", json={})
        paged = {"Accept": "application/jupyterhub-pagination+json"}
        answer = (await client.get("/hub/api/users?offset=1&limit=2", headers=paged)).json()
        assert [user["name"] for user in answer["items"]] == ["user0", "user1"]
        assert answer["_pagination"]["total"] == 6
        following = answer["_pagination"]["next"]
        assert (following["offset"], following["limit"]) == (3, 2)
        answer = (await client.get(following["url"], headers=paged)).json()
        assert [user["name"] for user in answer["items"]] == ["user2", "user3"]
        names = [user["name"] for user in (await client.get("/hub/api/users?sort=-name")).json()]
        assert names == ["user4", "user3", "user2", "user1", "user0", "root"]
        active = (await client.get("/hub/api/users?state=active")).json()
        assert [user["name"] for user in active] == ["user3"]
        assert active[0]["pending"] == "spawn"
        assert (await client.get("/hub/api/users?state=ready")).json() == []
        assert len((await client.get("/hub/api/users?state=inactive")).json()) == 5
        assert [user["name"] for user in (await client.get("/hub/api/users?name_filter=ROO")).json()] == ["root"]
        for bad in ("state=odd", "sort=odd", "limit=many", "offset=x"):
            assert (await client.get(f"/hub/api/users?{bad}")).status_code == 400

    bench(main)


def test_a_filtered_list_scope_lists_only_those(bench):
    async def main(bench):
        admin = await bench.user("root", admin=True)
        await bench.user("alice")
        client = bench.client(bench.token(admin, "list:users!user=alice"))
        assert [user["name"] for user in (await client.get("/hub/api/users")).json()] == ["alice"]

    bench(main)


def test_activity_is_recorded_and_future_times_are_rejected(bench):
    async def main(bench):
        alice = await bench.user()
        client = bench.client(bench.session(alice))
        await client.post("/hub/api/users/alice/server", json={})
        now = datetime.now(UTC)
        word = {"servers": {"": {"last_activity": now.isoformat()}}, "last_activity": now.isoformat()}
        assert (await client.post("/hub/api/users/alice/activity", json=word)).status_code == 200
        server = (await client.get("/hub/api/users/alice/server")).json()
        assert server["last_activity"][:19] == now.isoformat()[:19]
        for bad in (
            {},
            {"servers": {"nope": {"last_activity": now.isoformat()}}},
            {"last_activity": "yesterday"},
            {"last_activity": (now + timedelta(hours=2)).isoformat()},
            {"servers": {"": {}}},
            [],
        ):
            assert (await client.post("/hub/api/users/alice/activity", json=bad)).status_code == 400

    bench(main)
