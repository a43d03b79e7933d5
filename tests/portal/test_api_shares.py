"""Shares and share codes in the API, and the page where a code is accepted."""

from msgspec.structs import replace

from state.config.tables import RoleConfig
from state.records.audit import Act, AuditFilter
from state.rights.scopes import may
from tests.portal.conftest import CONFIG

SHARING = replace(
    CONFIG, role=(RoleConfig(name="user", scopes=("self", "shares!user", "read:users:name", "read:groups:name")),)
)
FULL, LOOK = "access:servers!server=ann/lab2", "read:access:servers!server=ann/lab2"


async def clients_of(bench):
    """Return clients of ann with two servers, bob in a group, carl, and root."""
    root = bench.client(bench.session(await bench.user("root", admin=True)))
    await root.post("/hub/api/groups/bio")
    for name in ("ann", "bob", "carl"):
        await bench.user(name)
    await root.post("/hub/api/groups/bio/users", json={"users": ["bob"]})
    ann = bench.client(bench.session(await bench.store.users.get("ann")))
    await ann.put("/hub/api/users/ann/servers/lab2", json={})
    await ann.post("/hub/api/users/ann/server")
    clients = {name: bench.client(bench.session(await bench.store.users.get(name))) for name in ("bob", "carl")}
    return {"root": root, "ann": ann, **clients}


async def reaches(bench, name, scope="access:servers", server="ann/lab2"):
    """Return whether a user has a scope for a server through shares."""
    given = (await bench.store.shares.scopes_of([await bench.store.users.get(name)])).get(name, ())
    held = bench.roles.scopes_of_user(await bench.store.users.get(name), given)
    return may(held, scope, server=server)


def test_a_share_is_granted_extended_reduced_and_revoked(bench):
    async def main(bench):
        ask = await clients_of(bench)
        url = "/hub/api/shares/ann/lab2"
        given = await ask["ann"].post(url, json={"user": "carl", "scopes": ["read:access:servers"]})
        assert given.status_code == 200
        model = given.json()
        assert (model["user"], model["group"], model["scopes"]) == ({"name": "carl"}, None, [LOOK])
        assert model["server"] == {
            "user": {"name": "ann"}, "name": "lab2", "url": "/user/ann/lab2/", "full_url": None, "ready": False,
        }  # fmt: skip
        assert await reaches(bench, "carl", "read:access:servers")
        assert not await reaches(bench, "carl")
        assert (await ask["ann"].post(url, json={"user": "carl"})).json()["scopes"] == [FULL, LOOK]
        assert await reaches(bench, "carl")
        assert not await reaches(bench, "carl", server="ann/")
        left = await ask["ann"].patch(url, json={"user": "carl", "scopes": ["access:servers"]})
        assert left.json()["scopes"] == [LOOK]
        assert left.json()["created_at"] == model["created_at"]
        assert not await reaches(bench, "carl")
        assert (await ask["ann"].patch(url, json={"user": "carl"})).json() == {}
        assert (await ask["ann"].patch(url, json={"user": "nobody"})).json() == {}
        assert not await reaches(bench, "carl", "read:access:servers")

    bench(main, config=SHARING)


def test_a_groups_share_applies_to_its_members_and_only_to_that_server(bench):
    async def main(bench):
        ask = await clients_of(bench)
        assert (await ask["ann"].post("/hub/api/shares/ann/", json={"group": "bio"})).status_code == 200
        assert await reaches(bench, "bob", server="ann/")
        assert not await reaches(bench, "bob", server="ann/lab2")
        assert not await reaches(bench, "carl", server="ann/")
        mine = (await ask["bob"].get("/hub/api/users/bob/shared")).json()
        assert [share["group"] for share in mine["items"]] == [{"name": "bio"}]
        assert mine["_pagination"]["total"] == 1
        assert (
            await ask["bob"].get("/hub/api/users/bob/shared/ann/")
        ).status_code == 404  # not shared with bob by name
        assert (await ask["root"].get("/hub/api/groups/bio/shared/ann/")).json()["server"]["name"] == ""
        assert len((await ask["root"].get("/hub/api/groups/bio/shared")).json()["items"]) == 1
        assert (await ask["bob"].get("/hub/api/groups/bio/shared")).status_code == 404
        assert (await ask["root"].delete("/hub/api/groups/bio/shared/ann/")).status_code == 204
        assert not await reaches(bench, "bob", server="ann/")

    bench(main, config=SHARING)


