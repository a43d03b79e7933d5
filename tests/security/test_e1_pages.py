"""Known flaws of other hubs in pages and sessions, each test named after the flaw (table: docs/security.md)."""

import asyncio
import json
import re
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from security.security_hub import routes, status
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from portal.refusals.pages import error_page
from portal.site.site import Look
from state.config.tables import Config

pytestmark = pytest.mark.timeout(240)
TEMPLATES = Path(__file__).parents[2] / "portal" / "templates"

NEXT = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https:///evil.example",
    "https:evil.example",
    "http://evil.example/hub/home",
    "http://127.0.0.1:{port}@evil.example/",
    "http://127.0.0.1:{port}/hub/home",
    "//127.0.0.1:{port}/hub/home",
    "//127.0.0.1:{port}@evil.example/hub/home",
    "javascript:alert(1)",
    "data:text/html,x",
    "/%0d%0aLocation:%20https://evil.example",
    "/hub/%0d%0aSet-Cookie:x=1",
    "/hub/home\r\nLocation: https://evil.example",
    "/\t/evil.example",
    "/%09/evil.example",
    "/%2f/evil.example",
    "/%5cevil.example",
    "/.//evil.example",
    "/hub/..//evil.example",
    "/hub/%2e%2e//evil.example",
    "/;@evil.example",
    " //evil.example",
    "\x00//evil.example",
    "/hub/..;/..//evil.example",
    "/%252f%252fevil.example",
)


def stays(location, origin):
    """Return whether a browser would stay on the hub (WHATWG URL: backslash is slash, control characters vanish)."""
    seen = re.sub(r"[\x00-\x20]", "", location).replace("\\", "/")
    return seen.startswith("/") and not seen.startswith("//") and "\r" not in location and "\n" not in location


@pytest.mark.parametrize("raw", NEXT)
def test_cve_2019_10255_cve_2026_33709_ghsa_3vff_hjqv_m7h8_next_never_leads_to_another_site(hub, raw):
    wanted = raw.format(port=hub.port)
    alice = hub.browsers["alice"]
    places = [alice.get(f"/hub/login?next={quote(wanted, safe='')}")]
    fields = {"provider": "test", "username": "bob", "next": wanted}
    places.append(httpx.post(f"{hub.origin}/hub/login", data=fields, headers={"Origin": hub.origin}))
    for answer in places:
        assert answer.status_code in {302, 303}
        assert stays(answer.headers["location"], hub.origin), answer.headers["location"]
        assert "evil" not in urlsplit(answer.headers["location"]).netloc
    for page in (f"/hub/spawn/alice/other?next={quote(wanted, safe='')}", f"/hub/login?next={quote(wanted, safe='')}"):
        shown = (alice if "spawn" in page else httpx).get(page if "spawn" in page else hub.origin + page).text
        for value in re.findall(r'(?:name="next" value|href|action)="([^"]*)"', shown):
            assert not value.startswith(("//", "/\\", "http", "javascript", "data")), value


AMBIGUOUS = (
    "/\\evil.example",
    "\\\\evil.example",
    "/%5cevil.example",
    "/%5C%5Cevil.example",
    "/hub/%255cevil.example",
    "/hub/home?to=\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    "/hub/%09/evil.example",
    "/hub/%0d%0aevil.example",
)
"""Targets that a browser may interpret differently than a server."""


@pytest.mark.parametrize("raw", AMBIGUOUS)
def test_cve_2019_10255_next_with_a_backslash_or_control_character_is_ignored(hub, raw):
    """It is ignored, not repaired: the browser goes to the home page."""
    asked = f"next={quote(raw, safe='')}"
    alice = hub.browsers["alice"]
    fields = {"provider": "test", "username": "bob", "next": raw}
    for answer in (
        alice.get(f"/hub/login?{asked}"),
        httpx.post(f"{hub.origin}/hub/login", data=fields, headers={"Origin": hub.origin}),
    ):
        assert answer.status_code in {302, 303}
        assert answer.headers["location"] == "/hub/home"
    for page in ("/hub/spawn/alice/other", "/hub/spawn-pending/alice/other"):
        assert "evil" not in alice.get(f"{page}?{asked}", follow_redirects=True).text


