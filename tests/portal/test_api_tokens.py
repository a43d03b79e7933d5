"""Tokens, health, metrics and information in the API."""

import re

import pytest
from msgspec.structs import replace

from state.config.tables import AuthConfig
from state.records.models import Share, Token
from state.rights.owners import Owners
from state.rights.roles import Roles
from state.store.credentials import digest
from tests.portal.conftest import CONFIG

WHO = ("read:users:name!user=alice", "read:users:groups!user=alice")
"""The scopes of every token of alice."""


def test_a_token_is_created_shown_once_listed_and_revoked(bench):
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


def test_a_token_never_has_more_scopes_than_its_creator(bench):
    async def main(bench):
        alice = await bench.user()
        mine = bench.client(bench.session(alice))
        url = "/hub/api/users/alice/tokens"
        for beyond in ("admin:users", "shutdown", "servers", "servers!user=bob", "tokens!group=g"):
            assert (await mine.post(url, json={"scopes": [beyond]})).status_code == 400, beyond
        for within in ("servers!user", "servers!user=alice", "start:servers!server=alice/lab", "self", "inherit"):
            made = (await mine.post(url, json={"scopes": [within]})).json()["scopes"]
            assert made
            assert all(scope.endswith(("!user=alice", "!server=alice/lab")) for scope in made)
        lesser = bench.client(bench.token(alice, "tokens!user=alice"))
        made = (await lesser.post(url, json={})).json()
        assert set(made["scopes"]) == {"tokens!user=alice", "read:tokens!user=alice", *WHO}
        assert (await lesser.post(url, json={"scopes": ["servers!user"]})).status_code == 400
        everything = (await mine.post(url)).json()
        assert "access:servers!user=alice" in everything["scopes"]
        for bad in (
            {"expires_in": -5},
            {"expires_in": 10**18},
            {"expires_in": "1"},
            {"scopes": "all"},
            {"scopes": ["x"] * 500},
            {"note": "x" * 300},
            {"note": "a\nb"},
            {"roles": ["admin"]},
            {"expires_in": True},
            {"expires_in": 1.5},
            {"scopes": ["no:such"]},
        ):
            assert (await mine.post(url, json=bad)).status_code == 400, bad

    bench(main)


def test_an_inheriting_token_gets_later_scopes_if_its_creator_would_have_them(bench):
    """JupyterHub's `inherit`, the default without scopes. Callers with fewer rights cannot create such a token."""

    async def main(bench):
        alice, root = await bench.user(), await bench.user("root", admin=True)
        url = "/hub/api/users/alice/tokens"
        service = bench.service("all", admin=True)
        part = bench.token(alice, "tokens!user=alice", "servers!user=alice")
        makers = {"herself": bench.session(alice), "admin": bench.session(root), "all": service, "part": part}
        made = {who: (await bench.client(maker).post(url, json={})).json() for who, maker in makers.items()}
        shared = Share(owner="root", user="alice", scopes=("access:servers!server=root/",), created=bench.clock())
        await bench.store.shares.grant(shared)
        owners = Owners(bench.store, Roles.of(CONFIG))
        for who, token in made.items():
            known = digest(token["token"])
            (identity,) = await owners.identify([(known, await bench.store.tokens.get(known))])
            later = "access:servers!server=root/"
            assert (later in identity.scopes) is (who == "herself"), who
            listed = (await bench.client(bench.session(alice)).get(f"{url}/{token['id']}")).json()
            assert (later in listed["scopes"]) is (who == "herself"), who
            assert "inherit" not in listed["scopes"]

    bench(main)


