"""Sign-in and sign-out with a real, certified identity provider, through the hub's pages."""

import asyncio
import re
from contextlib import contextmanager
from html import unescape

import httpx
import pytest
from campus import USERS, Browser, Campus, page_text
from hub import Hub, eventually
from ports import free_port
from stage import SHARED, Stage
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.echo_hub import ECHO, LOCAL

pytestmark = pytest.mark.timeout(240)
PROFILE = f"""
{LOCAL}{ECHO}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The campus, and a hub with it as the only provider, which reviews sessions every two seconds."""
    port = free_port()
    campus = Campus(("hub", f"http://127.0.0.1:{port}")).start()
    rules = 'groups_claim = "groups"\nrefresh = 2'
    config = f"""
[auth]
allowed_groups = ["physics"]
admins = ["carol"]
{campus.config(oidc=rules)}
{PROFILE}
"""
    hub = Hub(tmp_path_factory.mktemp("oidc"), config=config, workers=2)
    hub.port = port
    hub.start()
    yield campus, hub
    hub.close()
    campus.stop()


@contextmanager
def signed_in(place, name, url="/hub/home"):
    """Return the browser of a user who has signed in."""
    campus, hub = place
    with Browser(hub.origin) as browser:
        answer = browser.at_campus(url, name)
        assert answer.status_code == 200, answer.text
        browser.headers.update({"Origin": hub.origin, "Sec-Fetch-Site": "same-origin"})
        yield browser


def open_socket(hub, browser, path):
    cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar if cookie.path == "/")
    headers = {"Cookie": cookie, "Origin": hub.origin}
    return connect(f"ws://127.0.0.1:{hub.port}{path}", additional_headers=headers, origin=None, proxy=None)


def run_echo(hub, browser, name):
    """Start the user's echo server."""
    answer = browser.post(f"{hub.origin}/hub/api/users/{name}/server", json={"profile": "echo"})
    assert answer.status_code in (201, 202), answer.text
    eventually(lambda: browser.get(f"{hub.origin}/user/{name}/").status_code == 200, what="the app")


def end_echo(hub, name):
    """Stop it as an admin, because its owner may have lost access."""
    with hub.api("carol") as api:
        api.delete(f"/users/{name}/server")
        eventually(lambda: api.get(f"/users/{name}/server").json()["stopped"], what="the end")


def test_with_one_provider_sign_in_redirects_directly_and_returns_to_the_requested_page(place):
    campus, hub = place
    with Browser(hub.origin) as browser:
        first = browser.get(f"{hub.origin}/hub/login?next=/hub/token")
        assert first.status_code == 302
        assert first.headers["location"].startswith(f"{campus.issuer}/auth?")
        assert f"redirect_uri=http%3A%2F%2F127.0.0.1%3A{hub.port}%2Fhub%2Foauth_callback&" in first.headers["location"]
        assert "code_challenge_method=S256" in first.headers["location"]
        cookie = first.headers["set-cookie"]
        assert re.fullmatch(
            rf"towpath-sign-in\.{hub.port}=[\w-]{{43}}; Path=/hub/; HttpOnly; SameSite=Lax; Max-Age=600", cookie
        ), cookie
        answer = browser.at_campus("/hub/login?next=/hub/token", "alice")
        assert str(answer.url) == f"{hub.origin}/hub/token"
        me = browser.get(f"{hub.origin}/hub/api/user").json()
        assert (me["name"], me["groups"], me["admin"]) == ("alice", ["physics", "staff"], False)


def test_sign_in_returns_to_the_requested_page_of_an_app(place):
    _, hub = place
    with Browser(hub.origin) as browser:
        answer = browser.at_campus("/user/bob/lab/tree/a%20b.ipynb?x=1&y=2", "bob")
        assert str(answer.url) == f"{hub.origin}/user/bob/lab/tree/a%20b.ipynb?x=1&y=2"
        assert answer.status_code == 424