def test_lists_cover_one_server_or_all_and_recipients_can_leave(bench):
    async def main(bench):
        ask = await clients_of(bench)
        for path, body in (("lab2", {"user": "bob"}), ("lab2", {"user": "carl"}), ("", {"user": "bob"})):
            assert (await ask["ann"].post(f"/hub/api/shares/ann/{path}", json=body)).status_code == 200
        for path, count in (("ann", 3), ("ann/lab2", 2), ("ann/", 1)):
            found = (await ask["ann"].get(f"/hub/api/shares/{path}")).json()
            assert (len(found["items"]), found["_pagination"]["total"]) == (count, count), path
        page = (await ask["ann"].get("/hub/api/shares/ann?limit=2&offset=1")).json()
        assert len(page["items"]) == 2
        assert (await ask["carl"].get("/hub/api/users/carl/shared/ann/lab2")).json()["scopes"] == [FULL]
        assert (await ask["carl"].delete("/hub/api/users/carl/shared/ann/lab2")).status_code == 204
        assert (await ask["carl"].get("/hub/api/users/carl/shared/ann/lab2")).status_code == 404
        assert (await ask["ann"].delete("/hub/api/shares/ann/lab2")).status_code == 204
        assert (await ask["ann"].get("/hub/api/shares/ann/lab2")).json()["items"] == []
        assert await reaches(bench, "bob", server="ann/")
        for method in ("POST", "PATCH", "DELETE"):
            assert (await ask["ann"].request(method, "/hub/api/shares/ann", json={"user": "bob"})).status_code == 405
        acts = [entry.act for entry in (await bench.store.audit.page(AuditFilter(user="ann")))[0]]
        assert acts.count(Act.SHARE_MADE) == 3
        assert acts.count(Act.SHARE_REVOKED) == 2

    bench(main, config=SHARING)


def test_callers_share_only_their_servers_and_only_with_visible_users(bench):
    async def main(bench):
        ask = await clients_of(bench)
        url = "/hub/api/shares/ann/lab2"
        for body, status in (
            ({}, 400),
            ({"user": "bob", "group": "bio"}, 400),
            ({"user": "ann"}, 400),
            ({"user": "nobody"}, 400),
            ({"group": "nothing"}, 400),
            ({"user": "bob", "scopes": ["no:such"]}, 400),
            ({"user": "bob", "scopes": ["access:servers!user=ann"]}, 400),
            ({"user": "bob", "scopes": ["access:servers!server=ann/other"]}, 400),
            ({"user": "bob", "scopes": ["admin:users"]}, 403),
            ({"user": "bob", "scopes": ["delete:users"]}, 403),
            ({"user": "bob", "expires_in": 5}, 400),
        ):
            assert (await ask["ann"].post(url, json=body)).status_code == status, body
        assert (await ask["bob"].post(url, json={"user": "bob"})).status_code == 404
        assert (await ask["ann"].post("/hub/api/shares/ann/none", json={"user": "bob"})).status_code == 404
        ann = await bench.store.users.get("ann")
        blind = bench.client(bench.token(ann, "shares!server=ann/lab2"))
        assert (await blind.post(url, json={"user": "bob"})).status_code == 403
        assert (await blind.post(url, json={"group": "bio"})).status_code == 403
        assert (await blind.post("/hub/api/shares/ann/", json={"user": "bob"})).status_code == 404
        assert not await reaches(bench, "bob", "read:access:servers")

    bench(main, config=SHARING)


def test_without_the_scope_users_cannot_share(bench):
    async def main(bench):
        ask = await clients_of(bench)
        assert (await ask["ann"].post("/hub/api/shares/ann/lab2", json={"user": "bob"})).status_code == 403
        assert (await ask["ann"].post("/hub/api/share-codes/ann/lab2", json={})).status_code == 403
        assert (await ask["ann"].get("/hub/api/shares/ann/lab2")).status_code == 200

    bench(main)