def test_revoking_an_applications_token_revokes_all_its_tokens(bench):
    async def main(bench):
        mine = bench.client(bench.session(await bench.user()))
        for number, client in enumerate(("service-wiki", "service-wiki", "service-board", "")):
            token = Token(id=f"t{number}", user="alice", client=client, scopes=(), created=bench.clock())
            await bench.store.tokens.issue(token)
        assert (await mine.delete("/hub/api/users/alice/tokens/t1")).status_code == 204
        assert {token.id for token in await bench.store.tokens.of_user("alice")} == {"t2", "t3"}
        assert (await mine.delete("/hub/api/users/alice/tokens/t0")).status_code == 404

    bench(main)


def test_roles_of_a_token_are_replaced_by_their_scopes(bench):
    async def main(bench):
        mine = bench.client(bench.session(await bench.user()))
        url = "/hub/api/users/alice/tokens"
        made = (await mine.post(url, json={"roles": ["server"]})).json()
        assert made["roles"] == []
        assert set(made["scopes"]) == {"read:users:activity!user=alice", "users:activity!user=alice", *WHO}
        assert "servers!user=alice" in (await mine.post(url, json={"roles": ["token"]})).json()["scopes"]
        assert (await mine.post(url, json={"roles": ["no-such-role"]})).status_code == 400

    bench(main)


def test_the_example_scope_of_the_page_is_available_and_suggested(bench):
    async def main(bench):
        mine = bench.client(bench.session(await bench.user()))
        example = re.search(r'id="scopes".*?placeholder="([^"]+)"', (await mine.get("/hub/token")).text)[1]
        made = await mine.post("/hub/token", data={"note": "", "expires_in": "3600", "scopes": example})
        assert made.status_code == 200
        for named in example.split():
            wide = named.removesuffix("!user")
            refused = await mine.post("/hub/api/users/alice/tokens", json={"scopes": [wide]})
            assert refused.status_code == 400
            assert f"Of your own: {wide}!user" in refused.json()["message"]

    bench(main)


def test_no_token_lives_longer_than_the_site_allows(bench):
    """GHSA-pvm9-48cg-w76j: expires_in is too long, unlimited, negative or absent."""

    async def main(bench):
        mine = bench.client(bench.session(await bench.user()))
        url = "/hub/api/users/alice/tokens"
        for body in ({}, {"expires_in": None}, {"expires_in": 0}, {"expires_in": 3600}):
            token = (await mine.post(url, json=body)).json()
            record = await bench.store.tokens.get(digest(token["token"]))
            assert record.expires - record.created == 3600, body
        for body in ({"expires_in": 3601}, {"expires_in": -1}, {"expires_in": 10**12}):
            assert (await mine.post(url, json=body)).status_code == 400, body
        page = await mine.post("/hub/token", data={"note": "", "expires_in": "", "scopes": ""})
        assert page.status_code == 200
        assert all(token.expires for token in await bench.store.tokens.of_user("alice"))
        assert (await mine.post("/hub/token", data={"expires_in": "31536000"})).status_code == 400

    bench(main, config=replace(CONFIG, auth=AuthConfig(token_lifetime_max=3600)))


