"""The page for sharing a server, and the list of servers that are shared with a user."""

import html
import re

import pytest
from msgspec.structs import replace

from portal.pages.share import message_for
from state.config.tables import RoleConfig
from state.records.audit import Act, AuditFilter, Outcome
from state.records.models import Share
from tests.portal.conftest import CONFIG
from tests.portal.test_api_shares import FULL, LOOK, SHARING, clients_of, reaches

URL = "/hub/share/ann/lab2"
BY_LINK = replace(CONFIG, role=(RoleConfig(name="user", scopes=("self", "shares!user")),))
IN_CLASS = replace(CONFIG, role=(RoleConfig(name="user", scopes=("self", "shares!user", "read:users:name!group=bio")),))


async def acts(bench, act):
    """Return the audit's entries of this act, newest first."""
    return [entry for entry in (await bench.store.audit.page(AuditFilter(user="ann")))[0] if entry.act is act]


def link_in(page):
    return html.unescape(re.search(r"data-secret>([^<]+)<", page.text)[1])


def test_a_server_is_shared_with_a_user_and_revoked(bench):
    async def main(bench):
        ask = await clients_of(bench)
        assert "Not shared yet. Only you" in (await ask["ann"].get(URL)).text
        done = await ask["ann"].post(URL, data={"act": "give", "kind": "user", "name": " Bob ", "level": "full"})
        assert (done.status_code, done.headers["location"]) == (303, f"{URL}?done=given&whom=bob")
        assert await reaches(bench, "bob")
        page = (await ask["ann"].get(done.headers["location"])).text
        assert "bob now has full access" in page
        assert 'aria-label="Revoke from bob"' in page
        done = await ask["ann"].post(URL, data={"act": "take", "user": "bob"})
        assert (done.status_code, done.headers["location"]) == (303, f"{URL}?done=taken&whom=bob")
        assert not await reaches(bench, "bob", "read:access:servers")
        page = (await ask["ann"].get(done.headers["location"])).text
        assert "Access of bob was revoked, and open connections were closed" in page
        assert [entry.what for entry in await acts(bench, Act.SHARE_MADE)] == [f"to bob: {FULL}"]
        assert [entry.what for entry in await acts(bench, Act.SHARE_REVOKED)] == ["of bob"]

    bench(main, config=SHARING)


def test_a_server_is_shared_with_a_group_and_the_default_server_has_its_own_page(bench):
    async def main(bench):
        ask = await clients_of(bench)
        done = await ask["ann"].post("/hub/share/ann", data={"act": "give", "kind": "group", "name": "bio"})
        assert done.headers["location"] == "/hub/share/ann?done=given&whom=group%3Abio"
        assert await reaches(bench, "bob", "read:access:servers", server="ann/")
        assert not await reaches(bench, "bob", server="ann/")
        assert not await reaches(bench, "bob", "read:access:servers")
        page = (await ask["ann"].get(done.headers["location"])).text
        assert "bio now has read-only access" in page
        assert 'aria-label="Revoke from the group bio"' in page
        assert "Not shared yet. Only you" in (await ask["ann"].get(URL)).text
        await ask["ann"].post("/hub/share/ann", data={"act": "take", "group": "bio"})
        assert not await reaches(bench, "bob", "read:access:servers", server="ann/")

    bench(main, config=SHARING)


