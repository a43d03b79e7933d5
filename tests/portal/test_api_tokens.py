"""Tokens in the API, and the rest of the hub's own answers."""


def test_a_token_is_made_shown_once_listed_and_revoked(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        url = "/hub/api/users/alice/tokens"
        made = await client.post(url, json={"note": "nightly", "expires_in": 60, "scopes": ["read:users!user=alice"]})
        assert made.status_code == 201
        model = made.json()
        assert model["token"]
        assert "read:users!user=alice" in model["scopes"]
        assert model["expires_at"].endswith("Z")
        listed = (await client.get(url)).json()["api_tokens"]
        assert [token["id"] for token in listed] == [model["id"]]
        assert "token" not in listed[0]
        one = await client.get(f"{url}/{model['id']}")
        assert one.json()["note"] == "nightly"
        assert (await client.delete(f"{url}/{model['id']}")).status_code == 204
        assert (await client.delete(f"{url}/{model['id']}")).status_code == 404
        assert (await client.get(f"{url}/{model['id']}")).status_code == 404

    bench(main)


def test_a_token_never_gains_what_its_maker_has_not(bench):
    async def main(bench):
        alice = await bench.user()
        mine = bench.client(bench.session(alice))
        url = "/hub/api/users/alice/tokens"
        part = (await mine.post(url, json={"scopes": ["admin:users"]})).json()["scopes"]
        assert all(scope.endswith("!user=alice") for scope in part)
        assert (await mine.post(url, json={"scopes": ["shutdown"]})).status_code == 400
        lesser = bench.client(bench.token(alice, "tokens!user=alice"))
        made = (await lesser.post(url, json={})).json()
        assert set(made["scopes"]) <= {"tokens!user=alice", "read:tokens!user=alice"}
        everything = (await mine.post(url)).json()
        assert "access:servers!user=alice" in everything["scopes"]
        for bad in (
            {"expires_in": 0},
            {"expires_in": -5},
            {"expires_in": 10**18},
            {"expires_in": "1"},
            {"scopes": "all"},
            {"scopes": ["x"] * 500},
            {"note": "x" * 300},
            {"note": "a\nb"},
            {"roles": ["admin"]},
            {"scopes": ["no:such"]},
        ):
            assert (await mine.post(url, json=bad)).status_code == 400, bad

    bench(main)


def test_an_admin_makes_a_token_for_another_with_that_ones_rights(bench):
    async def main(bench):
        admin, _ = await bench.user("root", admin=True), await bench.user()
        made = await bench.client(bench.session(admin)).post("/hub/api/users/alice/tokens", json={})
        assert made.status_code == 201
        assert made.json()["user"] == "alice"
        assert not any(scope.startswith("admin:") for scope in made.json()["scopes"])

    bench(main)


def test_health_says_when_this_worker_no_longer_knows_the_state(bench):
    async def main(bench):
        assert (await bench.client().get("/hub/health")).status_code == 200
        assert (await bench.client().head("/hub/api/health")).content == b""
        bench.mirror.fresh = False
        assert (await bench.client().get("/hub/api/health")).status_code == 503

    bench(main)


def test_metrics_need_their_scope_and_count(bench):
    async def main(bench):
        admin = await bench.user("root", admin=True)
        client = bench.client(bench.token(admin, "read:metrics"))
        await bench.client(bench.session(admin)).post("/hub/api/users/root/server")
        await bench.make_ready(bench.client(), "root")
        for path in ("/hub/metrics", "/hub/api/metrics"):
            text = (await client.get(path)).text
            assert "jupyterhub_total_users 1.0" in text
            assert "jupyterhub_running_servers 1.0" in text
            assert 'towpath_servers{status="ready"} 1.0' in text
            assert "jupyterhub_server_spawn_duration_seconds_count" in text
        assert (await bench.client(bench.token(admin)).get("/hub/metrics")).status_code == 403

    bench(main)


def test_profiles_and_openapi_tell_what_is_offered_and_no_command(bench):
    async def main(bench):
        client = bench.client(bench.token(await bench.user()))
        offered = (await client.get("/hub/api/towpath/profiles")).json()
        assert [profile["name"] for profile in offered] == ["lab", "gpu"]
        assert offered[1]["options"]["gpus"]["maximum"] == 4
        assert "command" not in offered[0]
        document = (await bench.client().get("/hub/api/towpath/openapi.json")).json()
        assert set(document["paths"]) == {
            f"/hub/api/towpath/{name}"
            for name in ("audit", "profiles", "report", "clusters", "catalog/{cluster}", "offer")
        }

    bench(main)


def test_info_needs_read_hub(bench):
    async def main(bench):
        admin = await bench.user("root", admin=True)
        assert (await bench.client(bench.session(admin)).get("/hub/api/info")).json()["version"] == "6.1.1"

    bench(main)
