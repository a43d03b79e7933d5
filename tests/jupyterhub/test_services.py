"""Unmodified JupyterHub services behind this hub: the idle culler, and one that signs users in with HubOAuth."""

import asyncio
import base64
import os
import secrets
import subprocess
from contextlib import closing, contextmanager

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.hub import ROOT, eventually
from tests.jupyterhub.apps import BIN, CULLER
from tests.jupyterhub.rig import NAVIGATE, Running, cookies, decide, form_of, serving, visit
from tests.ports import free_port

pytestmark = pytest.mark.timeout(240)
SERVICES = """
[[service]]
name = "wiki"
url = "http://127.0.0.1:{port}"
api_token_file = "wiki.token"
oauth_scopes = ["read:servers!user"]

[[service]]
name = "board"
url = "http://127.0.0.1:{port_without}"
api_token_file = "board.token"
oauth_no_confirm = true

[[service]]
name = "culler"
api_token_file = "culler.token"

[[service]]
name = "outside"
api_token_file = "outside.token"
oauth_redirect_uris = ["http://localhost:1/back?from=hub"]
oauth_no_confirm = true

[[service]]
name = "wide"
api_token_file = "wide.token"
oauth_redirect_uris = ["http://localhost:1/back?from=hub"]
oauth_no_confirm = true
oauth_scopes = ["read:servers!user", "tokens!user", "list:users", "shutdown"]

[[service]]
name = "closed"
url = "http://127.0.0.1:{port_closed}"
api_token_file = "closed.token"
oauth_no_confirm = true

[[service]]
name = "grader"
api_token_file = "grader.token"
scopes = ["access:servers!user=alice"]

[[role]]
name = "assists"
scopes = ["access:servers!group=course"]
groups = ["assistants"]

[[role]]
name = "user"
scopes = [
    "self",
    "access:services!service=wiki",
    "access:services!service=board",
    "access:services!service=outside",
    "access:services!service=wide",
]

[[role]]
name = "insiders"
scopes = ["access:services!service=closed"]
groups = ["insiders"]

[[role]]
name = "culls"
scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
services = ["culler"]
"""


@contextmanager
def service(hub, name, port):
    """Run tests/apps/hub_service.py as a service."""
    environment = {
        "PATH": os.environ["PATH"],
        "JUPYTERHUB_SERVICE_NAME": name,
        "JUPYTERHUB_SERVICE_PREFIX": f"/services/{name}/",
        "JUPYTERHUB_CLIENT_ID": f"service-{name}",
        "JUPYTERHUB_API_TOKEN": hub.secrets[name],
        "JUPYTERHUB_API_URL": f"{hub.origin}/hub/api",
        "JUPYTERHUB_BASE_URL": "/",
    }
    program = [BIN / "python", ROOT / "tests/apps/hub_service.py", str(port)]
    with subprocess.Popen(program, env=environment) as process:
        try:
            eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/services/{name}/open").status_code == 200)
            yield
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    tokens = {
        name: secrets.token_hex(32) for name in ("wiki", "board", "culler", "outside", "wide", "closed", "grader")
    }
    for name, token in tokens.items():
        (folder / f"{name}.token").write_text(token)
        (folder / f"{name}.token").chmod(0o600)
    wiki, board, closed = free_port(), free_port(), free_port()
    with serving(folder, SERVICES.format(port=wiki, port_without=board, port_closed=closed)) as hub:
        hub.secrets = tokens
        with service(hub, "wiki", wiki), service(hub, "board", board), service(hub, "closed", closed):
            yield hub


def test_a_service_signs_users_in_after_their_consent(hub):
    with closing(hub.browser_of("alice")) as browser:
        asks = visit(browser, "/services/wiki/?page=1")
        assert asks.status_code == 200
        assert "Sign in to wiki?" in asks.text
        assert "see servers (yours)" in asks.text
        told = decide(browser, asks).json()
        assert (told["user"]["name"], told["user"]["kind"]) == ("alice", "user")
        assert told["uri"] == "/services/wiki/?page=1"
        assert "access:services!service=wiki" in told["user"]["scopes"]
        assert "read:servers!user=alice" in told["user"]["scopes"]
        assert "towpath-session" not in told["cookies"]
        assert {"jupyterhub-session-id", "service-wiki"} <= set(told["cookies"])