def test_sharing_again_with_less_access_reduces_it(bench):
    async def main(bench):
        ask = await clients_of(bench)
        given = {"user": "carl", "scopes": ["access:servers", "start:servers"]}
        await ask["ann"].post("/hub/api/shares/ann/lab2", json=given)
        assert "Full, start it" in (await ask["ann"].get(URL)).text
        await ask["ann"].post(URL, data={"act": "give", "name": "carl", "level": "read"})
        assert not await reaches(bench, "carl")
        assert await reaches(bench, "carl", "read:access:servers")
        assert "Read-only, start it" in (await ask["ann"].get(URL)).text
        await ask["ann"].post(URL, data={"act": "give", "name": "carl", "level": "full"})
        assert await reaches(bench, "carl")

    bench(main, config=SHARING)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "nobody"}, "No such user: nobody"),
        ({"name": "no one <b>"}, "A username has 1 to 64 letters"),
        ({"name": ""}, "A username has"),
        ({"name": "ann"}, "The server already belongs to this user."),
        ({"name": "nothing", "kind": "group"}, "No such group: nothing"),
        ({"name": "  ", "kind": "group"}, "A group name has"),
        ({"name": "bob", "level": "wheel"}, "Select the access."),
    ],
)
def test_an_invalid_share_shows_the_error_at_its_field_and_keeps_the_input(bench, fields, message):
    async def main(bench):
        ask = await clients_of(bench)
        answer = await ask["ann"].post(URL, data={"act": "give", **fields})
        assert answer.status_code == 400
        page = html.unescape(answer.text)
        assert re.search(rf'class="error"[^>]*>{re.escape(message)}', page)
        assert f'value="{fields["name"]}"' in page
        assert "<b>" not in answer.text
        if fields.get("kind") == "group":
            assert '<option value="group" selected>' in answer.text
        assert await bench.store.shares.of_owner("ann") == []

    bench(main, config=SHARING)


def test_names_are_not_revealed_to_users_without_the_scope(bench):
    async def main(bench):
        ask = await clients_of(bench)
        answers = [await ask["ann"].post(URL, data={"act": "give", "name": name}) for name in ("carl", "nobody")]
        assert [answer.status_code for answer in answers] == [403, 403]
        texts = [answer.text.replace("carl", "NAME").replace("nobody", "NAME") for answer in answers]
        assert texts[0] == texts[1]
        refused = (await bench.store.audit.page(AuditFilter(who="ann", outcome=Outcome.REFUSED)))[0]
        assert {entry.what for entry in refused} == {f"POST {URL}"}
        assert (await ask["ann"].post(URL, data={"act": "give", "name": "bob"})).status_code == 303
        page = (await ask["ann"].get(URL)).text
        assert ">Username</label>" in page
        assert "a group</option>" not in page

    bench(main, config=IN_CLASS)


def test_without_scopes_for_names_users_share_only_by_link(bench):
    async def main(bench):
        ask = await clients_of(bench)
        page = (await ask["ann"].get(URL)).text
        assert "Share with a user or group" not in page
        assert "Create link" in page
        assert (await ask["ann"].post(URL, data={"act": "give", "name": "bob"})).status_code == 403

    bench(main, config=BY_LINK)


def test_a_link_is_shown_once_works_and_is_revoked(bench):
    async def main(bench):
        ask = await clients_of(bench)
        made = await ask["ann"].post(URL, data={"act": "link", "level": "full", "expires_in": "3600"})
        assert made.status_code == 200
        assert made.headers["cache-control"] == "no-store"
        link = link_in(made)
        assert link.startswith("/hub/accept-share?code=")
        secret = link.partition("=")[2]
        page = (await ask["ann"].get(URL)).text
        assert secret not in page
        assert "never</td>" in page
        invitation = await ask["carl"].get(link)
        assert "run code in the owner" in invitation.text
        assert (
            invitation.headers["referrer-policy"] == "strict-origin"
        )  # the owner's app may log where visitors come from
        assert (await ask["carl"].post("/hub/accept-share", data={"code": secret})).status_code == 303
        assert await reaches(bench, "carl")
        page = (await ask["ann"].get(URL)).text
        assert "once, last <time" in page
        (code,) = await bench.store.shares.codes("ann", "lab2")
        assert code.expires - code.created == 3600
        for _ in range(2):  # as a second press of the button
            done = await ask["ann"].post(URL, data={"act": "end", "id": code.id})
            assert (done.status_code, done.headers["location"]) == (303, f"{URL}?done=ended")
        assert "Users who accepted it keep access" in (await ask["ann"].get(done.headers["location"])).text
        assert (await ask["bob"].get(link)).status_code == 404
        assert await reaches(bench, "carl")
        assert [entry.what for entry in await acts(bench, Act.SHARE_REVOKED)] == [f"code {code.id}"]
        assert secret not in str(await bench.store.audit.page(AuditFilter()))

    bench(main, config=SHARING)


