"""Sign-in by the header of a campus portal: a real nginx in front of a real hub, and attempts to impersonate it."""

import http.client

import httpx
import pytest
from hub import Hub, eventually
from msgspec.structs import replace

from gateway.auth.header import portal_identity
from gateway.auth.kinds.header import HeaderConfig
from portal.site.sign_in import RefusedError
from tests.conftest import free_port
from tests.echo_hub import ECHO, LOCAL
from tests.gateway.test_throttle import PROXIES
from tests.portal_proxy import PortalProxy

pytestmark = pytest.mark.timeout(180)
SECRET = "0123456789abcdef-portal-secret"
USERS = {"alice": "a", "bob": "b", "mallory": "m", "root": "r", "Alice": "A"}
CONFIG = f"""
[gateway]
trusted_proxies = ["127.0.0.1"]

[auth]
admins = ["bob"]
allowed_groups = ["staff"]

[[auth.provider]]
name = "portal"
kind = "header"
title = "the campus portal"
[auth.provider.header]
secret_file = "portal.secret"
groups_header = "X-Remote-Groups"
sign_out_url = "https://portal.example.edu/logout"
{LOCAL}{ECHO}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portal")
    secret = folder / "portal.secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    hub = Hub(folder, config=CONFIG, workers=1).start()
    yield hub
    hub.close()


def proxy_of(hub, folder, **more):
    folder.mkdir()
    return PortalProxy(folder, hub=hub.port, secret=SECRET, port=free_port(), users=USERS, **more).start()


@pytest.fixture(scope="module")
def portal(hub):
    proxy = proxy_of(hub, hub.folder / "nginx")
    yield proxy
    proxy.stop()


def through(portal, name, **headers):
    """Return a browser that has signed in at the portal."""
    groups = {"X-Test-Groups": headers.pop("groups", "")}
    own = {"Origin": portal.origin, "Sec-Fetch-Site": "same-origin"}
    return httpx.Client(
        base_url=portal.origin, auth=(name, USERS[name]), headers={**own, **groups, **headers}, timeout=30
    )


def test_users_of_the_portal_are_signed_in_directly(portal):
    with through(portal, "alice", groups="staff, students") as browser:
        answer = browser.get("/hub/login?next=/hub/token", follow_redirects=True)
        assert answer.status_code == 200
        assert answer.url.path == "/hub/token"
        me = browser.get("/hub/api/user").json()
        assert (me["name"], me["admin"], set(me["groups"])) == ("alice", False, {"staff", "students"})
    with through(portal, "bob") as browser:
        assert browser.get("/hub/login/portal", follow_redirects=True).url.path == "/hub/home"
        assert browser.get("/hub/api/user").json()["admin"] is True


def test_signing_out_redirects_to_the_portals_sign_out(portal):
    with through(portal, "bob") as browser:
        browser.get("/hub/login")
        answer = browser.post("/hub/logout")
        assert "https://portal.example.edu/logout" in answer.text + answer.headers.get("location", "")
        assert "Max-Age=0" in answer.headers["set-cookie"]


def test_groups_are_updated_at_the_next_sign_in(portal):
    for groups in ("staff, new", "staff"):
        with through(portal, "alice", groups=groups) as browser:
            assert browser.get("/hub/login/portal").status_code == 302
            found = set(browser.get("/hub/api/user").json()["groups"])
            assert found == {each.strip() for each in groups.split(",")}


@pytest.mark.parametrize(("name", "groups"), [("mallory", "students"), ("root", "staff")])
def test_the_rules_of_the_configuration_apply_to_users_of_the_portal(portal, name, groups):
    with through(portal, name, groups=groups) as browser:
        answer = browser.get("/hub/login/portal")
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_headers_from_the_browser_are_ignored(portal):
    forged = {"X-Remote-User": "bob", "X-Towpath-Portal": "guess", "X-Remote-Groups": "admins"}
    with through(portal, "alice", groups="staff", **forged) as browser:
        assert browser.get("/hub/login/portal").status_code == 302
        me = browser.get("/hub/api/user").json()
        assert (me["name"], me["admin"], me["groups"]) == ("alice", False, ["staff"])


def test_a_header_with_underscores_is_rejected(hub, portal, tmp_path):
    twin = {"X_Remote_User": "bob"}
    # nginx drops it by default,
    with through(portal, "alice", groups="staff", **twin) as browser:
        assert browser.get("/hub/login/portal").status_code == 302
        assert browser.get("/hub/api/user").json()["name"] == "alice"
    # and the hub rejects it if nginx passes it on.
    lenient = proxy_of(hub, tmp_path / "lenient", more="underscores_in_headers on;")
    try:
        with through(lenient, "alice", groups="staff", **twin) as browser:
            answer = browser.get("/hub/login/portal")
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers
    finally:
        lenient.stop()


GOOD = [("X-Remote-User", "alice"), ("X-Towpath-Portal", SECRET), ("X-Remote-Groups", "staff")]


def knock(hub, fields, *, source="127.0.0.1"):
    """Send a request with exactly these header fields to the hub, from one of this machine's addresses."""
    line = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20, source_address=(source, 0))
    line.putrequest("GET", "/hub/login/portal", skip_accept_encoding=True)
    for name, value in fields:
        line.putheader(name, value)
    line.endheaders()
    answer = line.getresponse()
    answer.read()
    line.close()
    assert (answer.status == 302) == (answer.getheader("Set-Cookie") is not None)
    return answer.status


