"""Unmodified jupyterhub-singleuser behind this hub."""

import ast
import asyncio
import json
import re
from contextlib import closing, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.hub import eventually
from tests.jupyterhub.named import LISTED, TOLD
from tests.jupyterhub.rig import NAVIGATE, Running, cookies, decide, form_of, run_cell, visit

pytestmark = pytest.mark.timeout(240)


def page_token(page):
    """Return the OAuth token that the server puts into its page."""
    return re.search(r'"token": "([^"]+)"', page.text)[1]


def test_a_browser_is_signed_in_with_oauth(hub, alices):
    with closing(hub.browser_of("alice")) as browser:
        page = visit(browser, "/user/alice/lab")
        assert page.status_code == 200, page.text
        assert '"hubUser": "alice"' in page.text
        assert "jupyterhub-user-alice" in browser.cookies
        asked = [hop.url for hop in page.history if hop.url.path == "/hub/api/oauth2/authorize"]
        assert len(asked) == 1
        assert asked[0].params["code_challenge_method"] == "S256"


def test_a_kernel_runs_with_the_cookie_from_oauth(hub, alices):
    with closing(hub.browser_of("alice")) as browser:
        token = page_token(visit(browser, "/user/alice/lab"))
        kernel = browser.post("/user/alice/api/kernels", json={}, headers={"Authorization": f"token {token}"})
        assert kernel.status_code == 201, kernel.text
        url = f"ws://127.0.0.1:{hub.port}/user/alice/api/kernels/{kernel.json()['id']}/channels"
        headers = {"Cookie": cookies(browser), "Origin": hub.origin, "Sec-Fetch-Mode": "websocket"}
        assert asyncio.run(run_cell(url, "6*7", headers)) == "42"
        told = set(ast.literal_eval(asyncio.run(run_cell(url, f"import os; {LISTED}", headers))))
        assert told == TOLD | {"JUPYTERHUB_ACTIVITY_INTERVAL"}


def test_signing_out_ends_tokens_and_websockets(hub, alices):
    async def watch(browser, url):
        headers = {"Cookie": cookies(browser), "Origin": hub.origin, "Sec-Fetch-Mode": "websocket"}
        async with connect(url, additional_headers=headers) as line:
            assert (await asyncio.to_thread(browser.post, "/hub/logout")).status_code == 303
            async with asyncio.timeout(2):
                with suppress(ConnectionClosed):
                    while await line.recv():
                        pass
            assert line.close_code == 4401

    with closing(hub.browser_of("alice")) as browser, httpx.Client(base_url=hub.origin) as visitor:
        token = page_token(visit(browser, "/user/alice/lab"))
        bearer = {"Authorization": f"token {token}"}
        me = visitor.get("/hub/api/user", headers=bearer).json()
        assert (me["name"], me["kind"]) == ("alice", "user")
        assert "access:servers!server=alice/" in me["scopes"]
        assert not [scope for scope in me["scopes"] if scope.startswith(("tokens", "servers", "users:"))]
        kernel = browser.post("/user/alice/api/kernels", json={}, headers=bearer).json()["id"]
        asyncio.run(watch(browser, f"ws://127.0.0.1:{hub.port}/user/alice/api/kernels/{kernel}/channels"))
        assert visitor.get("/hub/api/user", headers=bearer).status_code == 403
        assert visitor.get("/user/alice/api/status", headers=bearer).status_code == 403
        left = browser.get("/user/alice/lab", headers=NAVIGATE)
        assert (left.status_code, urlsplit(left.headers["location"]).path) == (302, "/hub/login")
        # after the next sign-in the server signs the user in again, whatever it has cached for the old token
        browser.post("/hub/login", data={"provider": "test", "username": "alice"})
        again = page_token(visit(browser, "/user/alice/lab"))
        assert again != token
        assert browser.get("/user/alice/api/status", headers={"Authorization": f"token {again}"}).status_code == 200


def test_another_user_is_refused_by_the_gateway_and_by_the_provider(hub, alices):
    with closing(hub.browser_of("bob")) as browser:
        assert visit(browser, "/user/alice/lab").status_code == 403
        asked = {
            "client_id": "jupyterhub-user-alice",
            "redirect_uri": "/user/alice/oauth_callback",
            "response_type": "code",
        }
        answer = browser.get("/hub/api/oauth2/authorize", params=asked)
        assert answer.status_code == 403
        assert "You have no access to alice" in answer.text


def test_an_admin_needs_to_consent_and_enters_as_themselves(hub, alices):
    with closing(hub.browser_of("carol")) as browser:
        asks = visit(browser, "/user/alice/lab")
        assert asks.status_code == 200
        assert "Sign in to alice" in asks.text
        data = {**form_of(asks), "towpath_decision": "deny"}
        denied = browser.post("/hub/api/oauth2/authorize", data=data)
        assert httpx.URL(denied.headers["location"]).params["error"] == "access_denied"
        page = decide(browser, asks)
        assert page.status_code == 200, page.text
        assert '"hubUser": "carol"' in page.text
        assert '"hubServerUser": "alice"' in page.text
        # consent is remembered until she signs out
        browser.cookies.delete("jupyterhub-user-alice", path="/user/alice/")
        assert '"hubUser": "carol"' in visit(browser, "/user/alice/lab").text


