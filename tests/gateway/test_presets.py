"""The presets, each with the rule that its kind of provider has been got wrong by.

GitHub on a stand-in that answers as its documentation says; those that speak OpenID Connect on the certified provider
of the tests, with the claims that they document.
"""

import asyncio
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from campus import HUB, Campus, Clock, Visitor, sign_in
from fake_github import CLIENT, SECRET, GitHub, answer_of

from gateway.auth.oidc.presets import PRESETS
from portal.site.sign_in import RefusedError
from state.settings.auth_checks import GROUPS_KNOWN, OWN_URL
from state.settings.auth_checks import PRESETS as CHECKED

pytestmark = pytest.mark.timeout(120)
CLAIMS = (
    "hd",
    "idp",
    "eppn",
    "identity_provider",
    "email",
    "email_verified",
    "groups",
    "preferred_username",
    "_claim_names",
)


@pytest.fixture(scope="module")
def campus():
    started = Campus(("hub", HUB), users={"somebody": {}}).start()
    yield started
    started.stop()


@pytest.fixture
def enter(campus, store_url):
    """Sign somebody in whom the provider knows by these claims: `enter(preset, claims, oidc={...}, allow_all=True)`.

    The user, or the RefusedError.
    """

    def entering(preset, claims, *, oidc=None, **rules):
        campus.control(user="somebody", set={**dict.fromkeys(CLAIMS), "preferred_username": "somebody", **claims})

        async def main():
            provider = campus.provider(oidc={"preset": preset, **(oidc or {})}, **rules)
            async with sign_in(store_url, {"provider": [provider]}) as auth:
                visitor = Visitor(auth)
                try:
                    await visitor.sign_in("somebody")
                except RefusedError as error:
                    assert await visitor.signed_in() is None
                    return error
                return await auth._store.users.get(await visitor.signed_in())

        return asyncio.run(main())

    return entering


def refused(found, words):
    assert isinstance(found, RefusedError), found
    assert words in str(found)


def test_what_the_checks_know_of_presets_is_what_there_is():
    assert set(PRESETS) == set(CHECKED)
    assert set(GROUPS_KNOWN) == {name for name, preset in PRESETS.items() if preset.groups_claim}
    assert set(OWN_URL) <= set(PRESETS)


# --- an e-mail address as name --------------------------------------------------------------------------------
@pytest.mark.parametrize("verified", [False, None, "false", "no", 0, 1, [True]])
@pytest.mark.parametrize("preset", ["oidc", "google"])
def test_an_address_that_is_not_verified_is_nobodys_name(enter, preset, verified):
    """oauthenticator CVE-2026-33175 (GHSA-rrvg-cxh4-qhrv)."""
    claims = {"email": "alice@example.edu", "email_verified": verified}
    refused(enter(preset, claims, oidc={"name_claim": "email"}, allow_all=True), "has not verified")


@pytest.mark.parametrize("verified", [True, "true"])
def test_an_address_that_is_verified_is(enter, verified):
    claims = {"email": "Alice@Example.edu", "email_verified": verified}
    user = enter("oidc", claims, oidc={"name_claim": "email"}, strip_domain="example.edu", allowed_users=["alice"])
    assert user.name == "alice"


# --- Google ---------------------------------------------------------------------------------------------------
GOOGLE = {"email": "alice@example.edu", "email_verified": True}


@pytest.mark.parametrize(
    "claims",
    [
        GOOGLE,  # an account that anybody can make with that address
        {**GOOGLE, "hd": "other.edu"},
        {**GOOGLE, "hd": "example.edu.evil.example"},
        {**GOOGLE, "hd": "EXAMPLE.EDU"},
        {**GOOGLE, "hd": ""},
        {**GOOGLE, "hd": True},
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        {"allow_all": True},
        {"allowed_users": ["alice@example.edu"]},
        {"admins": ["alice@example.edu"]},
    ],
)
def test_google_is_believed_by_its_hd_claim_and_never_by_the_end_of_an_address(enter, claims, path):
    """oauthenticator GHSA-55m3-44xf-hg4h."""
    refused(enter("google", claims, oidc={"required_claims": {"hd": ["example.edu"]}}, **path), "may not enter")


