"""Groups in the API, in JupyterHub's shapes."""

from msgspec.structs import replace

from state.config.tables import RoleConfig
from state.records.models import User
from tests.portal.conftest import CONFIG

GROUPS = "/hub/api/groups"
WITH_ROLES = replace(
    CONFIG,
    role=(
        RoleConfig(name="teacher", scopes=("servers!group=class",), groups=("staff",)),
        RoleConfig(
            name="desk", scopes=("groups!group=staff", "groups!group=class", "list:groups!group=class"), users=("desk",)
        ),
    ),
)


def test_groups_are_created_changed_and_removed(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user("root", admin=True)))
        for name in ("alice", "bob"):
            await bench.user(name)
        made = await client.post(f"{GROUPS}/bio", json={"users": ["alice"]})
        assert made.status_code == 201
        assert made.json() == {"kind": "group", "name": "bio", "users": ["alice"], "properties": {}, "roles": []}
        assert (await client.post(f"{GROUPS}/bio")).status_code == 409
        filled = await client.post(f"{GROUPS}/bio/users", json={"users": ["bob", "alice"]})
        assert (filled.status_code, filled.json()["users"]) == (200, ["alice", "bob"])
        assert (await bench.store.users.get("bob")).groups == ("bio",)
        assert (await client.post(f"{GROUPS}/bio/users", json={"users": ["nobody"]})).status_code == 400
        thinned = await client.request("DELETE", f"{GROUPS}/bio/users", json={"users": ["alice"]})
        assert (thinned.status_code, thinned.json()["users"]) == (200, ["bob"])
        described = await client.put(f"{GROUPS}/bio/properties", json={"room": {"floor": 2}})
        assert described.json()["properties"] == {"room": {"floor": 2}}
        assert (await client.delete(f"{GROUPS}/bio")).status_code == 204
        assert (await bench.store.users.get("bob")).groups == ()
        assert (await client.get(f"{GROUPS}/bio")).status_code == 404
        assert (await client.delete(f"{GROUPS}/bio")).status_code == 404

    bench(main)


def test_several_groups_are_created_together_or_not_at_all(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user("root", admin=True)))
        made = await client.post(GROUPS, json={"groups": ["a", "b"], "users": ["root"]})
        assert [group["users"] for group in made.json()] == [["root"], ["root"]]
        assert (await client.post(GROUPS, json={"groups": ["c", "b"]})).status_code == 409
        assert (await client.get(f"{GROUPS}/c")).status_code == 404
        assert (await client.post(GROUPS, json={"groups": []})).status_code == 400
        assert (await client.post(f"{GROUPS}/d", json={"users": ["nobody"]})).status_code == 400
        assert (await client.get(f"{GROUPS}/d")).status_code == 404

    bench(main)


def test_the_list_of_groups_is_paged_and_shows_what_the_caller_may_see(bench):
    async def main(bench):
        root, alice = await bench.user("root", admin=True), await bench.user()
        client = bench.client(bench.session(root))
        await client.post(GROUPS, json={"groups": [f"g{number}" for number in range(5)]})
        assert [group["name"] for group in (await client.get(GROUPS)).json()] == ["g0", "g1", "g2", "g3", "g4"]
        paged = {"Accept": "application/jupyterhub-pagination+json"}
        page = (await client.get(f"{GROUPS}?limit=2&offset=2", headers=paged)).json()
        assert [group["name"] for group in page["items"]] == ["g2", "g3"]
        assert page["_pagination"]["total"] == 5
        following = (await client.get(page["_pagination"]["next"]["url"], headers=paged)).json()
        assert [group["name"] for group in following["items"]] == ["g4"]
        assert following["_pagination"]["next"] is None
        some = bench.client(bench.token(root, "list:groups!group=g1", "read:groups!group=g3"))
        assert (await some.get(GROUPS)).json() == [{"kind": "group", "name": "g1"}]
        assert (await some.get(f"{GROUPS}/g3")).json()["users"] == []
        assert (await some.get(f"{GROUPS}/g2")).status_code == 404
        assert (await bench.client(bench.session(alice)).get(GROUPS)).status_code == 403

    bench(main)


def test_callers_cannot_grant_rights_through_a_group_that_they_do_not_have(bench):
    async def main(bench):
        root, desk = await bench.user("root", admin=True), await bench.user("desk")
        await bench.user()
        admin, client = bench.client(bench.session(root)), bench.client(bench.session(desk))
        for name in ("staff", "class"):
            await admin.post(f"{GROUPS}/{name}")
        assert (await client.post(f"{GROUPS}/class/users", json={"users": ["alice"]})).status_code == 200
        refused = await client.post(f"{GROUPS}/staff/users", json={"users": ["desk"]})
        assert refused.status_code == 403
        assert "rights that you do not have" in refused.json()["message"]
        assert (await admin.post(f"{GROUPS}/staff/users", json={"users": ["desk"]})).status_code == 200
        # now the caller has the right and may grant it
        desk = await bench.store.users.get("desk")
        assert (
            await bench.client(bench.session(desk)).post(f"{GROUPS}/staff/users", json={"users": ["alice"]})
        ).status_code == 200

    bench(main, config=WITH_ROLES)


def test_changing_a_users_groups_needs_the_scope_of_the_groups(bench):
    async def main(bench):
        root = await bench.user("root", admin=True)
        await bench.store.users.add(User(name="alice", created=1.0, groups=("kept",)))
        helper = bench.client(bench.token(root, "admin:users", "groups!group=bio"))
        assert (await helper.patch("/hub/api/users/alice", json={"groups": ["kept", "bio"]})).status_code == 200
        assert (await helper.patch("/hub/api/users/alice", json={"groups": ["bio"]})).status_code == 403
        assert (await helper.patch("/hub/api/users/alice", json={"groups": ["kept", "staff"]})).status_code == 403
        assert (await helper.post("/hub/api/users/carl", json={"groups": ["staff"]})).status_code == 403
        assert (await helper.post("/hub/api/users/carl", json={"groups": ["bio", "bio"]})).json()["groups"] == ["bio"]
        assert (await bench.store.groups.members("bio"))["bio"] == ["alice", "carl"]

    bench(main, config=WITH_ROLES)