def test_a_service_is_told_when_a_user_declines(hub):
    with closing(hub.browser_of("bob")) as browser:
        denied = decide(browser, visit(browser, "/services/wiki/"), "deny")
        assert denied.status_code == 400
        assert denied.url.path == "/services/wiki/oauth_callback"
        assert denied.url.params["error"] == "access_denied"


def test_a_service_with_oauth_no_confirm_needs_no_consent(hub):
    with closing(hub.browser_of("bob")) as browser:
        assert visit(browser, "/services/board/").json()["user"]["name"] == "bob"


def test_a_user_without_a_session_signs_in_first_and_returns_to_the_service(hub):
    with httpx.Client(base_url=hub.origin, headers={"Origin": hub.origin, "Sec-Fetch-Site": "same-origin"}) as browser:
        page = visit(browser, "/services/board/?deep=1")
        assert page.url.path == "/hub/login"
        sign_in = {"provider": "test", "username": "bob", "next": page.url.params["next"]}
        told = browser.post("/hub/login", data=sign_in, headers=NAVIGATE, follow_redirects=True).json()
        assert (told["user"]["name"], told["uri"]) == ("bob", "/services/board/?deep=1")


def test_a_user_can_list_and_end_sign_ins_to_services(hub):
    with closing(hub.browser_of("bob")) as browser, hub.api("carol") as admin:
        visit(browser, "/services/board/")
        assert "Signed in to board" in browser.get("/hub/token").text
        acts = admin.get("/towpath/audit").text
        assert "board: access:services!service=board" in acts
        browser.post("/hub/token/revoke", data={"client": "service-board"})
        assert "Signed in to board" not in browser.get("/hub/token").text


def test_signing_out_of_the_hub_signs_out_of_services_at_once(hub):
    with closing(hub.browser_of("alice")) as browser:
        visit(browser, "/services/board/")
        browser.post("/hub/logout")
        browser.post("/hub/login", data={"provider": "test", "username": "bob"})
        assert visit(browser, "/services/board/").json()["user"]["name"] == "bob"


def test_the_logo_is_at_jupyterhubs_path(hub):
    with httpx.Client(base_url=hub.origin, follow_redirects=True) as visitor:
        assert visitor.get("/hub/logo").headers["content-type"].startswith("image/svg")


def test_a_service_receives_tokens_unchanged(hub):
    with hub.api("alice") as api, httpx.Client(base_url=hub.origin) as visitor:
        for url in ("/services/wiki/by-token", "/services/wiki/"):
            told = api.get(hub.origin + url).json()
            assert told["user"]["name"] == "alice"
        assert visitor.get("/services/wiki/by-token").json() == {"user": None}
        shown = {"Authorization": "token " + "x" * 43}
        assert visitor.get("/services/wiki/by-token", headers=shown).json() == {"user": None}


def test_a_service_has_its_own_token(hub):
    with httpx.Client(base_url=hub.origin, headers={"Authorization": f"token {hub.secrets['wiki']}"}) as api:
        me = api.get("/hub/api/user").json()
        assert (me["name"], me["kind"]) == ("wiki", "service")
        assert api.get("/hub/api/users").status_code == 403