def test_a_link_redirects_to_the_requested_page_and_never_to_another_site(bench):
    async def main(bench):
        ask = await clients_of(bench)
        secret = link_in(await ask["ann"].post(URL, data={"act": "link"})).partition("=")[2]

        async def redirect_after(wanted):
            done = await ask["carl"].post("/hub/accept-share", data={"code": secret, "next": wanted})
            assert done.status_code == 303
            return done.headers["location"]

        assert await redirect_after("/user/ann/lab2/tree?a=1") == "/user/ann/lab2/tree?a=1"
        for hostile in (
            "//evil.example",
            "/\\evil.example",
            "/%5cevil.example",
            "https://evil.example/",
            "/\t/evil.example",
        ):
            assert await redirect_after(hostile) == "/hub/home?done=accepted"
            page = await ask["carl"].get("/hub/accept-share", params={"code": secret, "next": hostile})
            assert "evil" not in page.text

    bench(main, config=SHARING)


def test_the_link_uses_the_hubs_public_url(bench):
    async def main(bench):
        ask = await clients_of(bench)
        link = link_in(await ask["ann"].post(URL, data={"act": "link"}))
        assert link.startswith("https://hub.example.org/hub/accept-share?code=")
        (code,) = await bench.store.shares.codes("ann", "lab2")
        assert (code.scopes, code.expires - code.created) == ((LOOK,), 86400)

    public = replace(SHARING.gateway, public_url="https://hub.example.org/")
    bench(main, config=replace(SHARING, gateway=public))


def test_without_a_public_url_the_link_uses_the_browsers_address(bench):
    async def main(bench):
        ask = await clients_of(bench)
        for origin, start in (
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/hub/accept-share?"),
            ("null", "/hub/accept-share?"),
            ('http://x"><script>', "/hub/accept-share?"),
        ):
            made = await ask["ann"].post(URL, data={"act": "link"}, headers={"Origin": origin})
            assert link_in(made).startswith(start)

    bench(main, config=SHARING)


def test_all_links_or_all_shares_are_revoked_together(bench):
    async def main(bench):
        ask = await clients_of(bench)
        for _ in range(3):
            made = await ask["ann"].post(URL, data={"act": "link"})
        secret = link_in(made).partition("=")[2]
        await ask["carl"].post("/hub/accept-share", data={"code": secret})
        await ask["ann"].post(URL, data={"act": "give", "name": "bob"})
        await ask["ann"].post("/hub/share/ann", data={"act": "link"})
        page = (await ask["ann"].get(f"{URL}?done=taken&whom=dora")).text
        assert "A link below is still active" in page
        done = await ask["ann"].post(URL, data={"act": "end-all"})
        assert "All links were revoked" in (await ask["ann"].get(done.headers["location"])).text
        assert await bench.store.shares.codes("ann", "lab2") == []
        assert len(await bench.store.shares.of_owner("ann", "lab2")) == 2
        await ask["ann"].post(URL, data={"act": "link"})
        done = await ask["ann"].post(URL, data={"act": "stop"})
        assert "no longer shared" in (await ask["ann"].get(done.headers["location"])).text
        assert await bench.store.shares.of_owner("ann", "lab2") == []
        assert [code.server for code in await bench.store.shares.codes("ann")] == [""]  # the other server's stays
        assert not await reaches(bench, "carl", "read:access:servers")

    bench(main, config=SHARING)