def test_google_with_the_right_hd(enter):
    found = enter(
        "google",
        {**GOOGLE, "hd": "example.edu"},
        oidc={"required_claims": {"hd": ["example.edu"]}},
        strip_domain="example.edu",
        allow_all=True,
    )
    assert found.name == "alice"


# --- CILogon --------------------------------------------------------------------------------------------------
OURS = "https://idp.example.edu/idp/shibboleth"
CILOGON = {"eppn": "alice@example.edu", "email": "alice@example.edu", "email_verified": True}


@pytest.mark.parametrize("idp", [None, "https://idp.evil.example/idp", OURS + "/", OURS.upper(), "", [], ["x"]])
@pytest.mark.parametrize(
    "path",
    [
        {"allow_all": True},
        {"allowed_users": ["alice"]},
        {"admins": ["alice"]},
        {"oidc": {"allowed_claims": {"eppn": ["alice@example.edu"]}}},
        {"oidc": {"admin_claims": {"eppn": ["alice@example.edu"]}}},
    ],
)
def test_cilogon_is_believed_by_its_idp_claim_on_every_way_in(enter, idp, path):
    """oauthenticator CVE-2022-31027 (GHSA-r7v4-jwx9-wx43): another institution may say any address of ours."""
    rules = dict(path)
    oidc = {"required_claims": {"idp": [OURS]}, **rules.pop("oidc", {})}
    refused(enter("cilogon", {**CILOGON, "idp": idp}, oidc=oidc, strip_domain="example.edu", **rules), "may not enter")


def test_cilogon_of_the_right_institution(enter):
    oidc = {"required_claims": {"idp": [OURS, "https://other"]}}
    user = enter("cilogon", {**CILOGON, "idp": OURS}, oidc=oidc, strip_domain="example.edu", allow_all=True)
    assert user.name == "alice"


# --- Globus ---------------------------------------------------------------------------------------------------
GLOBUS = {"preferred_username": "alice@example.edu"}
UUID = "927d7238-f917-4eb2-9ace-c523fa9ba34e"


@pytest.mark.parametrize("institution", [None, "41143743-f3c8-4d60-bbdb-eeecaba85bd9", UUID.upper(), "example.edu", ""])
@pytest.mark.parametrize(
    "path",
    [
        {"allow_all": True},
        {"allowed_users": ["alice@example.edu"]},
        {"admins": ["alice@example.edu"]},
        {"oidc": {"allowed_claims": {"preferred_username": ["alice@example.edu"]}}},
    ],
)
def test_globus_is_held_to_its_institution_on_every_way_in(enter, institution, path):
    """oauthenticator GHSA-gprj-3p75-f996: a name in an allow-list does not take the place of the restriction."""
    rules = dict(path)
    oidc = {"required_claims": {"identity_provider": [UUID]}, **rules.pop("oidc", {})}
    refused(enter("globus", {**GLOBUS, "identity_provider": institution}, oidc=oidc, **rules), "may not enter")


def test_globus_of_the_right_institution(enter):
    oidc = {"required_claims": {"identity_provider": [UUID]}}
    user = enter("globus", {**GLOBUS, "identity_provider": UUID}, oidc=oidc, strip_domain="example.edu", allow_all=True)
    assert user.name == "alice"


# --- GitLab ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "groups", [None, [], ["physics"], ["physics/lab-2"], ["physics/lab/guests"], ["x/physics/lab"], "lab"]
)
def test_gitlab_groups_are_whole_paths(enter, groups):
    """CVE-2018-7206: membership of another group is none of this one."""
    refused(enter("gitlab", {"groups": groups}, allowed_groups=["physics/lab"]), "may not enter")


def test_gitlab_members_of_the_group_enter_with_all_their_groups(enter):
    user = enter("gitlab", {"groups": ["physics/lab", "other"]}, allowed_groups=["physics/lab"])
    assert user.groups == ("other", "physics/lab")