def test_a_service_accepts_programs_and_its_own_pages_but_not_pages_of_other_sites(hub):
    with httpx.Client(base_url=hub.origin) as client:
        assert client.post("/services/wiki/open").status_code == 200
        client.cookies.clear()
        assert client.post("/services/wiki/open", headers={"Origin": "https://evil.example"}).status_code == 200
        with_cookie = {"Cookie": "service-wiki=1"}
        for foreign in (
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert client.post("/services/wiki/open", headers={**with_cookie, **foreign}).status_code == 403
        assert client.post("/services/wiki/open", headers={**with_cookie, "Origin": hub.origin}).status_code == 200


def test_a_service_can_set_cookies_only_for_its_path(hub):
    with httpx.Client(base_url=hub.origin) as client:
        answer = client.get("/services/wiki/open")
        assert answer.headers.get_list("set-cookie") == ["theirs=1; Path=/services/wiki/"]
        assert client.get("/services/wiki").headers["location"] == "/services/wiki/"
        assert client.get("/services/nothing/").status_code == 404


def test_websockets_to_a_service_work_and_end_at_sign_out(hub):
    async def talk(browser):
        cookie = cookies(browser)
        url = f"ws://127.0.0.1:{hub.port}/services/wiki/echo"
        with pytest.raises(InvalidStatus):
            await connect(url, additional_headers={"Cookie": cookie, "Origin": "https://evil.example"})
        async with connect(url, additional_headers={"Cookie": cookie, "Origin": hub.origin}) as line:
            await line.send("hello")
            assert await line.recv() == "hello"
            await asyncio.to_thread(browser.post, "/hub/logout")
            async with asyncio.timeout(2):
                with pytest.raises(ConnectionClosed):
                    await line.recv()

    with closing(hub.browser_of("alice")) as browser:
        asyncio.run(talk(browser))


def test_the_idle_culler_stops_idle_servers(hub):
    environment = {"PATH": os.environ["PATH"], "JUPYTERHUB_API_TOKEN": hub.secrets["culler"]}
    with Running(hub, "alice", profile="echo") as server:
        program = [CULLER, f"--url={hub.origin}/hub/api", "--timeout=1", "--cull-every=1"]
        with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                eventually(lambda: not server.model().get("ready"), what="the culler to stop it")
            finally:
                process.terminate()
            log = process.stderr.read()
        assert "Culling server alice" in log, log
        assert "Traceback" not in log, log


SWEEPS = """
[[service]]
name = "sweeper"
api_token_file = "sweeper.token"

[[role]]
name = "sweeps"
scopes = ["list:users", "read:users", "read:servers", "delete:servers", "admin:users"]
services = ["sweeper"]
"""


def test_the_idle_culler_removes_idle_named_servers_and_users_on_all_pages_and_keeps_active_ones(tmp_path):
    """Also: a service with `admin:users` can create users, but not admins."""
    token = secrets.token_hex(32)
    (tmp_path / "sweeper.token").write_text(token)
    (tmp_path / "sweeper.token").chmod(0o600)
    headers = {"Authorization": f"token {token}"}
    with serving(tmp_path, SWEEPS) as hub, httpx.Client(base_url=f"{hub.origin}/hub/api", headers=headers) as sweeper:
        assert sweeper.post("/users", json={"usernames": ["old1", "old2"]}).status_code == 201
        assert sweeper.post("/users/old3").status_code == 201
        assert sweeper.post("/users/chief", json={"admin": True}).status_code == 403
        with Running(hub, "alice", "lab2", profile="echo") as server:
            program = [CULLER, f"--url={hub.origin}/hub/api", "--timeout=12", "--cull-every=1", "--api-page-size=1"]
            program += ["--cull-users=True", "--remove-named-servers=True"]
            environment = {"PATH": os.environ["PATH"], "JUPYTERHUB_API_TOKEN": token}
            log = tmp_path / "culler.log"
            with log.open("w") as lines, subprocess.Popen(program, env=environment, stderr=lines) as process:
                try:
                    # alice uses the API, which is activity of hers but not of her server
                    eventually(
                        lambda: server.api.get("/users/alice/servers/lab2").status_code == 404,
                        what="its removal",
                        seconds=40,
                    )
                    for name in ("old1", "old2", "old3"):
                        eventually(
                            lambda who=name: sweeper.get(f"/users/{who}").status_code == 404, what=f"{name}'s end"
                        )
                    assert server.api.get("/user").json()["name"] == "alice"
                finally:
                    process.terminate()
            told = log.read_text()
            assert "Culling user alice" not in told
            assert "Traceback" not in told, told


@pytest.fixture(scope="module")
def echo(hub):
    """An app that returns the requests it receives, as alice's server `echo`."""
    with Running(hub, "alice", "echo", profile="echo") as server:
        yield server


def test_a_service_reaches_a_server_as_itself_without_exposing_its_token(hub, echo):
    with httpx.Client(base_url=hub.origin) as client:
        sent = f"token {hub.secrets['grader']}"
        told = dict(client.get("/user/alice/echo/", headers={"Authorization": sent}).json()["headers"])
        shown = {"Authorization": next(value for name, value in told.items() if name.lower() == "authorization")}
        assert shown["Authorization"] != sent
        me = client.get("/hub/api/user", headers=shown).json()
        assert (me["name"], me["kind"]) == ("grader", "service")
        assert [scope for scope in me["scopes"] if scope.startswith("access:")] == ["access:servers!server=alice/echo"]


def test_access_through_a_group_ends_when_the_user_leaves_the_group(hub, echo):
    with (
        hub.api("carol") as admin,
        closing(hub.browser_of("bob")) as browser,
        httpx.Client(base_url=hub.origin) as client,
    ):
        admin.patch("/users/alice", json={"groups": ["course"]})
        admin.patch("/users/bob", json={"groups": ["assistants"]})
        server = {"client_id": "jupyterhub-user-alice-echo", "redirect_uri": "/user/alice/echo/oauth_callback"}

        def allowed():
            answer = browser.get("/hub/api/oauth2/authorize", params=authorize_params(**server))
            return answer if answer.status_code == 200 else None

        asks = eventually(allowed, what="bob's access by his group")
        answer = browser.post("/hub/api/oauth2/authorize", data={**form_of(asks), "towpath_decision": "allow"})
        code = httpx.URL(answer.headers["location"]).params["code"]
        secret = echo.spec()["environment"]["JUPYTERHUB_API_TOKEN"]
        told = exchange(client, code, secret, **server).json()
        assert "access:servers!server=alice/echo" in told["scope"].split()
        bearer = {"Authorization": f"token {told['access_token']}"}
        assert "access:servers!server=alice/echo" in client.get("/hub/api/user", headers=bearer).json()["scopes"]
        seen = client.get("/user/alice/echo/", headers=bearer)
        assert ["authorization", bearer["Authorization"]] in [[n.lower(), v] for n, v in seen.json()["headers"]]
        admin.patch("/users/bob", json={"groups": []})
        eventually(lambda: client.get("/user/alice/echo/", headers=bearer).status_code == 403, what="its end")


def authorize_params(**changed):
    given = {
        "client_id": "service-outside",
        "redirect_uri": "http://localhost:1/back?from=hub",
        "response_type": "code",
        "state": "s",
    }
    return {name: value for name, value in (given | changed).items() if value is not None}


def code_for(browser, **changed):
    answer = browser.get("/hub/api/oauth2/authorize", params=authorize_params(**changed))
    assert answer.status_code == 302, answer.text
    return httpx.URL(answer.headers["location"])


def exchange(client, code, secret, **changed):
    sent = {"client_id": "service-outside", "client_secret": secret, "grant_type": "authorization_code", "code": code}
    sent["redirect_uri"] = "http://localhost:1/back?from=hub"
    return client.post("/hub/api/oauth2/token", data=sent | changed)


def test_a_code_works_once_and_using_it_again_revokes_its_token(hub):
    with closing(hub.browser_of("alice")) as browser, httpx.Client(base_url=hub.origin) as client:
        where = code_for(browser)
        assert (where.params["state"], where.params["from"]) == ("s", "hub")
        first = exchange(client, where.params["code"], hub.secrets["outside"])
        assert first.status_code == 200, first.text
        assert first.headers["cache-control"] == "no-store"
        told = first.json()
        assert told["token_type"] == "Bearer"
        assert 0 < told["expires_in"] <= 14 * 24 * 3600
        bearer = {"Authorization": f"Bearer {told['access_token']}"}
        assert client.get("/hub/api/user", headers=bearer).json()["name"] == "alice"
        again = exchange(client, where.params["code"], hub.secrets["outside"])
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        eventually(lambda: client.get("/hub/api/user", headers=bearer).status_code == 403, what="its end")


def test_a_client_can_authenticate_with_basic_and_without_an_origin(hub):
    with closing(hub.browser_of("alice")) as browser, httpx.Client(base_url=hub.origin) as client:
        code = code_for(browser).params["code"]
        basic = base64.b64encode(f"service-outside:{hub.secrets['outside']}".encode()).decode()
        sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": authorize_params()["redirect_uri"]}
        answer = client.post("/hub/api/oauth2/token", data=sent, headers={"Authorization": f"Basic {basic}"})
        assert answer.status_code == 200, answer.text
        wrong = client.post("/hub/api/oauth2/token", data=sent, headers={"Authorization": "Basic eDp5"})
        assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
        assert wrong.headers["www-authenticate"].startswith("Basic")


def test_a_code_cannot_be_exchanged_with_another_clients_secret(hub):
    with closing(hub.browser_of("alice")) as browser, httpx.Client(base_url=hub.origin) as client:
        code = code_for(browser).params["code"]
        stolen = exchange(client, code, hub.secrets["wiki"], client_id="service-wiki")
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")


def test_a_code_of_an_ended_session_is_rejected(hub):
    with closing(hub.browser_of("alice")) as browser, httpx.Client(base_url=hub.origin) as client:
        code = code_for(browser).params["code"]
        browser.post("/hub/logout")
        assert exchange(client, code, hub.secrets["outside"]).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "service-nothing"},
        {"client_id": None},
        {"client_id": "service-culler"},
        {"client_id": "jupyterhub-user-alice"},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://localhost:1/back"},
        {"redirect_uri": "//localhost:1/back?from=hub"},
    ],
)
def test_an_untrusted_authorization_request_gets_an_error_page_and_no_redirect(hub, changed):
    with closing(hub.browser_of("alice")) as browser:
        answer = browser.get("/hub/api/oauth2/authorize", params=authorize_params(**changed))
        assert answer.status_code == 400
        assert "location" not in answer.headers
        assert answer.headers["content-type"].startswith("text/html")