@pytest.mark.parametrize(
    "fields",
    [
        {"act": "link", "expires_in": "99999999999"},
        {"act": "link", "expires_in": "-1"},
        {"act": "link", "level": "shares"},
        {"act": "end"},
        {"act": "end", "id": ""},
        {"act": "take"},
        {"act": "take", "user": "bob", "group": "bio"},
        {"act": "rule"},
        {},
    ],
)
def test_an_invalid_form_changes_nothing(bench, fields):
    async def main(bench):
        ask = await clients_of(bench)
        await ask["ann"].post(URL, data={"act": "give", "name": "bob"})
        await ask["ann"].post(URL, data={"act": "link"})
        assert (await ask["ann"].post(URL, data=fields)).status_code == 400
        assert len(await bench.store.shares.of_owner("ann", "lab2")) == 1
        assert len(await bench.store.shares.codes("ann", "lab2")) == 1

    bench(main, config=SHARING)


def test_the_page_enforces_the_same_rights_as_the_api(bench):
    async def main(bench):
        ask = await clients_of(bench)
        await ask["ann"].post(URL, data={"act": "give", "name": "carl", "level": "full"})
        code = link_in(await ask["ann"].post(URL, data={"act": "link"}))
        (live,) = await bench.store.shares.codes("ann", "lab2")
        # bob has nothing, carl has all of the server but the right to share it
        for who in ("bob", "carl"):
            assert (await ask[who].get(URL)).status_code == 404
            for fields in (
                {"act": "give", "name": "bob", "level": "full"},
                {"act": "take", "user": "carl"},
                {"act": "link"},
                {"act": "end", "id": live.id},
                {"act": "end-all"},
                {"act": "stop"},
            ):
                assert (await ask[who].post(URL, data=fields)).status_code == 404, fields
        for missing in ("/hub/share/ann/none", "/hub/share/nobody", "/hub/share/bob"):
            assert (await ask["ann"].get(missing)).status_code == 404, missing
            assert (await ask["ann"].post(missing, data={"act": "link"})).status_code == 404, missing
        assert [share.key for share in await bench.store.shares.of_owner("ann", "lab2")] == ["carl"]
        assert (await ask["bob"].get(code)).status_code == 200
        assert (await bench.client().get(URL)).headers["location"] == f"/hub/login?next={URL}"
        assert (await bench.client().post(URL, data={"act": "stop"})).status_code == 403

    bench(main, config=SHARING)


def test_users_who_may_not_share_have_no_link_and_no_page(bench):
    async def main(bench):
        ask = await clients_of(bench)
        assert "/hub/share/" not in (await ask["ann"].get("/hub/home")).text
        assert (await ask["ann"].get(URL)).status_code == 403
        assert (await ask["ann"].post(URL, data={"act": "link"})).status_code == 403
        await ask["root"].post("/hub/api/shares/ann/lab2", json={"user": "bob"})
        assert "shared with bob" in (await ask["ann"].get("/hub/home")).text

    bench(main)


def test_an_admin_shares_another_users_server_from_their_page(bench):
    async def main(bench):
        ask = await clients_of(bench)
        assert f'href="{URL}"' in (await ask["root"].get("/hub/admin/users/ann")).text
        page = html.unescape((await ask["root"].get(URL)).text)
        assert "Share ann's server lab2" in page
        assert "Only ann" in page
        assert (await ask["root"].post(URL, data={"act": "give", "name": "bob"})).status_code == 303
        assert (await acts(bench, Act.SHARE_MADE))[0].who == "root"

    bench(main, config=SHARING)


def test_the_home_page_links_to_sharing_and_shows_shares(bench):
    async def main(bench):
        ask = await clients_of(bench)
        home = (await ask["ann"].get("/hub/home")).text
        assert f'href="{URL}"' in home
        assert 'href="/hub/share/ann"' in home
        assert "/hub/share/" not in (await ask["bob"].get("/hub/home")).text  # no server, nothing to share
        await ask["ann"].post(URL, data={"act": "give", "name": "carl"})
        assert "shared with carl" in (await ask["ann"].get("/hub/home")).text
        await ask["ann"].post(URL, data={"act": "give", "kind": "group", "name": "bio"})
        assert "shared with 2" in (await ask["ann"].get("/hub/home")).text

    bench(main, config=SHARING)


