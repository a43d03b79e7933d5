"""Userinfo as a signed JWT (OpenID Connect Core section 5.3.2), from a provider that is registered to sign it."""

import asyncio
import logging

import pytest
from campus import HUB, Campus, Visitor, sign_in

from portal.site.sign_in import RefusedError

pytestmark = pytest.mark.timeout(120)
USERS = {"alice": {"groups": "physics, staff", "resource_access": {"my.client": {"roles": ["user"]}}}}


@pytest.fixture(scope="module", params=["RS256", "ES256"])
def campus(request):
    more = {"userinfo_signed_response_alg": request.param}
    started = Campus(("hub", HUB), users=USERS, more=more).start()
    yield started
    started.stop()


@pytest.fixture
def run(campus, store_url):
    def runner(main, oidc=None, **more):
        async def with_store():
            table = {"groups_claim": "groups", **(oidc or {})}
            async with sign_in(store_url, {"provider": [campus.provider(allow_all=True, oidc=table, **more)]}) as auth:
                return await main(auth)

        campus.control(lose_claims=True)
        try:
            return asyncio.run(with_store())
        finally:
            campus.control(userinfo=None, twist=None)

    return runner


def test_a_signed_userinfo_is_read(run):
    async def main(auth):
        await Visitor(auth).sign_in("alice")
        assert (await auth._store.users.get("alice")).groups == ("physics", "staff")

    run(main, {"groups_separator": ","})


def test_a_claim_under_a_client_id_with_dots_is_found(run):
    async def main(auth):
        await Visitor(auth).sign_in("alice")
        assert (await auth._store.users.get("alice")).groups == ("user",)

    run(main, {"groups_claim": "resource_access.my.client.roles"})


@pytest.mark.parametrize(
    "wrong",
    [{"iss": "https://evil.example"}, {"aud": "another client"}, {"aud": ["another client"]}, {"sub": "bob"}],
)
def test_a_signed_userinfo_for_somebody_or_something_else_is_not_believed(campus, run, wrong):
    async def main(auth):
        campus.control(userinfo=wrong)
        with pytest.raises(RefusedError):
            await Visitor(auth).sign_in("alice")

    run(main)


def test_how_a_provider_writes_its_claims_is_logged_once(campus, run, caplog):
    async def main(auth):
        campus.control(userinfo={"preferred_username": ["alice"]})
        await Visitor(auth).sign_in("alice")
        await Visitor(auth).sign_in("alice")
        assert (await auth._store.users.get("alice")).groups == ("physics, staff",)

    caplog.set_level(logging.WARNING, "towpath.sign-in")
    run(main)
    said = [record.getMessage() for record in caplog.records]
    assert [one for one in said if "list of 1" in one] == [said[0]]
    assert len([one for one in said if "Set groups_separator" in one]) == 1


def test_an_id_token_whose_times_are_text_signs_in_and_is_logged(campus, run, caplog):
    import time

    async def main(auth):
        now = int(time.time())
        campus.control(lose_claims=False, twist={"set": {"iat": str(now), "exp": str(now + 300)}})
        await Visitor(auth).sign_in("alice")
        campus.control(twist={"set": {"iat": str(now), "exp": str(now - 3000)}})
        with pytest.raises(RefusedError, match="clocks"):
            await Visitor(auth).sign_in("alice")

    caplog.set_level(logging.WARNING, "towpath.sign-in")
    run(main)
    assert any("The claim exp is text" in record.getMessage() for record in caplog.records)
