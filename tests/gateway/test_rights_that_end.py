"""Rights that a provider or the configuration no longer gives end, even if a response omits them.

Okta and Keycloak (issue 22340) omit the groups claim for a user who is in no group, as OpenID Connect Core
section 5.3.2 specifies for a claim without a value.
"""

import time
from functools import partial

import pytest
from campus import HUB, Campus, Visitor, later, on_campus

from gateway.auth.admission import admin_after, decide, still_admin
from gateway.auth.kinds.oidc import OidcConfig
from gateway.auth.listed_admins import review
from gateway.auth.proof import Proven
from portal.site.sign_in import RefusedError
from state.config.tables import AuthConfig, ProviderConfig
from state.records.audit import AuditFilter
from state.records.models import User
from state.store.all import Store
from tests.conftest import run as run_alone
from tests.conftest import until

pytestmark = pytest.mark.timeout(120)
RULES = {"allowed_users": ["alice"], "allowed_groups": ["physics"], "admin_groups": ["staff"]}


@pytest.fixture(scope="module")
def campus():
    started = Campus(("hub", HUB)).start()
    yield started
    started.stop()


@pytest.fixture
def run(campus, store_url):
    return partial(on_campus, campus, store_url, rules=RULES)


async def rights(auth, name="alice"):
    user = await auth._store.users.get(name)
    return user.groups, user.admin