def test_recipients_see_a_share_on_their_home_page_and_can_leave(bench):
    async def main(bench):
        ask = await clients_of(bench)
        await ask["ann"].post(URL, data={"act": "give", "name": "bob", "level": "full"})
        await ask["ann"].post("/hub/share/ann", data={"act": "give", "kind": "group", "name": "bio"})
        home = html.unescape((await ask["bob"].get("/hub/home")).text)
        assert "Shared with you" in home
        assert ">Full<" in home
        assert ">Read-only<" in home
        assert "Not running" in home
        assert 'href="/user/ann/' not in home  # it is not running
        assert 'href="/hub/leave/ann/lab2"' in home
        assert 'href="/hub/leave/ann"' not in home  # what the group has, bob does not give up for it
        assert "Shared with you" not in (await ask["carl"].get("/hub/home")).text
        await bench.make_ready(ask["ann"], "ann")
        home = (await ask["bob"].get("/hub/home")).text
        assert 'href="/user/ann/lab2/"' not in home
        assert re.search(r'href="/user/ann/[^"]*" aria-label="Open ann', home)
        assert "ask ann" in (await ask["bob"].get("/hub/leave/ann/lab2")).text
        done = await ask["bob"].post("/hub/leave/ann/lab2")
        assert (done.status_code, done.headers["location"]) == (303, "/hub/home?done=left")
        assert "You left the shared server" in (await ask["bob"].get(done.headers["location"])).text
        assert not await reaches(bench, "bob")
        assert (await acts(bench, Act.SHARE_REVOKED))[0].what == "of bob, who left"
        for path in ("/hub/leave/ann/lab2", "/hub/leave/ann", "/hub/leave/nobody"):
            assert (await ask["bob"].get(path)).status_code == 404, path
            assert (await ask["bob"].post(path)).status_code == 404, path
        assert await reaches(bench, "bob", "read:access:servers", server="ann/")

    bench(main, config=SHARING)


def test_the_owner_sees_who_accepted_and_who_left(bench):
    async def main(bench):
        ask = await clients_of(bench)
        link = link_in(await ask["ann"].post(URL, data={"act": "link"}))
        await ask["carl"].post("/hub/accept-share", data={"code": link.partition("=")[2]})
        assert "<strong>carl</strong> accepted a link (lab2)" in (await ask["ann"].get("/hub/home")).text
        await ask["carl"].post("/hub/leave/ann/lab2")
        assert "<strong>carl</strong> left what you share (lab2)" in (await ask["ann"].get("/hub/home")).text
        await ask["root"].post(URL, data={"act": "give", "name": "bob"})
        assert "<strong>root</strong> shared (lab2)" in (await ask["ann"].get("/hub/home")).text

    bench(main, config=SHARING)


def test_leaving_a_share_shows_the_access_that_remains_through_a_group(bench):
    async def main(bench):
        ask = await clients_of(bench)
        await ask["ann"].post(URL, data={"act": "give", "name": "bob", "level": "full"})
        await ask["ann"].post(URL, data={"act": "give", "kind": "group", "name": "bio"})
        assert "with bio and you" in (await ask["bob"].get("/hub/home")).text
        assert "You still have access through group bio" in (await ask["bob"].get("/hub/leave/ann/lab2")).text
        await ask["bob"].post("/hub/leave/ann/lab2")
        assert not await reaches(bench, "bob")
        assert await reaches(bench, "bob", "read:access:servers")

    bench(main, config=SHARING)


def test_a_notice_is_true_and_contains_no_text_from_the_url():
    bob = Share(owner="ann", server="lab2", user="bob", scopes=(LOOK,), created=1.0)
    for query in (
        {"done": "given", "whom": "carl"},
        {"done": "taken", "whom": "bob"},
        {"done": "stopped"},
        {"done": "Call 555-1234"},
        {"whom": "bob"},
    ):
        assert message_for(query, [bob], []) == "", query
    hostile = message_for({"done": "taken", "whom": "you: call 555-1234 now"}, [bob], [])
    assert hostile == "Access was revoked, and open connections were closed."