@pytest.mark.parametrize(
    "next_url",
    [
        *("//evil.example", "https://evil.example/", "/\\evil.example", "https:///evil.example", "/%0d%0aX: y"),
        *("//127.0.0.1@evil.example/", "javascript:alert(1)", "/../../x", "/%2f/evil.example", "/hub/..;/x"),
    ],
)
def test_next_never_redirects_to_another_site(place, next_url):
    """CVE-2019-10255, CVE-2026-33709 (GHSA-3vff-hjqv-m7h8)."""
    _, hub = place
    with Browser(hub.origin) as browser:
        first = browser.get(f"{hub.origin}/hub/login", params={"next": next_url})
        answer = browser.at_campus(first.headers["location"], "alice")
        assert str(answer.url) == f"{hub.origin}/hub/home"


def test_a_rejected_user_sees_the_account_and_can_choose_another(place):
    _, hub = place
    with Browser(hub.origin) as browser:
        answer = browser.at_campus("/hub/login?next=/hub/token", "mallory")
        assert answer.status_code == 403
        assert "You are signed in as mallory, but mallory is not allowed to use this hub." in page_text(answer)
        assert hub.cookie_name() not in browser.cookies
        again = unescape(re.search(r'href="([^"]*other=yes[^"]*)"', answer.text)[1])
        form = browser.walk(again)
        assert "/interaction/" in str(form.url)  # although mallory is signed in there
        answer = browser.at_campus(again, "alice")
        assert str(answer.url) == f"{hub.origin}/hub/token"


def test_an_error_page_does_not_start_another_sign_in(place):
    _, hub = place
    with Browser(hub.origin) as browser:
        answer = browser.at_campus("/hub/login", "alice", answer="no")
        assert (answer.status_code, str(answer.url).partition("?")[0]) == (403, f"{hub.origin}/hub/oauth_callback")
        assert "refused" in page_text(answer)
        assert "http-equiv" not in answer.text
        answer = browser.get(f"{hub.origin}/hub/oauth_callback?code=x&state=y")
        assert answer.status_code == 403
        assert "Start again here" in page_text(answer)


def test_a_prefetch_does_not_start_a_sign_in(place):
    _, hub = place
    for path in ("/hub/login", "/hub/login/campus"):
        answer = httpx.get(f"{hub.origin}{path}", headers={"Sec-Purpose": "prefetch;prerender"})
        assert answer.status_code == 200
        # `_xsrf` is for scripts that sign in, as at JupyterHub; a sign-in that has begun has a cookie of its own.
        assert set(answer.cookies) <= {"_xsrf"}


def test_programs_are_not_redirected_to_the_provider(place):
    _, hub = place
    answer = httpx.get(f"{hub.origin}/user/alice/api", headers={"Sec-Fetch-Mode": "cors"})
    assert (answer.status_code, answer.json()["status"]) == (403, 403)


def test_a_signed_in_user_who_goes_back_in_history_is_redirected_to_the_home_page(place):
    _, hub = place
    with signed_in(place, "alice") as browser:
        answer = browser.get(f"{hub.origin}/hub/oauth_callback?code=used&state=used")
        assert (answer.status_code, answer.headers["location"]) == (302, "/hub/home")


def test_signing_in_again_gives_a_new_session_and_ends_the_old_one(place):
    """Session fixation."""
    _, hub = place
    with signed_in(place, "alice") as browser:
        old = browser.cookies[hub.cookie_name()]
        browser.at_campus("/hub/login/campus", "alice")
        assert browser.cookies[hub.cookie_name()] != old
        cookies = {hub.cookie_name(): old}
        eventually(
            lambda: httpx.get(f"{hub.origin}/hub/api/user", cookies=cookies).status_code == 403,
            what="the old one's end",
        )


def test_signing_out_also_signs_out_at_the_provider(place):
    campus, hub = place
    with signed_in(place, "alice") as browser:
        answer = browser.post(f"{hub.origin}/hub/logout")
        assert answer.status_code == 200
        assert "Max-Age=0" in answer.headers["set-cookie"]
        onward = unescape(re.search(r'http-equiv="refresh" content="0;\s*url=([^"]*)"', answer.text)[1])
        assert onward.startswith(f"{campus.issuer}/session/end?")
        eventually(lambda: browser.get(f"{hub.origin}/hub/api/user").status_code == 403, what="the end of the session")
        page = browser.walk(onward)
        secret = re.search(r'name="xsrf" value="([^"]*)"', page.text)[1]
        done = browser.post(f"{campus.issuer}/session/end/confirm", data={"xsrf": secret, "logout": "yes"})
        answer = browser.walk(done.headers["location"])
        assert (answer.status_code, str(answer.url)) == (200, f"{hub.origin}/hub/signed-out")
        assert "You are signed out" in page_text(answer)
        form = browser.walk("/hub/login")
        assert "/interaction/" in str(form.url)