# --- ORCID ----------------------------------------------------------------------------------------------------
def test_an_orcid_id_is_a_name(enter, campus, store_url):
    campus.control(user="0000-0002-1825-0097", set={})

    async def main():
        provider = campus.provider(oidc={"preset": "orcid"}, allowed_users=["0000-0002-1825-0097"])
        async with sign_in(store_url, {"provider": [provider]}) as auth:
            visitor = Visitor(auth)
            url = await visitor.leave()
            assert parse_qs(urlsplit(url).query)["scope"] == ["openid"]
            await visitor.arrive(await visitor.answer(url, "0000-0002-1825-0097"))
            assert await visitor.signed_in() == "0000-0002-1825-0097"

    asyncio.run(main())


# --- generic --------------------------------------------------------------------------------------------------
def test_groups_may_lie_deep_in_the_claims(enter):
    oidc = {"groups_claim": "realm_access.roles"}
    user = enter("oidc", {"realm_access": {"roles": ["hub-users"]}}, oidc=oidc, allowed_groups=["hub-users"])
    assert user.groups == ("hub-users",)


def test_a_list_of_groups_that_was_left_out_because_it_was_too_long_is_told_of(enter):
    claims = {"_claim_names": {"groups": "src1"}}
    refused(enter("oidc", claims, oidc={"groups_claim": "groups"}, allow_all=True), "more groups than")


def test_somebody_without_a_name_is_refused(enter):
    refused(enter("oidc", {}, oidc={"name_claim": "upn"}, allow_all=True), "says no name")


def test_a_claim_lets_in_and_makes_admins(enter):
    oidc = {"allowed_claims": {"affiliation": ["staff"]}, "admin_claims": {"affiliation": ["it"]}}
    refused(enter("oidc", {"affiliation": "student"}, oidc=oidc), "may not enter")
    assert not enter("oidc", {"affiliation": ["member", "staff"]}, oidc=oidc).admin
    assert enter("oidc", {"affiliation": "it"}, oidc=oidc).admin


@pytest.mark.parametrize(
    ("preset", "oidc", "wanted"),
    [
        (
            "google",
            {"required_claims": {"hd": ["example.edu"]}},
            {"hd": "example.edu", "access_type": "offline", "prompt": "consent"},
        ),
        ("google", {"required_claims": {"hd": ["a.edu", "b.edu"]}}, {"hd": None}),
        ("cilogon", {"required_claims": {"idp": ["https://a", "https://b"]}}, {"selected_idp": "https://a,https://b"}),
        ("oidc", {"parameters": {"acr_values": "mfa"}}, {"acr_values": "mfa", "scope": "openid profile email"}),
        ("google", {"parameters": {"prompt": ""}}, {"prompt": None, "access_type": "offline"}),
        ("oidc", {"scopes": ["openid", "offline_access"]}, {"scope": "openid offline_access"}),
    ],
)
def test_what_the_provider_is_asked_for(campus, store_url, preset, oidc, wanted):
    async def main():
        async with sign_in(
            store_url, {"provider": [campus.provider(oidc={"preset": preset, **oidc}, allow_all=True)]}
        ) as auth:
            asked = {key: value[0] for key, value in parse_qs(urlsplit(await Visitor(auth).leave()).query).items()}
            other = parse_qs(urlsplit(await Visitor(auth).leave(other=True)).query)
        assert other["prompt"] == [PRESETS[preset].other]
        assert {key: asked.get(key) for key in wanted} == wanted
        assert {"state", "nonce", "code_challenge"} <= asked.keys()

    asyncio.run(main())


# --- GitHub ---------------------------------------------------------------------------------------------------
USERS = {
    "Alice": {"id": 1, "orgs": ["lab", "a", "b", "c", "d"], "teams": [("lab", "hpc"), ("a", "x"), ("b", "y")]},
    "bob": {"id": 2, "orgs": ["lab"], "teams": []},
    "mallory": {"id": 3, "orgs": ["lab-fans"], "teams": [("lab-fans", "hpc")]},
}