def test_errors_are_returned_to_the_client_with_its_state(hub):
    with closing(hub.browser_of("alice")) as browser:
        assert code_for(browser, response_type="token").params["error"] == "unsupported_response_type"
        assert code_for(browser, code_challenge="x" * 43).params["error"] == "invalid_request"
        assert code_for(browser, response_type="token").params["state"] == "s"


def test_scopes_are_limited_to_those_of_client_and_user(hub):
    with closing(hub.browser_of("bob")) as browser, httpx.Client(base_url=hub.origin) as client:
        for scope in ("admin:users", "inherit", "self", "read:users:name list:users", "servers"):
            code = code_for(browser, scope=scope).params["code"]
            granted = exchange(client, code, hub.secrets["outside"]).json()["scope"].split()
            assert set(granted) == {
                "access:services!service=outside",
                "read:users:name!user=bob",
                "read:users:groups!user=bob",
            }


def scopes_by(client, browser, name, **changed):
    """Return the scopes of a token that the service gets, and the Authorization header with it."""
    where = code_for(browser, client_id=f"service-{name}", **changed)
    secret = browser.hub.secrets[name]
    told = exchange(client, where.params["code"], secret, client_id=f"service-{name}").json()
    bearer = {"Authorization": f"Bearer {told['access_token']}"}
    me = client.get("/hub/api/user", headers=bearer).json()
    assert set(told["scope"].split()) == set(me["scopes"])
    return set(me["scopes"]), bearer


