"""The presets, each with the rule that other hubs have got wrong for this kind of provider.

GitHub is a fake that responds as its documentation says. Providers with OpenID Connect are tested with the certified
provider of the tests, with the claims that they document.
"""

import asyncio
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from campus import HUB, Campus, Clock, Visitor, sign_in
from fake_github import CLIENT, SECRET, GitHub, answer_of

from gateway.auth.kinds.oidc import GROUPS_KNOWN, OWN_URL
from gateway.auth.kinds.oidc import PRESETS as CHECKED
from gateway.auth.oidc.presets import PRESETS
from portal.site.sign_in import RefusedError

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
    started = Campus(("hub", HUB), users={"erin": {}}).start()
    yield started
    started.stop()


@pytest.fixture
def enter(campus, store_url):
    """Sign in a user with these claims: `enter(preset, claims, oidc={...}, allow_all=True)`.

    Returns the user or the RefusedError.
    """

    def entering(preset, claims, *, oidc=None, **rules):
        campus.control(user="erin", set={**dict.fromkeys(CLAIMS), "preferred_username": "erin", **claims})

        async def main():
            provider = campus.provider(oidc={"preset": preset, **(oidc or {})}, **rules)
            async with sign_in(store_url, {"provider": [provider]}) as auth:
                visitor = Visitor(auth)
                try:
                    await visitor.sign_in("erin")
                except RefusedError as error:
                    assert await visitor.signed_in() is None
                    return error
                return await auth._store.users.get(await visitor.signed_in())

        return asyncio.run(main())

    return entering


def refused(found, message):
    assert isinstance(found, RefusedError), found
    assert message in str(found)


def test_the_configuration_checks_know_all_presets():
    assert set(PRESETS) == set(CHECKED)
    assert set(GROUPS_KNOWN) == {name for name, preset in PRESETS.items() if preset.groups_claim}
    assert set(OWN_URL) <= set(PRESETS)


# --- an e-mail address as name --------------------------------------------------------------------------------
@pytest.mark.parametrize("verified", [False, None, "false", "no", 0, 1, [True]])
@pytest.mark.parametrize("preset", ["oidc", "google"])
def test_an_unverified_address_is_rejected_as_a_name(enter, preset, verified):
    """oauthenticator CVE-2026-33175 (GHSA-rrvg-cxh4-qhrv)."""
    claims = {"email": "alice@example.edu", "email_verified": verified}
    refused(enter(preset, claims, oidc={"name_claim": "email"}, allow_all=True), "has not verified")


@pytest.mark.parametrize("verified", [True, "true"])
def test_a_verified_address_is_accepted_as_a_name(enter, verified):
    claims = {"email": "Alice@Example.edu", "email_verified": verified}
    user = enter("oidc", claims, oidc={"name_claim": "email"}, strip_domain="example.edu", allowed_users=["alice"])
    assert user.name == "alice"


# --- Google ---------------------------------------------------------------------------------------------------
GOOGLE = {"email": "alice@example.edu", "email_verified": True}