def test_a_user_disabled_at_the_provider_loses_all_access_within_a_minute(place):
    campus, hub = place
    with signed_in(place, "bob") as browser, hub.api("bob") as api:
        run_echo(hub, browser, "bob")

        async def stay():
            async with open_socket(hub, browser, "/user/bob/ws") as socket:
                await socket.send("hello")
                assert "hello" in str(await socket.recv())
                await asyncio.to_thread(campus.control, user="bob", disabled=True)
                with pytest.raises(ConnectionClosed) as caught:
                    await asyncio.wait_for(socket.recv(), 60)
                return caught.value.rcvd.code

        try:
            assert api.get("/user").status_code == 200
            assert asyncio.run(stay()) == 4401
            eventually(lambda: browser.get(f"{hub.origin}/hub/api/user").status_code == 403, what="the other worker")
            assert browser.get(f"{hub.origin}/user/bob/").status_code in {302, 403}
            assert eventually(lambda: api.get("/user").status_code == 403, what="the token's end")
        finally:
            campus.control(user="bob", disabled=False)
    end_echo(hub, "bob")


def test_a_logout_at_the_provider_ends_sessions_and_open_websockets(place):
    """Back-channel logout: the provider posts a signed token to the hub."""
    campus, hub = place
    with signed_in(place, "alice") as browser, signed_in(place, "carol") as carol:
        run_echo(hub, browser, "alice")

        async def stay():
            async with open_socket(hub, browser, "/user/alice/ws") as socket:
                await socket.send("hello")
                assert "hello" in str(await socket.recv())
                told = await asyncio.to_thread(campus.control, logout="alice")
                assert "hub" in told["notified"]
                with pytest.raises(ConnectionClosed) as caught:
                    await asyncio.wait_for(socket.recv(), 30)
                return caught.value.rcvd.code

        assert asyncio.run(stay()) == 4401
        eventually(lambda: browser.get(f"{hub.origin}/hub/api/user").status_code == 403, what="the other worker")
        assert carol.get(f"{hub.origin}/hub/api/user").json()["name"] == "carol"
    end_echo(hub, "alice")


def test_only_logout_tokens_are_accepted_at_the_logout_address(place):
    _, hub = place
    for fields in ({}, {"logout_token": "x"}, {"logout_token": "a.b.c"}):
        answer = httpx.post(f"{hub.origin}/hub/backchannel-logout/campus", data=fields)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert answer.headers["cache-control"] == "no-store"
    assert httpx.post(f"{hub.origin}/hub/backchannel-logout/nowhere", data={"logout_token": "x"}).status_code == 400
    assert httpx.get(f"{hub.origin}/hub/backchannel-logout/campus").status_code == 405
    for path in ("/hub/logout", "/hub/login", "/hub/backchannel-logout", "/hub/api/backchannel-logout/campus"):
        assert httpx.post(f"{hub.origin}{path}").status_code == 403, path
    with signed_in(place, "alice") as browser:  # and no session is open there
        del browser.headers["Origin"], browser.headers["Sec-Fetch-Site"]
        assert browser.post(f"{hub.origin}/hub/backchannel-logout/../logout").status_code in {400, 403}
        assert browser.get(f"{hub.origin}/hub/api/user").status_code == 200


def test_the_log_contains_no_secret(place):
    _, hub = place
    with Browser(hub.origin) as browser:
        browser.at_campus("/hub/login", "alice", answer="no")
    log = eventually(lambda: "A sign-in failed." in "\n".join(hub.output) and "\n".join(hub.output), what="a line")
    for word in ("code=", "state=", "eyJ", "refresh_token", "id_token_hint", *(f"secret of {name}" for name in USERS)):
        assert word not in log, word