ORIGINS_READ = """
const lines = require("fs").readFileSync(0, "utf8").split("\\n").filter(line => line).map(JSON.parse);
console.log(JSON.stringify(lines.map(([location, page]) => new URL(location, page).origin)));
"""


def test_cve_2019_10255_cve_2026_33709_a_browser_resolves_every_location_to_this_hub(hub):
    """Resolved with the algorithm of browsers (WHATWG URL, from Node), relative to the requested page."""
    node = shutil.which("node")
    assert node, "make test installs it"
    places = ["/hub/user-redirect/{}", "/hub/user/{}", "/hub/user-redirect{}", "/hub/login?next={}", "/user/alice{}"]
    asked = [
        place.format(quote(raw.format(port=hub.port), safe="" if "?" in place else "/\\%;@:?#=&"))
        for place in places
        for raw in (*NEXT, *AMBIGUOUS)
    ]
    seen = []
    for target in asked:
        found = re.search(rb"(?im)^location: (.*)\r$", hub.ask(target))
        if found:
            seen.append((found[1].decode("latin-1"), f"{hub.origin}{target}"))
    assert len(seen) > len(NEXT)
    given = "\n".join(json.dumps(pair) for pair in seen)
    read = subprocess.run([node, "-e", ORIGINS_READ], input=given, capture_output=True, text=True, timeout=60)
    assert read.returncode == 0, read.stderr
    assert [pair for pair, origin in zip(seen, json.loads(read.stdout), strict=True) if origin != hub.origin] == []


@pytest.mark.parametrize(
    "tail",
    [
        "/evil.example",
        "//evil.example",
        "\\evil.example",
        "%5c%5cevil.example",
        "..//evil.example",
        "%0d%0aX:1",
        "@evil.example/",
    ],
)
@pytest.mark.parametrize("place", ["/hub/user-redirect/", "/hub/user/", "//", "/user/"])
def test_cve_2019_10255_a_redirect_built_from_the_path_stays_on_the_hub(hub, tail, place):
    answer = hub.ask(place + tail)
    for location in re.findall(rb"(?im)^location: (.*)\r$", answer):
        assert stays(location.decode("latin-1"), hub.origin), location