@pytest.mark.parametrize(
    "claims",
    [
        GOOGLE,  # an account that anyone can create with that address
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
def test_google_domains_are_checked_by_hd_and_not_by_the_address(enter, claims, path):
    """oauthenticator GHSA-55m3-44xf-hg4h."""
    refused(
        enter("google", claims, oidc={"required_claims": {"hd": ["example.edu"]}}, **path),
        "not allowed to use this hub",
    )


def test_google_with_the_required_hd_is_accepted(enter):
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
def test_cilogon_institutions_are_checked_by_idp_in_every_rule(enter, idp, path):
    """oauthenticator CVE-2022-31027 (GHSA-r7v4-jwx9-wx43): another institution can assert any address."""
    rules = dict(path)
    oidc = {"required_claims": {"idp": [OURS]}, **rules.pop("oidc", {})}
    refused(
        enter("cilogon", {**CILOGON, "idp": idp}, oidc=oidc, strip_domain="example.edu", **rules),
        "not allowed to use this hub",
    )


def test_cilogon_with_the_required_idp_is_accepted(enter):
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
def test_globus_institutions_are_checked_in_every_rule(enter, institution, path):
    """oauthenticator GHSA-gprj-3p75-f996: a name in an allow list does not replace the restriction."""
    rules = dict(path)
    oidc = {"required_claims": {"identity_provider": [UUID]}, **rules.pop("oidc", {})}
    refused(
        enter("globus", {**GLOBUS, "identity_provider": institution}, oidc=oidc, **rules), "not allowed to use this hub"
    )


def test_globus_with_the_required_institution_is_accepted(enter):
    oidc = {"required_claims": {"identity_provider": [UUID]}}
    user = enter("globus", {**GLOBUS, "identity_provider": UUID}, oidc=oidc, strip_domain="example.edu", allow_all=True)
    assert user.name == "alice"


# --- GitLab ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "groups", [None, [], ["physics"], ["physics/lab-2"], ["physics/lab/guests"], ["x/physics/lab"], "lab"]
)
def test_gitlab_groups_are_compared_by_full_path(enter, groups):
    """CVE-2018-7206: membership of another group is not membership of this one."""
    refused(enter("gitlab", {"groups": groups}, allowed_groups=["physics/lab"]), "not allowed to use this hub")


def test_gitlab_group_members_sign_in_with_all_their_groups(enter):
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
def test_groups_can_be_nested_in_the_claims(enter):
    oidc = {"groups_claim": "realm_access.roles"}
    user = enter("oidc", {"realm_access": {"roles": ["hub-users"]}}, oidc=oidc, allowed_groups=["hub-users"])
    assert user.groups == ("hub-users",)


def test_too_many_groups_are_reported_to_the_user(enter):
    claims = {"_claim_names": {"groups": "src1"}}
    refused(enter("oidc", claims, oidc={"groups_claim": "groups"}, allow_all=True), "more groups than")


def test_a_user_without_a_name_claim_is_rejected(enter):
    refused(enter("oidc", {}, oidc={"name_claim": "upn"}, allow_all=True), "did not send a name")


def test_claims_can_allow_users_and_make_admins(enter):
    oidc = {"allowed_claims": {"affiliation": ["staff"]}, "admin_claims": {"affiliation": ["it"]}}
    refused(enter("oidc", {"affiliation": "student"}, oidc=oidc), "not allowed to use this hub")
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
def test_the_authorization_request_has_the_presets_parameters(campus, store_url, preset, oidc, wanted):
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
    started = GitHub({name: dict(profile) for name, profile in USERS.items()}).start()
    yield started
    started.stop()


@pytest.fixture
def at_github(github, store_url):
    def runner(main, **rules):
        table = {"preset": "github", "url": github.url, "client_id": CLIENT, "client_secret": SECRET}
        provider = {"name": "github", "kind": "oidc", "oidc": table, **rules}
        clock = Clock()

        async def with_store():
            async with sign_in(store_url, {"provider": [provider]}, clock=clock) as auth:
                return await main(auth, clock)

        return asyncio.run(with_store())

    return runner


async def by_github(auth, github, login):
    visitor = Visitor(auth)
    github.who = login
    url = await visitor.leave("github")

    def follow(url):
        return httpx.get(url).headers["location"]

    await visitor.arrive(await asyncio.to_thread(answer_of, url, follow))
    return visitor


def test_github_organisations_and_teams_are_groups_from_all_pages(github, at_github):
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
def test_github_groups_with_similar_names_give_no_access(github, at_github, login, groups):
    async def main(auth, clock):
        with pytest.raises(RefusedError, match="not allowed to use this hub"):
            await by_github(auth, github, login)

    at_github(main, allowed_groups=groups)


def test_github_is_reviewed_with_its_access_token(github, at_github):
    async def main(auth, clock):
        visitors = [await by_github(auth, github, name) for name in ("Alice", "bob")]
        github.users["bob"]["orgs"] = []
        clock.ahead += 400
        await auth.session_review.review_due()
        assert [await visitor.signed_in() for visitor in visitors] == ["alice", None]
        github.forget("Alice")
        clock.ahead += 400
        await auth.session_review.review_due()
        assert await visitors[0].signed_in() is None

    at_github(main, allowed_groups=["lab"])


def test_a_reused_github_name_does_not_get_the_old_user(github, at_github):
    async def main(auth, clock):
        await by_github(auth, github, "Alice")
        github.users["Alice"]["id"] = 99
        with pytest.raises(RefusedError, match="another account"):
            await by_github(auth, github, "Alice")

    at_github(main, allow_all=True)


def test_a_next_page_on_another_host_is_not_fetched(github, at_github, monkeypatch):
    """The access token is sent only to the provider's API."""
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


def test_an_error_that_github_sends_with_status_200_is_an_error(github, at_github):
    async def main(auth, clock):
        visitor = Visitor(auth)
        github.who = "bob"
        await visitor.leave("github")
        state = parse_qs(urlsplit(await visitor.leave("github")).query)["state"][0]
        with pytest.raises(RefusedError, match="not set up correctly"):
            await visitor.arrive({"state": state, "code": "made-up"})

    at_github(main, allow_all=True)