def test_a_token_for_another_user_is_403_whether_the_user_exists_or_not(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await bench.user("bob")
        answers = [await client.post(f"/hub/api/users/{name}/tokens", json={}) for name in ("bob", "nobody")]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert answers[0].json() == answers[1].json()

    bench(main)


def test_a_service_creates_a_token_for_a_user_with_a_note(bench):
    async def main(bench):
        await bench.user()
        client = bench.client(bench.service("portal", "tokens", "read:users:name", "list:users"))
        made = (await client.post("/hub/api/users/alice/tokens", json={})).json()
        assert made["note"] == "Requested via api by service portal"
        assert set(made["scopes"]) == {"tokens!user=alice", "read:tokens!user=alice", *WHO}

    bench(main)


def test_an_admin_creates_a_token_with_the_owners_rights(bench):
    async def main(bench):
        admin, _ = await bench.user("root", admin=True), await bench.user()
        made = await bench.client(bench.session(admin)).post("/hub/api/users/alice/tokens", json={})
        assert made.status_code == 201
        assert made.json()["user"] == "alice"
        assert not any(scope.startswith("admin:") for scope in made.json()["scopes"])

    bench(main)


@pytest.mark.parametrize("wanted", ["admin:users", "list:users", "read:users!user=root", "servers!user=root", "tokens"])
def test_admins_cannot_create_a_token_with_more_rights_than_its_owner(bench, wanted):
    """A right that the owner gets later is not added to a token that was created before."""

    async def main(bench):
        admin, _ = await bench.user("root", admin=True), await bench.user()
        client = bench.client(bench.session(admin))
        refused = await client.post("/hub/api/users/alice/tokens", json={"scopes": ["read:users!user", wanted]})
        assert refused.status_code == 400
        assert "more than you have" in refused.json()["message"]
        for roles in (["admin"], ["token"]):
            made = await client.post("/hub/api/users/alice/tokens", json={"roles": roles})
            if made.status_code == 201:
                assert all("!user=alice" in scope for scope in made.json()["scopes"])
        for token in await bench.store.tokens.of_user("alice"):
            assert all("!user=alice" in scope for scope in token.scopes)

    bench(main)


def test_the_page_shows_when_a_token_was_last_used(bench):
    async def main(bench):
        alice = await bench.user()
        client = bench.client(bench.session(alice))
        made = (await client.post("/hub/api/users/alice/tokens", json={"note": "nightly"})).json()
        assert made["last_activity"] is None
        assert 'data-label="Last used">never<' in (await client.get("/hub/token")).text
        await bench.store.tokens.used({digest(made["token"]): bench.clock()})
        assert (await client.get(f"/hub/api/users/alice/tokens/{made['id']}")).json()["last_activity"]
        page = (await client.get("/hub/token")).text
        assert 'data-label="Last used">never<' not in page
        assert 'data-label="Last used"><time' in page

    bench(main)


def test_health_reports_when_the_worker_has_lost_the_store(bench):
    async def main(bench):
        assert (await bench.client().get("/hub/health")).status_code == 200
        assert (await bench.client().head("/hub/api/health")).content == b""
        bench.mirror.fresh = False
        assert (await bench.client().get("/hub/api/health")).status_code == 503

    bench(main)


def test_metrics_need_their_scope_and_are_counted(bench):
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


def test_metrics_are_not_public_and_do_not_redirect_to_sign_in(bench):
    """A scraper would take the sign-in page for the metrics."""

    async def main(bench):
        for headers in ({}, {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}):
            for path in ("/hub/metrics", "/hub/api/metrics"):
                for method in ("GET", "HEAD"):
                    answer = await bench.client().request(method, path, headers=headers)
                    assert answer.status_code == 403, (method, path)
                    assert "location" not in answer.headers
                    assert "towpath_" not in answer.text
                    assert "jupyterhub_" not in answer.text

    bench(main)


def test_profiles_and_openapi_show_options_and_no_command(bench):
    async def main(bench):
        client = bench.client(bench.token(await bench.user()))
        offered = (await client.get("/hub/api/towpath/profiles")).json()
        assert [profile["name"] for profile in offered] == ["lab", "gpu"]
        assert offered[1]["options"]["gpus"]["maximum"] == 4
        assert "command" not in offered[0]
        document = (await bench.client().get("/hub/api/towpath/openapi.json")).json()
        assert set(document["paths"]) == {
            f"/hub/api/towpath/{name}"
            for name in (
                "audit",
                "profiles",
                "report",
                "clusters",
                "catalog/{cluster}",
                "offer",
                "groups/{name}/roster",
                "health",
                "connect",
                "device/code",
                "device/token",
            )
        }

    bench(main)


def test_info_needs_read_hub(bench):
    async def main(bench):
        admin = await bench.user("root", admin=True)
        assert (await bench.client(bench.session(admin)).get("/hub/api/info")).json()["version"] == "6.1.1"

    bench(main)