@contextmanager
def signed_in(hub, name):
    with closing(hub.browser_of(name)) as browser:
        browser.hub = hub
        yield browser


ALWAYS = {"access:services!service=wide", "read:users:name!user=bob", "read:users:groups!user=bob"}
SERVERS = {"read:servers!user=bob", "read:users:name!user=bob"}
TOKENS = {"tokens!user=bob", "read:tokens!user=bob"}


def test_a_token_has_the_requested_scopes_that_both_client_and_user_have(hub):
    """The client may have servers, tokens, names of users, and shutdown; bob has his own; a part is requested."""
    with signed_in(hub, "bob") as browser, httpx.Client(base_url=hub.origin) as client:
        whole, _ = scopes_by(client, browser, "wide")
        assert whole >= ALWAYS | SERVERS | TOKENS
        assert not [one for one in whole if one.startswith(("list:", "shutdown", "servers", "delete:"))]
        assert {one.partition("!")[2] for one in whole} == {"user=bob", "service=wide"}
        for asked_for, had in (
            ("read:servers!user", ALWAYS | SERVERS),
            ("read:servers!user=bob list:users shutdown", ALWAYS | SERVERS),
            ("read:servers!user=alice", ALWAYS),
            ("servers!user admin:users", ALWAYS | SERVERS),
            ("tokens!user", ALWAYS | TOKENS),
        ):
            some, _ = scopes_by(client, browser, "wide", scope=asked_for)
            assert some == had, asked_for