def test_an_api_token_works_as_with_jupyterhub(hub, alices):
    with hub.api("alice") as mine, hub.api("carol") as admins, hub.api("bob") as others:
        for api, name in ((mine, "alice"), (admins, "carol")):
            told = api.get(f"{hub.origin}/user/alice/api/me")
            assert told.status_code == 200, told.text
            assert told.json()["identity"]["username"] == name
        assert others.get(f"{hub.origin}/user/alice/api/me").status_code == 403
        made = mine.post(f"{hub.origin}/user/alice/api/kernels", json={})
        assert made.status_code == 201, made.text


def test_the_app_receives_only_a_token_that_identifies_the_user(hub, echo):
    with hub.api("carol") as admin, httpx.Client(base_url=hub.origin) as thief:
        sent = admin.headers["authorization"]
        headers = {"Cookie": "jupyterhub-session-id=tossed"}
        told = dict(admin.get(f"{hub.origin}/user/alice/echo/", headers=headers).json()["headers"])
        told = {name.lower(): value for name, value in told.items()}
        assert told["authorization"] != sent
        assert "cookie" not in told
        shown = {"Authorization": told["authorization"]}
        me = thief.get("/hub/api/user", headers=shown).json()
        assert (me["name"], me["kind"]) == ("carol", "user")
        assert {scope.partition("!")[0] for scope in me["scopes"]} <= {
            "access:servers",
            "read:access:servers",
            "read:users:name",
            "read:users:groups",
        }
        assert {scope.partition("!")[2] for scope in me["scopes"]} == {"server=alice/echo", "user=carol"}
        assert thief.get("/hub/api/users", headers=shown).status_code == 403
        assert thief.post("/hub/api/users/carol/tokens", headers=shown).status_code == 403
        # it ends with the token that it replaces
        mine = next(
            one
            for one in admin.get("/users/carol/tokens").json()["api_tokens"]
            if one["id"] == substituted_token(admin)
        )
        assert admin.delete(f"/users/carol/tokens/{mine['id']}").status_code == 204
        eventually(lambda: thief.get("/hub/api/user", headers=shown).status_code == 403, what="its end")


def substituted_token(api):
    """Return the id of this client's token, from the note of its substitute."""
    notes = [one["note"] or "" for one in api.get("/users/carol/tokens").json()["api_tokens"]]
    return next(
        found[1] for note in notes if (found := re.match(r"Replaces the token (\w+) at the server alice/echo", note))
    )


def test_the_app_receives_the_public_id_of_a_session_and_not_its_cookie(hub, echo):
    with closing(hub.browser_of("alice")) as browser:
        told = dict(
            browser.get("/user/alice/echo/", headers={"Cookie": cookies(browser) + "; mine=1"}).json()["headers"]
        )
        cookie = {name.lower(): value for name, value in told.items()}["cookie"]
        assert "towpath-session" not in cookie
        names = [pair.partition("=")[0].strip() for pair in cookie.split(";")]
        assert sorted(names) == ["jupyterhub-session-id", "mine"]
        assert browser.cookies[hub.cookie_name()] not in cookie


def test_the_server_reports_activity_with_its_own_token_which_ends_with_it(hub):
    with Running(hub, "bob") as server:

        def own():
            tokens = server.api.get("/users/bob/tokens").json()["api_tokens"]
            return [one for one in tokens if one["note"] == "The server bob/"]

        eventually(lambda: own() and own()[0]["last_activity"], what="a report of activity")
        assert server.model()["last_activity"]
        environment = server.spec()["environment"]
        secret = environment["JUPYTERHUB_API_TOKEN"]
        assert secret not in json.dumps(server.spec()["command"])
        bearer = {"Authorization": f"token {secret}"}
        with httpx.Client(base_url=hub.origin, headers=bearer) as app:
            me = app.get("/hub/api/user").json()
            assert me["name"] == "bob"
            assert {scope.partition("!")[0] for scope in me["scopes"]} <= {
                "access:servers",
                "read:access:servers",
                "users:activity",
                "read:users:activity",
                "read:users:name",  # the owner, as for every token
                "read:users:groups",
            }
            assert app.get("/hub/api/users/bob/tokens").status_code in {403, 404}
            server.stop()
            eventually(lambda: app.get("/hub/api/user").status_code == 403, what="the end of its token")
        assert not own()


@pytest.mark.parametrize(("profile", "kind"), [("image", "unix"), ("by-port", "tcp")])
def test_the_command_of_a_single_user_image_works_unchanged(hub, profile, kind):
    with Running(hub, "alice", "ported", profile=profile) as server, closing(hub.browser_of("alice")) as browser:
        page = visit(browser, "/user/alice/ported/lab")
        assert page.status_code == 200, page.text
        assert "jupyterhub-user-alice-ported" in browser.cookies
        assert server.report()["endpoint"]["kind"] == kind


def test_a_dash_in_a_user_name_does_not_collide_with_another_users_server(hub):
    with Running(hub, "a-b", profile="echo") as server:
        assert server.spec()["environment"]["JUPYTERHUB_CLIENT_ID"] == "jupyterhub-user-a%2Db"
