"""Services, the routing table, shutdown, and JupyterHub's deprecated paths."""

from msgspec.structs import replace

from state.config.tables import RoleConfig, ServiceConfig
from state.names import server_path
from state.records.models import Endpoint, Route, Status
from state.store.credentials import digest
from tests.portal.conftest import CONFIG

SECRET = "0123456789abcdef0123456789abcdef"
SERVICES = "/hub/api/services"
WITH_SERVICES = replace(
    CONFIG,
    role=(RoleConfig(name="reader", scopes=("read:hub",), services=("culler",)),),
    service=(
        ServiceConfig(name="culler", scopes=("list:users",)),
        ServiceConfig(name="announcer", url="http://127.0.0.1:9999", info={"by": "us"}, display=False),
    ),
)


def test_services_are_shown_according_to_the_scopes(bench):
    async def main(bench):
        root = await bench.user("root", admin=True)
        found = (await bench.client(bench.session(root)).get(SERVICES)).json()
        assert list(found) == ["announcer", "culler"]
        assert found["announcer"] == {
            "kind": "service",
            "name": "announcer",
            "admin": False,
            "url": "http://127.0.0.1:9999",
            "prefix": "/services/announcer/",
            "command": [],
            "pid": 0,
            "info": {"by": "us"},
            "display": False,
            "roles": [],
        }
        assert found["culler"]["roles"] == ["reader"]
        some = bench.client(bench.token(root, "list:services!service=culler"))
        assert (await some.get(SERVICES)).json() == {"culler": {"kind": "service", "name": "culler", "admin": False}}
        assert (await some.get(f"{SERVICES}/culler")).status_code == 200
        assert (await some.get(f"{SERVICES}/announcer")).status_code == 404
        assert (await bench.client(bench.session(await bench.user())).get(f"{SERVICES}/culler")).status_code == 403

    bench(main, config=WITH_SERVICES)


def test_a_service_is_created_used_and_removed_but_not_a_configured_one(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user("root", admin=True)))
        made = await client.post(f"{SERVICES}/extra", json={"url": "https://extra.test", "api_token": SECRET})
        assert made.status_code == 201
        assert made.json()["url"] == "https://extra.test"
        assert (await bench.store.tokens.get(digest(SECRET))).service == "extra"
        assert (
            await client.get("/hub/api/authorizations/token/" + SECRET)
        ).status_code == 403  # a session is not a token
        for name in ("extra", "culler"):
            assert (await client.post(f"{SERVICES}/{name}", json={"url": ""})).status_code == 409
        assert (await client.delete(f"{SERVICES}/extra")).status_code == 200
        assert await bench.store.tokens.get(digest(SECRET)) is None
        assert (await client.delete(f"{SERVICES}/extra")).status_code == 404
        assert (await client.delete(f"{SERVICES}/culler")).status_code == 405

    bench(main, config=WITH_SERVICES)


def test_an_invalid_service_is_rejected_with_a_message(bench):
    async def main(bench):
        root = await bench.user("root", admin=True)
        client = bench.client(bench.session(root))
        for body in (
            {"command": ["python3"]},
            {"url": "file:///etc/passwd"},
            {"oauth_redirect_uri": "//evil"},
            {"oauth_client_id": "service-other"},
            {"api_token": "short"},
            {"oauth_client_allowed_scopes": ["no:such"]},
            {"nonsense": 1},
        ):
            assert (await client.post(f"{SERVICES}/x", json=body)).status_code == 400, body
        assert (await client.post(f"{SERVICES}/X_", json={"url": ""})).status_code == 400
        assert (await client.post(f"{SERVICES}/x")).status_code == 400
        lesser = bench.client(bench.token(root, "admin:services"))
        assert (await lesser.post(f"{SERVICES}/x", json={"admin": True})).status_code == 403
        assert (
            await lesser.post(f"{SERVICES}/x", json={"oauth_client_allowed_scopes": ["servers"]})
        ).status_code == 403
        assert (await lesser.post(f"{SERVICES}/x", json={"url": ""})).status_code == 201

    bench(main)


def route_of(server):
    endpoint = Endpoint(kind="tcp", host="127.0.0.1", port=5000)
    prefix = server_path("/", server.user, server.name)
    return Route(prefix=prefix, user=server.user, name=server.name, attempt=server.attempt, endpoint=endpoint)