def test_only_the_proxy_with_the_secret_is_trusted(hub):
    assert knock(hub, GOOD) == 302
    assert knock(hub, [(name.upper(), value) for name, value in GOOD]) == 302  # names of headers are case-insensitive
    for fields in (
        [],
        GOOD[:1],
        GOOD[1:],
        [GOOD[0], ("X-Towpath-Portal", ""), GOOD[2]],
        [GOOD[0], ("X-Towpath-Portal", SECRET[:-1]), GOOD[2]],
        [GOOD[0], ("X-Towpath-Portal", SECRET + "x"), GOOD[2]],
        [GOOD[0], ("X-Towpath-Portal", "ä"), GOOD[2]],
        [("X-Remote-User", ""), *GOOD[1:]],
        [("X-Remote-User", " "), *GOOD[1:]],
        [("X-Remote-User", "alice, bob"), *GOOD[1:]],
        [("X-Remote-User", "a" * 300), *GOOD[1:]],
        [("X-Remote-User", "root"), *GOOD[1:]],
        [("X-Remote-User", "../alice"), *GOOD[1:]],
        [*GOOD, ("X-Remote-User", "alice")],
        [*GOOD, ("X-Remote-User", "bob")],
        [*GOOD, ("x-remote-user", "bob")],
        [*GOOD, ("X-Towpath-Portal", SECRET)],
        [*GOOD, ("X-Remote-Groups", "staff")],
        [*GOOD, ("X_Remote_User", "bob")],
        [*GOOD, ("X_Towpath-Portal", "x")],
    ):
        assert knock(hub, fields) in {400, 403}, fields


def test_other_addresses_are_not_trusted_even_with_the_secret(hub):
    assert knock(hub, GOOD, source="127.0.0.9") == 403
    # Forwarded headers do not change the address that is checked.
    assert knock(hub, [*GOOD, ("X-Forwarded-For", "127.0.0.1")], source="127.0.0.9") == 403


def test_a_form_cannot_set_the_name(hub, portal):
    with through(portal, "alice", groups="staff") as browser:
        assert browser.post("/hub/login", data={"provider": "portal", "username": "bob"}).status_code == 303
        assert browser.get("/hub/api/user").json()["name"] == "alice"
    headers = {"Origin": hub.origin}
    answer = httpx.post(f"{hub.origin}/hub/login", data={"provider": "portal", "username": "bob"}, headers=headers)
    assert answer.status_code == 403


def test_the_headers_and_the_secret_do_not_reach_apps(hub, portal):
    with through(portal, "alice", groups="staff") as browser:
        browser.get("/hub/login/portal")
        assert browser.post("/hub/spawn/alice", data={"profile": "echo"}).status_code == 303
        eventually(lambda: browser.get("/hub/api/users/alice/server").json()["ready"], what="the server")
        twins = {"X_Remote_User": "bob", "X-Remote_Groups": "admins"}
        told = eventually(lambda: browser.get("/user/alice/headers", headers=twins).text, what="the app")
        for word in (
            SECRET,
            "X-Remote-User",
            "X_Remote_User",
            "X-Remote-Groups",
            "X-Remote_Groups",
            "X-Towpath-Portal",
        ):
            assert word.lower() not in told.lower()
        browser.delete("/hub/api/users/alice/server")
        eventually(lambda: browser.get("/hub/api/users/alice/server").json()["stopped"], what="the end")


CONFIG_ALONE = HeaderConfig(secret=SECRET)


@pytest.mark.parametrize("peer", ["192.0.2.1", "", "unix", "127.0.0.2", "::1"])
def test_only_configured_proxies_are_trusted(peer):
    fields = [(b"x-remote-user", b"alice"), (b"x-towpath-portal", SECRET.encode())]
    assert portal_identity("127.0.0.1", fields, CONFIG_ALONE, PROXIES) == ("alice", None)
    assert portal_identity("10.1.2.3", fields, CONFIG_ALONE, PROXIES) == ("alice", None)
    with pytest.raises(RefusedError):
        portal_identity(peer, fields, CONFIG_ALONE, PROXIES)
    with pytest.raises(RefusedError):
        portal_identity("127.0.0.1", fields, CONFIG_ALONE, ())


def test_without_a_secret_every_request_is_rejected():
    fields = [(b"x-remote-user", b"alice"), (b"x-towpath-portal", b"")]
    with pytest.raises(RefusedError):
        portal_identity("127.0.0.1", fields, replace(CONFIG_ALONE, secret=""), PROXIES)