@pytest.fixture
def github():
    started = GitHub({name: dict(person) for name, person in USERS.items()}).start()
    yield started
    started.stop()


@pytest.fixture
def at_github(github, store_url):
    def runner(main, **rules):
        table = {"preset": "github", "url": github.url, "client_id": CLIENT, "client_secret": SECRET}
        provider = {"name": "github", "kind": "oidc", "oidc": table, **rules}
        clock = Clock()

        async def whole():
            async with sign_in(store_url, {"provider": [provider]}, clock=clock) as auth:
                return await main(auth, clock)

        return asyncio.run(whole())

    return runner


async def by_github(auth, github, login):
    visitor = Visitor(auth)
    github.who = login
    url = await visitor.leave("github")

    def follow(url):
        return httpx.get(url).headers["location"]

    await visitor.arrive(await asyncio.to_thread(answer_of, url, follow))
    return visitor


def test_github_organisations_and_teams_are_groups_all_pages_of_them(github, at_github):
    async def main(auth, clock):
        visitor = await by_github(auth, github, "Alice")
        user = await auth._store.users.get(await visitor.signed_in())
        assert (user.name, user.subjects) == ("alice", {"github": "1"})
        assert user.groups == ("a", "a:x", "b", "b:y", "c", "d", "lab", "lab:hpc")
        assert "nonce" not in github.asked[0]
        assert "scope=read%3Auser+read%3Aorg" in github.asked[0]

    at_github(main, allowed_groups=["lab:hpc"])


@pytest.mark.parametrize(
    ("login", "groups"), [("mallory", ["lab"]), ("mallory", ["lab:hpc"]), ("bob", ["lab:hpc"]), ("bob", ["hpc"])]
)
def test_github_lets_nobody_in_by_a_group_that_is_called_alike(github, at_github, login, groups):
    async def main(auth, clock):
        with pytest.raises(RefusedError, match="may not enter"):
            await by_github(auth, github, login)

    at_github(main, allowed_groups=groups)


def test_github_is_asked_again_with_what_it_gave_and_told_when_that_is_worth_nothing(github, at_github):
    async def main(auth, clock):
        visitors = [await by_github(auth, github, name) for name in ("Alice", "bob")]
        github.users["bob"]["orgs"] = []
        clock.ahead += 400
        await auth.vigil.look()
        assert [await visitor.signed_in() for visitor in visitors] == ["alice", None]
        github.forget("Alice")
        clock.ahead += 400
        await auth.vigil.look()
        assert await visitors[0].signed_in() is None

    at_github(main, allowed_groups=["lab"])


def test_a_github_name_that_somebody_else_took_over_is_not_theirs_here(github, at_github):
    async def main(auth, clock):
        await by_github(auth, github, "Alice")
        github.users["Alice"]["id"] = 99
        with pytest.raises(RefusedError, match="another account"):
            await by_github(auth, github, "Alice")

    at_github(main, allow_all=True)


def test_a_next_page_that_leads_elsewhere_is_not_asked(github, at_github, monkeypatch):
    """The access token goes to the provider's API alone."""
    send = github._send

    def elsewhere(handler, status, value, **headers):
        if "Link" in headers:
            headers["Link"] = '<https://evil.example/user/orgs?page=2>; rel="next"'
        send(handler, status, value, **headers)

    monkeypatch.setattr(github, "_send", elsewhere)

    async def main(auth, clock):
        visitor = await by_github(auth, github, "Alice")
        assert (await auth._store.users.get(await visitor.signed_in())).groups == ("a", "a:x", "lab", "lab:hpc")

    at_github(main, allow_all=True)


def test_an_error_that_github_sends_with_200_is_one(github, at_github):
    async def main(auth, clock):
        visitor = Visitor(auth)
        github.who = "bob"
        await visitor.leave("github")
        state = parse_qs(urlsplit(await visitor.leave("github")).query)["state"][0]
        with pytest.raises(RefusedError, match="do not understand each other"):
            await visitor.arrive({"state": state, "code": "made-up"})

    at_github(main, allow_all=True)
