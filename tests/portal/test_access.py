"""Every route checks access, so that no forgotten route is open."""

import pytest

PUBLIC = {
    ("GET", "/"),
    ("GET", "/hub"),
    ("GET", "/hub/api"),
    ("GET", "/hub/api/health"),
    ("GET", "/hub/health"),
    ("GET", "/hub/login"),
    ("POST", "/hub/login"),
    ("GET", "/hub/signed-out"),
    ("GET", "/favicon.ico"),
    ("GET", "/hub/logo"),
    ("GET", "/hub/logout"),
    ("POST", "/hub/logout"),
    ("GET", "/hub/error/{status:int}"),
    ("GET", "/hub/static/{digest:str}/{name:str}"),
    ("GET", "/hub/api/towpath"),
    ("GET", "/hub/api/towpath/openapi.json"),
    ("GET", "/hub/api/towpath/{path:str}"),
    ("GET", "/hub/towpath-connect.py"),
    ("POST", "/hub/api/towpath/device/code"),
    ("POST", "/hub/api/towpath/device/token"),  # the program authenticates in the body
    ("POST", "/hub/api/authorizations/token"),  # removed: always 404
    ("POST", "/hub/api/oauth2/token"),  # the client authenticates in the body
}
ANY_CREDENTIAL = {
    ("GET", "/hub/api/oauth2/authorize"),  # needs a session; a token is not accepted
    ("POST", "/hub/api/oauth2/authorize"),
    ("GET", "/hub/api/user"),
    ("GET", "/hub/api/authorizations/token/{token:str}"),  # any valid token may ask for its owner
    ("GET", "/hub/api/authorizations/cookie/{cookie_name:str}/{cookie_value:str}"),  # 404 for any valid token
    ("GET", "/hub/api/towpath/profiles"),
    ("GET", "/hub/api/towpath/clusters"),
    ("POST", "/hub/api/towpath/report"),  # has its own token
    ("GET", "/hub/user/{rest:path}"),  # a redirect
    ("GET", "/hub/user-redirect"),
    ("GET", "/hub/user-redirect/{rest:path}"),  # a redirect to oneself
}


def every(app):
    for route in app.routes:
        for method in sorted(route.methods - {"OPTIONS"}):
            yield ("GET" if method == "HEAD" else method), method, route.path


def filled(path):
    for parameter, value in (
        ("{name:str}", "alice"),
        ("{server:str}", "lab"),
        ("{token_id:str}", "t1"),
        ("{rest:path}", "alice/lab"),
        ("{cluster:str}", "local"),
        ("{status:int}", "404"),
    ):
        path = path.replace(parameter, value)
    return path


def test_every_route_rejects_anonymous_callers_and_tokens_without_scopes(bench):
    async def main(bench):
        alice = await bench.user()
        anonymous, bare = bench.client(), bench.client(bench.token(alice))
        seen = 0
        for named, method, path in every(bench.app):
            if (named, path) in PUBLIC or path.startswith(
                ("/hub/login/", "/hub/oauth_callback/", "/hub/backchannel-logout/")
            ):  # sign-in and redirects from a provider
                continue
            if (method, path) == ("HEAD", "/hub/oauth_callback"):  # the head of the sign-in page, without effects
                continue
            answer = await anonymous.request(method, filled(path))
            to_sign_in = answer.status_code in {302, 303} and "/hub/login" in answer.headers["location"]
            assert answer.status_code in {401, 403} or to_sign_in, (method, path, answer.status_code)
            if (named, path) in ANY_CREDENTIAL:
                continue
            answer = await bare.request(method, filled(path))
            assert answer.status_code == 403, (method, path, answer.status_code)
            seen += 1
        assert seen > 40

    bench(main)


def test_errors_have_jupyterhubs_shape_and_headers(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        for method, path, status in (
            ("GET", "/hub/api/nothing", 404),
            ("GET", "/hub/api/users/alice/servers/none", 404),
            ("PUT", "/hub/api/users/alice", 405),
            ("BREW", "/hub/api/users/alice", 405),
            ("GET", "/hub/api/info", 403),
        ):
            answer = await client.request(method, path)
            assert answer.status_code == status, (method, path)
            assert answer.json()["status"] == status
            assert answer.json()["message"]
            assert answer.headers["x-jupyterhub-version"] == "6.1.1"
            assert answer.headers["content-type"].startswith("application/json")

    bench(main)


def test_invalid_bodies_are_rejected_with_a_message(bench):
    async def main(bench):
        admin = await bench.user("root", admin=True)
        client = bench.client(bench.session(admin))
        paths = [
            ("POST", "/hub/api/users"),
            ("POST", "/hub/api/users/carol"),
            ("PATCH", "/hub/api/users/root"),
            ("POST", "/hub/api/users/root/server"),
            ("PATCH", "/hub/api/users/root/server"),
            ("DELETE", "/hub/api/users/root/server"),
            ("PUT", "/hub/api/users/root/servers/x"),
            ("POST", "/hub/api/users/root/tokens"),
            ("POST", "/hub/api/users/root/activity"),
        ]
        for method, path in paths:
            for raw in (b"{", b"[]", b'"x"', b"\xff\xfe{", b'{"a":' * 3000, b"nul", b'"\\ud800"', b"1e999"):
                answer = await client.request(method, path, content=raw, headers={"Content-Type": "application/json"})
                assert answer.status_code in {400, 404}, (method, path, raw[:20], answer.status_code)
            form = await client.request(method, path, data={"admin": "true"})
            assert form.status_code in {404, 415}, (method, path)
        assert (await client.post("/hub/api/users", content=b"x" * 1_100_000)).status_code == 413

    bench(main)


@pytest.mark.parametrize("name", ["a%2Fb", "%00", "..", "%0d%0a", "x" * 300, "%ff", "é", "a b", "<script>"])
def test_odd_names_are_rejected_without_an_internal_error(bench, name):
    async def main(bench):
        client = bench.client(bench.session(await bench.user("root", admin=True)))
        for method, path in (
            ("GET", f"/hub/api/users/{name}"),
            ("POST", f"/hub/api/users/{name}"),
            ("POST", f"/hub/api/users/root/servers/{name}"),
            ("GET", f"/hub/spawn/root/{name}"),
            ("GET", f"/hub/spawn-pending/{name}"),
            ("GET", f"/hub/user-redirect/{name}"),
            ("GET", f"/hub/login?next=//{name}"),
        ):
            answer = await client.request(method, path)
            assert answer.status_code < 500, (method, path)
            assert "<script>" not in answer.text.replace("&lt;script&gt;", "")

    bench(main)


def test_a_hub_under_a_base_path_stays_there(bench):
    from msgspec.structs import replace

    from state.config.tables import Config, GatewayConfig

    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        assert (await client.get("/lab/hub/api/")).status_code == 200
        assert (await client.get("/hub/api/")).status_code == 404
        assert (await client.get("/lab/")).headers["location"] == "/lab/hub/"
        icon = await client.get((await client.get("/lab/favicon.ico")).headers["location"])
        assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
        page = (await client.get("/lab/hub/home")).text
        assert 'href="/hub' not in page
        assert 'action="/hub' not in page
        assert 'src="/hub' not in page
        await client.post("/lab/hub/api/users/alice/server")
        model = (await client.get("/lab/hub/api/users/alice/server")).json()
        assert model["url"] == "/lab/user/alice/"

    bench(main, config=replace(Config(), gateway=GatewayConfig(base_path="/lab/")))