def test_the_routing_table_is_shown_without_secrets_and_paged(bench):
    async def main(bench):
        root = await bench.user("root", admin=True)
        client = bench.client(bench.session(root))
        await client.post("/hub/api/users/root/server")
        await bench.make_ready(bench.client(), "root")
        table = (await client.get("/hub/api/proxy")).json()
        assert set(table) == {"/hub/", "/user/root/"}
        assert table["/user/root/"]["data"]["user"] == "root"
        assert table["/user/root/"]["target"].startswith("unix:///")
        assert "secret" not in str(table)
        page = await client.get("/hub/api/proxy?limit=1", headers={"Accept": "application/jupyterhub-pagination+json"})
        assert list(page.json()["items"]) == ["/hub/"]
        assert page.json()["_pagination"]["total"] == 2

    bench(main)


def test_a_check_repairs_the_routing_table(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user("root", admin=True)))
        await client.post("/hub/api/users/root/server")
        server = await bench.make_ready(bench.client(), "root")
        await bench.store.feed.drop_route("/user/root/")
        await bench.store.feed.set_route(replace(route_of(server), prefix="/user/gone/", user="gone"))
        assert (await client.post("/hub/api/proxy")).status_code == 200
        assert set((await client.get("/hub/api/proxy")).json()) == {"/hub/", "/user/root/"}
        assert (await client.patch("/hub/api/proxy", json={"ip": "127.0.0.1", "port": "1"})).status_code == 200
        assert (await client.patch("/hub/api/proxy")).status_code == 400
        assert set((await client.get("/hub/api/proxy")).json()) == {"/hub/", "/user/root/"}

    bench(main)


def test_the_api_shuts_the_hub_down_and_servers_keep_running_unless_requested(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user("root", admin=True)))
        await client.post("/hub/api/users/root/server")
        server = await bench.make_ready(bench.client(), "root")
        for wrong in ({"servers": "yes"}, {"proxy": 1}, []):
            assert (await client.post("/hub/api/shutdown", json=wrong)).status_code == 400
        assert bench.shut_down == []
        ended = await client.post("/hub/api/shutdown", json={"proxy": False})
        assert (ended.status_code, ended.json()) == (202, {"message": "Shutting down Hub"})
        assert len(bench.shut_down) == 1
        assert await bench.store.servers.get("root", "") == server
        await bench.store.servers.save(replace(server, status=Status.STOPPED))
        assert (await client.post("/hub/api/shutdown", json={"servers": True})).status_code == 202
        assert len(bench.shut_down) == 2

    bench(main)


def test_deprecated_paths_respond_as_in_jupyterhub(bench):
    async def main(bench):
        alice = await bench.user()
        await bench.user("root", admin=True)
        made = await bench.client(bench.session(alice)).post("/hub/api/users/alice/tokens", json={})
        asking = bench.client(bench.token(alice))
        model = (await asking.get(f"/hub/api/authorizations/token/{made.json()['token']}")).json()
        assert (model["kind"], model["name"]) == ("user", "alice")
        assert (await asking.get("/hub/api/authorizations/token/none")).status_code == 404
        assert (await bench.client().get("/hub/api/authorizations/token/none")).status_code == 403
        assert (await bench.client().post("/hub/api/authorizations/token", json={})).status_code == 404
        assert (await asking.get("/hub/api/authorizations/cookie/c/v")).status_code == 404
        mine = bench.client(bench.session(alice))
        assert (await mine.post("/hub/api/users/alice/admin-access")).status_code == 403
        assert (await mine.post("/hub/api/users/root/admin-access")).status_code == 404

    bench(main)


def test_responses_to_options_contain_the_version(bench):
    async def main(bench):
        client = bench.client()
        paths = ("/hub/api/", "/hub/api/users", "/hub/api/users/alice/server", "/hub/api/oauth2/token", "/hub/home")
        for path in paths:
            answer = await client.options(path)
            assert answer.status_code == 204
            assert "OPTIONS" in answer.headers["allow"]
            assert answer.headers.get_list("x-jupyterhub-version") == ["6.1.1"]
        assert (await client.get("/hub/api/")).headers.get_list("x-jupyterhub-version") == ["6.1.1"]

    bench(main)