def test_a_token_of_a_service_loses_scopes_together_with_its_user(hub):
    with (
        hub.api("carol") as admin,
        httpx.Client(base_url=hub.origin) as client,
        signed_in(hub, "a-b") as browser,
    ):
        admin.patch("/users/a-b", json={"admin": True}).raise_for_status()
        eventually(lambda: browser.get("/hub/api/users").status_code == 200, what="the rights of an admin")
        whole, bearer = scopes_by(client, browser, "wide")
        assert {"list:users", "shutdown"} <= whole
        assert client.get("/hub/api/users", headers=bearer).status_code == 200
        admin.patch("/users/a-b", json={"admin": False}).raise_for_status()
        eventually(
            lambda: client.get("/hub/api/users", headers=bearer).status_code == 403, what="the loss of these rights"
        )
        left = set(client.get("/hub/api/user", headers=bearer).json()["scopes"])
        assert left < whole
        assert not left & {"list:users", "shutdown"}
        assert "tokens!user=a-b" in left


def test_a_token_of_a_service_belongs_to_one_sign_in_and_names_it(hub):
    with signed_in(hub, "alice") as one, signed_in(hub, "alice") as other, httpx.Client(base_url=hub.origin) as client:
        of_sign_ins, bearers = [], []
        for browser in (one, other):
            _, bearer = scopes_by(client, browser, "outside")
            told = client.get("/hub/api/user", headers=bearer).json()["session_id"]
            assert told == browser.get("/hub/api/user").json()["session_id"]
            assert told not in cookies(browser)  # the id identifies the session and gives no access
            of_sign_ins.append(told)
            bearers.append(bearer)
        assert len(set(of_sign_ins)) == 2
        with hub.api("alice") as api:
            listed = api.get("/users/alice/tokens").json()["api_tokens"]
            by_session = [token["session_id"] for token in listed if token["note"] == "Signed in to outside"]
            assert set(of_sign_ins) <= set(by_session)
            assert api.get("/user").json()["session_id"] is None
            assert {token["session_id"] for token in listed if token["oauth_client"] == "JupyterHub"} == {None}
        one.post("/hub/logout")
        eventually(lambda: client.get("/hub/api/user", headers=bearers[0]).status_code == 403, what="the end of one")
        assert client.get("/hub/api/user", headers=bearers[1]).json()["session_id"] == of_sign_ins[1]


def test_hub_oauth_admits_only_users_who_may_use_the_service(hub):
    """The provider refuses a code, and HubOAuth itself refuses a token without access to the service."""
    with hub.api("carol") as admin, hub.api("a-b") as api, signed_in(hub, "a-b") as browser:
        refused = visit(browser, "/services/closed/")
        assert refused.status_code == 403
        assert "You have no access to closed" in refused.text
        assert refused.url.path == "/hub/api/oauth2/authorize"
        assert "service-closed" not in browser.cookies
        assert api.get(f"{hub.origin}/services/closed/").status_code == 403
        # a token for another service does not work either
        with httpx.Client(base_url=hub.origin) as client:
            _, bearer = scopes_by(client, browser, "outside")
            assert client.get("/services/closed/", headers=bearer).status_code == 403
            assert client.get("/services/board/", headers=bearer).status_code == 403
        # an admin may use all services
        assert admin.get(f"{hub.origin}/services/closed/").json()["user"]["name"] == "carol"
        admin.patch("/users/a-b", json={"groups": ["insiders"]}).raise_for_status()
        told = eventually(
            lambda: page if (page := visit(browser, "/services/closed/")).status_code == 200 else None, what="access"
        )
        assert told.json()["user"]["name"] == "a-b"
        assert "access:services!service=closed" in told.json()["user"]["scopes"]


def test_a_token_cannot_authorize_and_a_foreign_form_cannot_consent(hub):
    with hub.api("alice") as api:
        answer = api.get(f"{hub.origin}/hub/api/oauth2/authorize", params=authorize_params())
        assert (answer.status_code, httpx.URL(answer.headers["location"]).path) == (302, "/hub/login")
        decision = {**authorize_params(), "towpath_decision": "allow"}
        assert api.post(f"{hub.origin}/hub/api/oauth2/authorize", data=decision).status_code == 403
    with closing(hub.browser_of("alice")) as browser:
        for foreign in (
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert browser.post("/hub/api/oauth2/authorize", data=decision, headers=foreign).status_code == 403
        asks = browser.get("/hub/api/oauth2/authorize", params=authorize_params())
        assert "frame-ancestors 'none'" in asks.headers["content-security-policy"]