@pytest.mark.parametrize(
    "target",
    [
        "/hub/spawn/alice/other",
        "/hub/logout",
        "/hub/stop/alice",
        "/hub/home",
        "/hub/token",
        "/hub/remove/alice/notes",
        "/hub/accept-share",
        "/hub/share/alice",
        "/hub/leave/alice",
    ],
)
@pytest.mark.parametrize("mode", ["no-cors", "navigate", "cors", "same-origin"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_cve_2026_40864_ghsa_m68r_v472_jgq9_sec_fetch_site_decides_and_not_sec_fetch_mode(hub, target, mode, site):
    answer = hub.ask(
        target,
        f"Sec-Fetch-Site: {site}",
        f"Sec-Fetch-Mode: {mode}",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Length: 14",
        method="POST",
        body=b"profile=mirror",
    )
    assert status(answer) == 403
    assert b"set-cookie" not in answer.lower()


def test_cve_2024_28233_ghsa_7r3h_4ph8_w38g_two_session_cookies_are_rejected(hub):
    """A sibling subdomain can set a cookie with our name: two cookies count as none, in any order."""
    mallory = hub.cookie("bob")
    for pair in (f"{hub.cookie('alice')}; {mallory}", f"{mallory}; {hub.cookie('alice')}"):
        answer = hub.ask("/hub/api/user", f"Cookie: {pair}", who=None)
        assert status(answer) == 403
    two_fields = (f"Cookie: {hub.cookie('alice')}", f"Cookie: {mallory}")
    assert status(hub.ask("/hub/api/user", *two_fields, who=None)) == 403
    assert status(hub.ask("/user/alice/", *two_fields, who=None)) == 403


def test_cve_2024_28233_with_https_a_subdomain_cannot_set_the_session_cookie():
    from gateway.auth.cookies import CookieJar

    jar = CookieJar(secure=True, base_path="/hub1/")
    given = jar.set("ticket", lifetime=60)
    assert given.startswith("__Host-")
    assert "Path=/;" in given
    assert "Secure" in given
    assert "domain" not in given.lower()
    # a cookie without the prefix, which a subdomain can set, is not the hub's
    assert jar.ticket([b"towpath-session=evil"]) == ""
    assert jar.ticket([b"towpath-session=evil; __Host-towpath-session=mine"]) == "mine"


def test_session_fixation_sign_in_issues_a_new_session_cookie(hub):
    with httpx.Client(base_url=hub.origin, headers={"Origin": hub.origin}) as browser:
        browser.cookies.set(hub.cookie_name(), "planted-by-mallory-before-the-sign-in", domain="127.0.0.1")
        answer = browser.post("/hub/login", data={"provider": "test", "username": "alice"})
        given = re.match(rf"{re.escape(hub.cookie_name())}=([^;]+)", answer.headers["set-cookie"])[1]
        assert given != "planted-by-mallory-before-the-sign-in"
        planted = {"Cookie": f"{hub.cookie_name()}=planted-by-mallory-before-the-sign-in"}
        assert httpx.get(f"{hub.origin}/hub/api/user", headers=planted).status_code == 403
        # signing in as another user ends the previous session
        first = {"Cookie": f"{hub.cookie_name()}={given}"}
        assert httpx.get(f"{hub.origin}/hub/api/user", headers=first).status_code == 200
        browser.post("/hub/login", data={"provider": "test", "username": "bob"}, headers=first)
        assert httpx.get(f"{hub.origin}/hub/api/user", headers=first).status_code == 403


@pytest.mark.parametrize("name", ["x" * 60_000, "x\r\n" * 8_000, "\x1b[2J" * 500, "\u202e" * 5000])
def test_cve_2026_54338_ghsa_p43p_whwx_q52h_a_very_long_name_is_not_logged(hub, name):
    before = len(hub.output)
    fields = {"provider": "test", "username": name}
    answer = httpx.post(f"{hub.origin}/hub/login", data=fields, headers={"Origin": hub.origin})
    assert answer.status_code in {400, 403, 413}
    assert len(answer.content) < 20_000
    assert all(len(line) < 1000 and "xxxx" not in line for line in hub.output[before:])
    newest = hub.browsers["carol"].get("/hub/api/towpath/audit?limit=20").text
    assert len(newest) < 20_000
    assert "xxxx" not in newest


def test_log_injection_typed_text_cannot_forge_log_lines_and_is_truncated(hub):
    """The name of the provider is chosen by the client and recorded when it is refused."""
    forged = "\r\n2026-01-01 carol signed in \x1b[2J\u202e\u2028"
    before = len(hub.output)
    for provider in (forged, forged + "y" * 5_000):
        fields = {"provider": provider, "username": "alice"}
        answer = httpx.post(f"{hub.origin}/hub/login", data=fields, headers={"Origin": hub.origin})
        assert answer.status_code == 403
    hub.browsers["alice"].get(f"/hub/api/users/{quote(forged, safe='')}")
    entries = hub.browsers["carol"].get("/hub/api/towpath/audit?limit=20").json()["entries"]
    typed = [entry["what"] for entry in entries if "carol signed in" in entry.get("what", "")]
    assert len(typed) >= 2
    for entry in entries:
        for text in (value for value in entry.values() if isinstance(value, str)):
            assert text.isprintable(), text
            assert len(text) <= 400
    assert all("carol signed in" not in line or line.isprintable() for line in hub.output[before:])


def test_clickjacking_every_page_forbids_framing(hub):
    pages = sorted({path for method, path in routes() if method == "GET" and "/hub/api/" not in path})
    assert len(pages) > 20
    shown = 0
    for path in (*pages, "/hub/api/oauth2/authorize", "/user/bob/", "/user/alice/none/", "/user/nobody/", "/nowhere"):
        for who in (None, "alice", "carol"):
            head = hub.ask(path, "Accept: text/html", "Sec-Fetch-Mode: navigate", who=who).partition(b"\r\n\r\n")[0]
            if b"\r\ncontent-type: text/html" in head.lower():
                shown += 1
                assert b"frame-ancestors 'none'" in head, (path, who, head)
    assert shown > len(pages)


def test_cve_2026_54338_a_body_that_is_too_long_is_rejected(hub):
    answer = httpx.post(
        f"{hub.origin}/hub/login",
        content=b"a" * 200_000,
        headers={"Origin": hub.origin, "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "page", ["/hub/login", "/hub/spawn/alice/other", "/hub/spawn-pending/alice/other", "/hub/accept-share"]
)
def test_ghsa_c4gm_pwx9_9w8j_values_in_attributes_are_escaped(hub, page):
    for hostile in (
        '/hub/"><script>alert(1)</script>',
        "/hub/' onmouseover=alert(1) x='",
        "/hub/`<img src=x onerror=y>",
    ):
        client = httpx if page == "/hub/login" else hub.browsers["alice"]
        where = hub.origin + page if page == "/hub/login" else page
        shown = client.get(
            f"{where}?next={quote(hostile, safe='')}&profile={quote(hostile, safe='')}&code={quote(hostile, safe='')}"
        ).text
        for part in ("<script>alert", "<img src=x", '"><script', "' onmouseover=alert(1) x='"):
            assert part not in shown


def test_ghsa_c4gm_pwx9_9w8j_an_error_message_is_escaped():
    body = error_page(Look(Config(), "0", time.time), 400, message='"><script>alert(1)</script>').decode()
    assert "<script>alert" not in body
    assert "&lt;script&gt;alert(1)" in body


def test_ghsa_c4gm_pwx9_9w8j_templates_escape_everything_and_quote_every_attribute():
    for template in TEMPLATES.glob("*.html"):
        text = template.read_text()
        assert "|safe" not in text.replace(" ", ""), template
        assert "autoescape false" not in text, template
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|\sstyle=|javascript:", text), template
        assert not re.search(r"\s[\w:-]+=(\{\{|\{%(?! *(?:if|endif|else)))", text), template


def test_ghsa_cw7p_q79f_m2v7_sign_out_ends_the_session_in_every_tab(hub):
    """Two tabs with WebSockets: both are closed, and neither can send requests or open a WebSocket afterwards."""

    async def main(browser):
        cookie = "; ".join(f"{key}={value}" for key, value in browser.cookies.items())
        opening = {"additional_headers": {"Cookie": cookie, "Origin": hub.origin}, "origin": None, "proxy": None}
        where = f"ws://127.0.0.1:{hub.port}/user/alice/echo/ws"
        async with connect(where, **opening) as first, connect(where, **opening) as second:
            for tab in (first, second):
                await tab.send("hello")
                assert await tab.recv() == "hello"
            answer = await asyncio.to_thread(browser.post, "/hub/logout")
            assert "Max-Age=0" in answer.headers["set-cookie"]
            for tab in (first, second):
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(tab.recv(), 20)
                assert tab.close_code == 4401
        for path in ("/hub/home", "/hub/api/user", "/user/alice/", "/hub/token"):
            seen = await asyncio.to_thread(httpx.get, hub.origin + path, headers={"Cookie": cookie})
            assert seen.status_code in {302, 303, 403}, path
        with pytest.raises(InvalidStatus):
            async with connect(where, **opening):
                pass

    with closing(hub.browser_of("alice")) as browser:
        asyncio.run(main(browser))


@pytest.mark.parametrize(
    "host",
    [
        "<script>alert(1)</script>",
        'evil.example"><script>',
        "evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "[::1",
        "",
    ],
)
def test_cve_2024_35225_ghsa_fvcq_4x64_hqxr_no_page_reflects_the_host_or_path(hub, host):
    for path in ("/hub/home", "/user/alice/", "/nowhere/%3Cscript%3Ealert(1)%3C/script%3E", "/hub/error/404"):
        answer = hub.ask(path, f"Host: {host}")
        assert b"<script>alert" not in answer
        assert status(answer) in {400, 421}
        assert b"evil.example" not in answer.partition(b"\r\n\r\n")[2]
    shown = hub.ask("/hub/%3Cscript%3Ealert(1)%3C/script%3E?<script>alert(1)</script>")
    assert b"<script>alert" not in shown


@pytest.mark.parametrize(
    "target",
    [
        "/hub/api/user?token={token}",
        "/hub/home?token={token}",
        "/hub/api/users?access_token={token}",
        "/user/alice/?token={token}",
    ],
)
def test_a_token_in_a_url_does_not_authenticate_and_is_not_logged(hub, target):
    token = hub.browsers["alice"].post("/hub/api/users/alice/tokens", json={}).json()["token"]
    before = len(hub.output)
    answer = hub.ask(target.format(token=token), who=None)
    assert status(answer) in {302, 303, 403}
    assert token.encode() not in re.sub(rb"(?im)^location: .*$", b"", answer)
    assert not any(token in line for line in hub.output[before:])


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:{port}.evil.example",
        "http://127.0.0.1:{port}0",
        "http://evil.example/127.0.0.1:{port}",
        "http://xn--127.0.0.1:{port}",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:{port}/",
        "null",
        "file://",
    ],
)
def test_cve_2026_40110_origins_are_compared_as_a_whole(hub, origin):
    answer = hub.ask(
        "/hub/api/users/alice/tokens", f"Origin: {origin.format(port=hub.port)}", "Content-Length: 0", method="POST"
    )
    assert status(answer) == 403


def test_cve_2026_40934_a_session_cookie_is_useless_after_sign_out(hub):
    """Session cookies are random and looked up: there is no key that could remain from an earlier installation."""
    tickets = set()
    for _ in range(3):
        with closing(hub.browser_of("bob")) as browser:
            tickets.add(browser.cookies[hub.cookie_name()])
            browser.post("/hub/logout")
    assert len(tickets) == 3
    for ticket in tickets:
        assert status(hub.ask("/hub/api/user", f"Cookie: {hub.cookie_name()}={ticket}", who=None)) == 403


@pytest.mark.parametrize(
    "path",
    [
        "files/evil.html",
        "files/",
        "nbconvert/html/evil.ipynb",
        "%66iles/evil.html",
        "nbconver%74/html/x",
        "/files/evil.html",
    ],
)
def test_nbconvert_stored_xss_files_of_a_jupyter_server_are_sandboxed(hub, path):
    page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\n<b>x</b>"[:-3]
    answer = hub.ask(f"/user/alice/notes/{path}?answer={page.hex()}")
    assert b"\r\ncontent-security-policy: sandbox allow-scripts\r\n" in answer
    head = hub.ask(f"/user/alice/notes/{path}", method="HEAD")
    assert b"content-security-policy: sandbox" in head


@pytest.mark.parametrize(
    "path",
    [
        "/user/alice/notes/lab",
        "/user/alice/notes/api/contents/files",
        "/user/alice/notes/static/files/x.js",
        "/user/alice/files/x",
    ],
)
def test_nbconvert_other_paths_are_not_sandboxed(hub, path):
    assert b"sandbox" not in hub.ask(path)