def test_a_user_without_a_groups_claim_is_in_no_group(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        assert await rights(auth) == (("physics", "staff"), True)
        campus.control(user="alice", drop=["groups"])
        await later(auth, clock)
        assert await rights(auth) == ((), False)
        assert await visitor.signed_in() == "alice"  # by name

    run(main)


def test_a_sign_in_without_a_groups_claim_revokes_rights_from_groups(campus, run):
    async def main(auth, clock):
        await Visitor(auth).sign_in("bob")
        assert await rights(auth, "bob") == (("physics",), False)
        campus.control(user="bob", drop=["groups"])
        with pytest.raises(RefusedError, match="not allowed to use this hub"):
            await Visitor(auth).sign_in("bob")

    run(main)


def test_userinfo_is_read_before_groups_count_as_absent(campus, run):
    async def main(auth, clock):
        await Visitor(auth).sign_in("alice")
        campus.control(lose_claims=True)
        await later(auth, clock)
        assert await rights(auth) == (("physics", "staff"), True)
        campus.control(user="alice", drop=["groups"])
        await later(auth, clock)
        assert await rights(auth) == ((), False)

    run(main)


def test_an_incomplete_response_does_not_change_groups(campus, run):
    async def main(auth, clock):
        await Visitor(auth).sign_in("alice")
        campus.control(user="alice", drop=["groups"])
        engine = auth._proofs["campus"].engine
        facts = await engine.facts()

        async def without_userinfo():
            from msgspec.structs import replace

            return replace(facts, userinfo="")

        engine.facts = without_userinfo
        await later(auth, clock)
        assert await rights(auth) == (("physics", "staff"), True)

    run(main)


def test_groups_of_the_hub_stay_if_no_groups_claim_is_configured(campus, run):
    async def main(auth, clock):
        await auth._store.users.add(User(name="alice", groups=("staff",), created=time.time()))
        await Visitor(auth).sign_in("alice")
        assert await rights(auth) == (("staff",), True)

    run(main, oidc={})


# --- admins of the configuration ------------------------------------------------------------------------------
def provider(**more):
    return ProviderConfig(name="campus", kind="oidc", **more)


@pytest.mark.parametrize(
    ("admin", "admin_by", "rules", "proven", "after"),
    [
        # an admin from a list that no longer contains the name
        (True, "auth", {}, {}, (False, "")),
        (True, "provider:campus", {}, {}, (False, "")),
        # made an admin by another admin
        (True, "", {}, {}, (True, "")),
        (True, "", {"admins": ("bob",)}, {}, (False, "")),  # a provider with rules decides
        (True, "", {"admins": ("alice",)}, {}, (True, "")),
        # the right came from another provider's rule
        (True, "provider:other", {}, {}, (True, "provider:other")),
        (True, "provider:other", {"admins": ("bob",)}, {}, (True, "provider:other")),
        # new rights
        (False, "", {"admins": ("alice",)}, {}, (True, "provider:campus")),
        (False, "", {"admin_groups": ("g",)}, {"groups": ("g",)}, (True, "provider:campus")),
        (True, "auth", {"admins": ("alice",)}, {}, (True, "provider:campus")),
        (False, "", {}, {}, (False, "")),
    ],
)
def test_a_verdict_updates_the_admin_right(admin, admin_by, rules, proven, after):
    user = User(name="alice", admin=admin, admin_by=admin_by, created=1.0)
    campus = provider(allow_all=True, **rules)
    verdict = decide(AuthConfig(), campus, Proven(name="alice", **proven), ())
    assert admin_after(user, verdict, campus) == after


def test_the_list_in_auth_takes_precedence():
    campus = provider(admins=("alice",))
    assert decide(AuthConfig(admins=("alice",)), campus, Proven(name="alice"), ()).by == "auth"


@pytest.mark.parametrize(
    ("auth", "user", "stays"),
    [
        ({}, {"admin_by": ""}, True),
        ({"admins": ("alice",)}, {"admin_by": "auth"}, True),
        ({"admins": ("bob",)}, {"admin_by": "auth"}, False),
        ({"provider": (provider(admins=("alice",)),)}, {"admin_by": "provider:campus"}, True),
        ({"provider": (provider(admins=("bob",)),)}, {"admin_by": "provider:campus"}, False),
        ({"provider": (provider(admin_groups=("g",)),)}, {"admin_by": "provider:campus", "groups": ("g",)}, True),
        ({"provider": (provider(admin_groups=("g",)),)}, {"admin_by": "provider:campus", "groups": ("h",)}, False),
        (
            {"provider": (provider(options=OidcConfig(admin_claims={"x": ("y",)})),)},
            {"admin_by": "provider:campus"},
            True,
        ),
        ({}, {"admin_by": "provider:campus"}, False),
    ],
)
def test_still_admin_follows_the_configuration(auth, user, stays):
    assert still_admin(AuthConfig(**auth), User(name="alice", admin=True, created=1.0, **user)) is stays


def test_a_user_removed_from_the_list_is_no_admin_after_a_restart(campus, run, store_url):
    async def first(auth, clock):
        await Visitor(auth).sign_in("alice")
        assert await rights(auth) == (("physics", "staff"), True)
        await Visitor(auth).sign_in("bob")
        assert (await auth._store.users.get("bob")).admin_by == "auth"

    async def second(auth, clock):
        before = await auth._store.feed.snapshot()
        auth.start()

        async def over():
            return not (await auth._store.users.get("bob")).admin

        await until(over)
        assert await rights(auth) == (("physics", "staff"), True)  # an admin by a group of the provider
        told = await auth._store.feed.read(before.epoch, before.number, timeout=0)
        assert "bob" in {event.user for event in told}  # cached identities of bob's tokens are checked again

        async def noted():
            found, _ = await auth._store.audit.page(AuditFilter(user="bob"))
            return found and found[0].by == "configuration"

        await until(noted)

    run(first, {"admins": ["bob"]})
    run(second)


def test_the_review_changes_only_admins_from_the_configuration(store_url):
    async def main():
        store = await Store.open(store_url)
        for number in range(450):
            by = {0: "auth", 1: ""}.get(number % 3, "")
            await store.users.add(User(name=f"u{number:03}", admin=number % 3 < 2, admin_by=by, created=1.0))
        auth = AuthConfig(admins=("u003",))
        assert await review(store, auth) == 149
        admins = [user.name for user in await store.users.gather(await store.users.names()) if user.admin]
        assert "u003" in admins
        assert len(admins) == 151
        assert await review(store, auth) == 0
        await store.close()

    run_alone(main())