def test_shares_end_with_the_server_the_owner_the_group_and_the_recipient(bench):
    async def main(bench):
        ask = await clients_of(bench)
        for body in ({"user": "bob"}, {"user": "carl"}, {"group": "bio"}):
            await ask["ann"].post("/hub/api/shares/ann/lab2", json=body)
        await ask["root"].delete("/hub/api/groups/bio")
        assert (await ask["root"].delete("/hub/api/users/carl")).status_code == 204
        assert [share.key for share in await bench.store.shares.of_owner("ann")] == ["bob"]
        await bench.user("carl")
        assert not await reaches(bench, "carl", "read:access:servers")
        code = (await ask["ann"].post("/hub/api/share-codes/ann/lab2", json={})).json()["code"]
        assert (
            await ask["ann"].request("DELETE", "/hub/api/users/ann/servers/lab2", json={"remove": True})
        ).status_code == 204
        assert not await reaches(bench, "bob", "read:access:servers")
        assert await bench.store.shares.code(code) is None
        # a new server with the same name is another server
        await ask["ann"].put("/hub/api/users/ann/servers/lab2", json={})
        assert not await reaches(bench, "bob", "read:access:servers")

    bench(main, config=SHARING)


def test_a_code_is_shown_once_accepted_with_a_button_and_revoked(bench):
    async def main(bench):
        ask = await clients_of(bench)
        url = "/hub/api/share-codes/ann/lab2"
        made = (await ask["ann"].post(url, json={"scopes": ["read:access:servers"], "expires_in": 3600})).json()
        assert made["accept_url"] == f"/hub/accept-share?code={made['code']}"
        listed = (await ask["ann"].get(url)).json()["items"]
        assert [code["id"] for code in listed] == [made["id"]]
        assert made["code"] not in str(listed)
        page = await ask["carl"].get(made["accept_url"])
        assert page.status_code == 200
        assert "not change or run anything" in page.text
        assert not await reaches(bench, "carl", "read:access:servers")  # a GET grants nothing
        done = await ask["carl"].post("/hub/accept-share", data={"code": made["code"]})
        assert (done.status_code, done.headers["location"]) == (
            303,
            "/hub/home?done=accepted",
        )  # the server is not running
        assert "is listed below" in (await ask["carl"].get("/hub/home?done=accepted")).text
        assert await reaches(bench, "carl", "read:access:servers")
        assert not await reaches(bench, "carl")
        assert (await ask["ann"].get(url)).json()["items"][0]["exchange_count"] == 1
        assert (await ask["ann"].get(made["accept_url"])).status_code == 403  # the owner's own server
        assert (await ask["ann"].delete(f"{url}?id=sc_0")).status_code == 404
        assert (await ask["ann"].delete(f"{url}?code={made['code']}")).status_code == 204
        assert (await ask["bob"].get(made["accept_url"])).status_code == 404
        assert (await ask["bob"].post("/hub/accept-share", data={"code": made["code"]})).status_code == 404
        assert await reaches(bench, "carl", "read:access:servers")  # an accepted share stays until it is revoked

    bench(main, config=SHARING)


def test_a_code_expires_and_never_redirects_to_another_site(bench):
    async def main(bench):
        ask = await clients_of(bench)
        url = "/hub/api/share-codes/ann/lab2"
        for wrong in ({"expires_in": 5}, {"expires_in": -1}, {"expires_in": 10**9}, {"expires_in": None}, {"x": 1}):
            assert (await ask["ann"].post(url, json=wrong)).status_code == 400, wrong
        assert (await ask["ann"].post("/hub/api/share-codes/ann", json={})).status_code == 405
        for _ in range(2):
            made = (await ask["ann"].post(url, json={})).json()
        for onward in ("//evil.example", "https://evil.example/", "/\\evil.example"):
            done = await ask["carl"].post("/hub/accept-share", data={"code": made["code"], "next": onward})
            assert done.headers["location"] == "/hub/home?done=accepted"
        code = await bench.store.shares.code(made["code"])
        assert code.expires - code.created == 86400
        assert (await ask["ann"].delete(url)).status_code == 204
        assert (await ask["ann"].get(url)).json()["items"] == []
        assert (await ask["carl"].get("/hub/accept-share")).status_code == 404
        anonymous = await bench.client().get(made["accept_url"])
        assert anonymous.headers["location"].startswith("/hub/login?next=/hub/accept-share%3Fcode")

    bench(main, config=SHARING)