def test_check_contacts_the_provider_and_prints_what_to_register(place):
    campus, hub = place
    done = hub.command("check")
    (line,) = [line for line in done.stdout.splitlines() if "sign-in campus" in line]
    assert line.startswith("ok ")
    assert f"{campus.issuer} answers, 2 keys (ES256, RS256)" in line
    assert "redirect URI to register: http://127.0.0.1:8000/hub/oauth_callback;" in line
    assert "address after signing out: http://127.0.0.1:8000/hub/signed-out;" in line
    assert "back-channel logout: http://127.0.0.1:8000/hub/backchannel-logout/campus" in line
    config = hub.config.read_text()
    try:
        hub.config.write_text(config.replace(f'issuer = "{campus.issuer}"', f'issuer = "{campus.issuer}/"'))
        done = hub.command("check", check=False)
        assert done.returncode == 1
        assert f"is of '{campus.issuer}', not of '{campus.issuer}/'" in done.stdout
        hub.config.write_text(
            config.replace(f'issuer = "{campus.issuer}"', f'issuer = "http://127.0.0.1:{free_port()}"')
        )
        done = hub.command("check", check=False)
        assert done.returncode == 1
        assert "FAIL  sign-in campus" in done.stdout
        assert "does not answer" in done.stdout
    finally:
        hub.config.write_text(config)


# --- several providers -------------------------------------------------------------------------------------------
LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    backs = {"redirect_uris": [f"{origin}/hub/oauth_callback/{name}" for name in ("campus", "guests")]}
    campus = Campus(("hub", origin), ("guests", origin), more=backs).start()
    folder = tmp_path_factory.mktemp("several-providers")
    (folder / "campus.svg").write_text(LOGO)
    config = (
        "[auth]\n" + campus.config(more='allowed_users = ["alice"]\nlogo = "campus.svg"\nnote = "For staff."') + SHARED
    )
    guests = campus.config(client="guests", more='allow_all = true\nprefix = "guest-"')
    config += guests.replace('"campus"', '"guests"').replace('"the campus"', '"the guests\' door"')
    hub = Stage(folder, config=config)
    hub.port = port
    hub.start()
    yield campus, hub
    hub.close()
    campus.stop()


def test_several_providers_are_shown_with_the_configured_titles_and_logos(several):
    _, hub = several
    page = httpx.get(f"{hub.origin}/hub/login?next=/hub/token")
    assert page.status_code == 200
    assert "Sign in with the campus For staff." in page_text(page)
    assert "Sign in with the guests' door" in page_text(page)
    for name in ("campus", "guests"):
        assert f'href="/hub/login/{name}?next=/hub/token"' in page.text
    picture = re.search(r'<img src="(/hub/static/\w+/logo-campus\.svg)"', page.text)[1]
    found = httpx.get(f"{hub.origin}{picture}")
    assert (found.text, found.headers["content-type"]) == (LOGO, "image/svg+xml")
    assert "sandbox" in found.headers["content-security-policy"]


def test_each_provider_has_its_own_redirect_uri_and_users(several):
    campus, hub = several
    with Browser(hub.origin) as browser:
        answer = browser.at_campus("/hub/login/campus", "alice")
        assert browser.get(f"{hub.origin}/hub/api/user").json()["name"] == "alice"
        answer = browser.at_campus("/hub/login/guests?next=/hub/token", "alice")
        assert str(answer.url) == f"{hub.origin}/hub/token"
        assert browser.get(f"{hub.origin}/hub/api/user").json()["name"] == "guest-alice"
    with Browser(hub.origin) as browser:
        assert browser.at_campus("/hub/login/campus", "mallory").status_code == 403
    with Browser(hub.origin) as browser:
        there = browser.get(f"{hub.origin}/hub/login/guests").headers["location"]
        assert "oauth_callback%2Fguests" in there


def test_a_prefix_is_reserved_for_its_provider(several):
    """kubespawner CVE-2020-15110 and similar: one name for two users."""
    campus, hub = several
    campus.control(user="guest-alice", set={"groups": []})
    with Browser(hub.origin) as browser:
        answer = browser.at_campus("/hub/login/campus", "guest-alice")
        assert answer.status_code == 403
        assert "is reserved for users of the guests' door" in page_text(answer)


@pytest.mark.parametrize(
    "path", ["/hub/login/nowhere", "/hub/login/__proto__", "/hub/oauth_callback/nowhere?state=x&code=y"]
)
def test_unknown_providers_are_not_found(several, path):
    _, hub = several
    answer = httpx.get(f"{hub.origin}{path}")
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
