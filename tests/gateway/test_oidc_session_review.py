"""The review of sessions: users who were disabled, have lost a right or have signed out at the provider lose access."""

import asyncio
import time
from functools import partial

import pytest
from campus import HUB, Campus, Visitor, later, on_campus, sign_in
from msgspec.structs import replace

from portal.site.sign_in import RefusedError
from state.records.audit import Act, AuditFilter
from state.records.models import Session, Standing, Token

pytestmark = pytest.mark.timeout(120)
HOUR = 3600.0
RULES = {"allowed_groups": ["physics"], "admin_groups": ["admins"]}


@pytest.fixture(scope="module")
def campus():
    started = Campus(("hub", HUB)).start()
    yield started
    started.stop()


@pytest.fixture
def run(campus, store_url):
    """Run `async def main(auth, clock)`, then reset the users of the campus."""
    return partial(on_campus, campus, store_url, rules=RULES)


async def token_of(auth, name):
    await auth._store.tokens.issue(Token(id=f"t-{name}", user=name, scopes=("self",), created=time.time()))


async def entries(auth, user):
    """Return the audit's entries about a user."""
    found, _ = await auth._store.audit.page(AuditFilter(user=user))
    return found


@pytest.mark.parametrize("end_tokens", [True, False])
def test_tokens_kept_for_hooks_end_with_the_users_tokens(campus, run, end_tokens):
    secret = "0123456789abcdef0123456789abcdef"

    async def main(auth, clock):
        await Visitor(auth).sign_in("alice")
        states = auth._store.auth_states
        first = (await states.get("alice", secret=secret))["access_token"]
        await later(auth, clock)
        assert (await states.get("alice", secret=secret))["access_token"] != first
        campus.control(user="alice", disabled=True)
        await later(auth, clock)
        assert (await states.get("alice", secret=secret) is None) is end_tokens

    run(main, config={"auth_state_key": secret}, auth_state=True, end_tokens=end_tokens)


def test_a_user_disabled_at_the_provider_loses_all_access_at_the_next_review(campus, run):
    async def main(auth, clock):
        laptop, phone, bob = Visitor(auth), Visitor(auth), Visitor(auth)
        for visitor in (laptop, phone):
            await visitor.sign_in("alice")
        await bob.sign_in("bob")
        await token_of(auth, "alice")
        await token_of(auth, "bob")
        await later(auth, clock)
        assert await laptop.signed_in() == await phone.signed_in() == "alice"
        campus.control(user="alice", disabled=True)
        await later(auth, clock)
        assert await laptop.signed_in() is None
        assert await phone.signed_in() is None
        assert await auth._store.tokens.of_user("alice") == []
        whys = [entry.why for entry in await entries(auth, "alice") if entry.act is Act.SIGN_OUT]
        assert len(whys) == 2
        assert all("invalid_grant" in why for why in whys)
        assert await bob.signed_in() == "bob"
        assert len(await auth._store.tokens.of_user("bob")) == 1
        assert await auth._store.standings.of_user("alice") == []

    run(main)


def test_when_one_session_ends_the_users_other_sessions_are_reviewed_immediately(campus, run):
    async def main(auth, clock):
        first = Visitor(auth)
        await first.sign_in("alice")
        clock.ahead += 200
        second = Visitor(auth)
        await second.sign_in("alice")  # due 200 s after the first
        campus.control(user="alice", disabled=True)
        await later(auth, clock, 150)  # the first is due, the second is not
        assert await first.signed_in() is None
        assert await second.signed_in() is None

    run(main)


def test_tokens_survive_if_end_tokens_is_off(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        await token_of(auth, "alice")
        campus.control(user="alice", disabled=True)
        await later(auth, clock)
        assert await visitor.signed_in() is None
        assert len(await auth._store.tokens.of_user("alice")) == 1

    run(main, end_tokens=False)


@pytest.mark.parametrize("end_tokens", [True, False])
def test_a_user_who_is_no_longer_allowed_loses_sessions_and_tokens(campus, run, end_tokens):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        await token_of(auth, "alice")
        campus.control(user="alice", set={"groups": ["staff"]})
        await later(auth, clock)
        assert await visitor.signed_in() is None
        assert await auth._store.tokens.of_user("alice") == []
        with pytest.raises(RefusedError, match="not allowed to use this hub"):
            await visitor.sign_in("alice")

    run(main, end_tokens=end_tokens)


def test_groups_and_admins_are_updated_at_each_review(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        user = await auth._store.users.get("alice")
        assert (user.groups, user.admin) == (("physics", "staff"), False)
        campus.control(user="alice", set={"groups": ["/physics", "admins", "bad\u0007name", ""]})
        await later(auth, clock)
        user = await auth._store.users.get("alice")
        assert (user.groups, user.admin) == (("admins", "physics"), True)
        campus.control(user="alice", set={"groups": ["physics"]})
        await later(auth, clock)
        user = await auth._store.users.get("alice")
        assert (user.groups, user.admin) == (("physics",), False)
        assert await visitor.signed_in() == "alice"

    run(main)


def test_an_unreachable_provider_ends_no_session_and_is_asked_again_soon(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        campus.control(down=True, user="alice", disabled=True)
        await later(auth, clock)
        (standing,) = await auth._store.standings.of_user("alice")
        assert (await visitor.signed_in(), standing.failures) == ("alice", 1)
        campus.control(down=False)
        await later(auth, clock, 16)
        assert await visitor.signed_in() is None

    run(main)


@pytest.mark.parametrize("twist", [{"alg": "none"}, {"set": {"iss": "https://evil.example"}}, {"set": {"exp": 1}}])
def test_an_invalid_response_ends_no_session_and_grants_nothing(campus, run, twist):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        campus.control(twist=twist, user="alice", set={"groups": ["physics", "admins"]})
        await later(auth, clock)
        assert await visitor.signed_in() == "alice"
        assert not (await auth._store.users.get("alice")).admin

    run(main)


def test_a_response_about_another_user_ends_the_session(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        campus.control(twist={"set": {"sub": "bob"}})
        await later(auth, clock)
        assert await visitor.signed_in() is None

    run(main)


def test_a_user_renamed_at_the_provider_has_to_sign_in_again(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        campus.control(user="alice", set={"preferred_username": "alicia"})
        await later(auth, clock)
        assert await visitor.signed_in() is None
        campus.control(user="alice", set={"preferred_username": "alice"})

    run(main)


def test_a_name_stays_bound_to_its_first_account(campus, run):
    async def main(auth, clock):
        await Visitor(auth).sign_in("alice")
        campus.control(user="bob", set={"preferred_username": "alice"})
        try:
            with pytest.raises(RefusedError, match="another account"):
                await Visitor(auth).sign_in("bob")
            assert (await auth._store.users.get("alice")).subjects == {"campus": "alice"}
        finally:
            campus.control(user="bob", set={"preferred_username": "bob"})

    run(main)


def test_without_bound_names_another_account_can_take_over_a_name(campus, run):
    async def main(auth, clock):
        await Visitor(auth).sign_in("alice")
        campus.control(user="bob", set={"preferred_username": "alice"})
        try:
            visitor = Visitor(auth)
            await visitor.sign_in("bob")
            assert await visitor.signed_in() == "alice"
        finally:
            campus.control(user="bob", set={"preferred_username": "bob"})

    run(main, bound_names=False)


def test_a_rotated_refresh_token_is_used_for_the_next_review(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        seen = set()
        for _ in range(4):
            (standing,) = await auth._store.standings.of_user("alice")
            seen.add(auth._proofs["campus"]._open(standing).refresh)
            await later(auth, clock)
        assert len(seen) == 4
        assert await visitor.signed_in() == "alice"

    run(main)


def test_two_workers_do_not_review_the_same_session_at_once(campus, run):
    async def main(auth, clock):
        await Visitor(auth).sign_in("alice")
        clock.ahead += 400
        counts = await asyncio.gather(*(auth.session_review.review_due() for _ in range(5)))
        assert sorted(counts) == [0, 0, 0, 0, 1]

    run(main)


def test_sessions_of_a_worker_that_died_are_reviewed_by_another_after_the_hold(run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        clock.ahead += 400
        store = auth._store.standings
        assert len(await store.claim(clock(), hold=120, most=10)) == 1  # and then the hold has expired
        assert await store.hasten("alice", clock()) == 1
        assert await auth.session_review.review_due() == 0
        await later(auth, clock, 121)
        assert await visitor.signed_in() == "alice"
        (standing,) = await store.of_user("alice")
        assert standing.checked > standing.began + 500

    run(main)


def test_without_a_refresh_token_a_session_ends_after_the_configured_time(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        (standing,) = await auth._store.standings.of_user("alice")
        await auth.session_review.put(replace(standing, asks=False, sealed=""))
        await later(auth, clock, 23 * HOUR)
        assert await visitor.signed_in() == "alice"
        await later(auth, clock, 2 * HOUR)
        assert await visitor.signed_in() is None

    run(main)


def test_without_refresh_the_provider_is_not_asked_but_the_rules_apply(campus, run, store_url):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        campus.control(user="alice", disabled=True)
        await later(auth, clock, 48 * HOUR)
        assert await visitor.signed_in() == "alice"
        user = await auth._store.users.get("alice")
        await auth._store.users.save(replace(user, groups=()))
        await later(auth, clock, 48 * HOUR)
        assert await visitor.signed_in() is None

    run(main, oidc={"groups_claim": "groups", "refresh": 0})


def test_users_sign_in_again_after_the_client_secret_has_changed(campus, run, store_url):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        provider = campus.provider(**RULES, oidc={"groups_claim": "groups", "client_secret": "quite another secret"})
        async with sign_in(store_url, {"provider": [provider]}, clock=clock) as changed:
            await later(changed, clock)
        assert await visitor.signed_in() is None

    run(main)


def test_sessions_end_when_their_provider_is_removed_from_the_configuration(campus, run, store_url):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        await token_of(auth, "alice")
        provider = campus.provider(name="renamed", **RULES, oidc={"groups_claim": "groups"})
        async with sign_in(store_url, {"provider": [provider]}, clock=clock) as changed:
            await later(changed, clock)
        assert await visitor.signed_in() is None

    run(main)


def test_a_session_that_has_ended_is_deleted_and_its_token_revoked(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        (standing,) = await auth._store.standings.of_user("alice")
        await auth._store.sessions.close_all("alice")
        await later(auth, clock)
        assert await auth._store.standings.of_user("alice") == []
        assert await auth._store.standings.claim(clock() + 1e6, hold=1, most=10) == []
        with pytest.raises(Exception, match="invalid_grant"):
            await auth._proofs["campus"].again(standing)

    run(main)


def test_an_unreachable_provider_does_not_delay_sign_out(campus, run, monkeypatch):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        assert (await auth.farewell(visitor.request())).startswith(f"{campus.issuer}/session/end?")
        engine = auth._proofs["campus"].engine

        async def never():
            await asyncio.sleep(60)

        monkeypatch.setattr(engine, "facts", never)
        assert await auth.farewell(visitor.request()) == ""
        monkeypatch.undo()
        request = visitor.request()
        assert "Max-Age=0" in await auth.close_session(request)
        assert await visitor.signed_in() is None
        assert await auth._store.standings.of_user("alice") == []

    run(main)


def test_sign_out_at_the_provider_can_be_turned_off(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        assert await auth.farewell(visitor.request()) == ""

    run(main, oidc={"sign_out": False, "groups_claim": "groups"})


# --- back-channel logout --------------------------------------------------------------------------------
EVENT = "http://schemas.openid.net/event/backchannel-logout"


def logout_token(campus, **changes):
    now = int(time.time())
    claims = {
        "iss": campus.issuer,
        "aud": "hub",
        "iat": now,
        "exp": now + 120,
        "jti": f"j{time.time_ns()}",
        "events": {EVENT: {}},
        **changes,
    }
    return campus.control(logout_token={name: value for name, value in claims.items() if value is not None})[
        "logout_token"
    ]


def test_a_logout_token_with_sid_ends_only_that_session(campus, run):
    async def main(auth, clock):
        laptop, phone = Visitor(auth), Visitor(auth)
        await laptop.sign_in("alice")
        await phone.sign_in("alice")
        sids = [standing.sid for standing in await auth._store.standings.of_user("alice")]
        assert len(set(sids)) == 2
        assert all(sids)
        standing = await auth._standing(laptop.request())
        await auth.ended_there("campus", logout_token(campus, sid=standing.sid, sub="alice"))
        assert await laptop.signed_in() is None
        assert await phone.signed_in() == "alice"

    run(main)


def test_a_logout_token_with_sub_ends_all_sessions_of_the_user_at_that_provider(campus, run):
    async def main(auth, clock):
        visitors = [Visitor(auth) for _ in range(3)]
        for visitor, name in zip(visitors, ("alice", "alice", "bob"), strict=True):
            await visitor.sign_in(name)
        await auth.ended_there("campus", logout_token(campus, sub="alice"))
        assert [await visitor.signed_in() for visitor in visitors] == [None, None, "bob"]

    run(main)


def test_a_logout_token_does_not_end_sessions_of_another_provider(campus, store_url):
    """Each provider has its own ids of accounts and sessions, and another provider's can be equal."""

    async def main():
        more = {"allow_all": True, "shared_names": True}
        both = [campus.provider(**more), campus.provider(name="second", client="other", **more)]
        async with sign_in(store_url, {"provider": both}) as auth:
            of = {"user": "alice", "subject": "alice", "sid": "s", "began": time.time(), "checked": time.time()}
            for name in ("campus", "second"):
                session = Session(id=name, user="alice", created=time.time(), expires=time.time() + 3600)
                await auth._store.sessions.open(session)
                await auth.session_review.put(Standing(session=name, provider=name, **of))
            await auth.ended_there("campus", logout_token(campus, sub="alice"))
            assert [session.id for session in await auth._store.sessions.of_user("alice")] == ["second"]
            await auth.ended_there("campus", logout_token(campus, sid="s"))
            assert [session.id for session in await auth._store.sessions.of_user("alice")] == ["second"]

    asyncio.run(main())


def test_two_sessions_here_of_one_session_there_end_together(campus, run):
    """A user who lost the hub's cookie and signed in again while signed in at the provider."""

    async def main(auth, clock):
        first, second = Visitor(auth), Visitor(auth)
        await first.sign_in("alice")
        second._there = first._there
        await second.sign_in("alice")
        sids = {standing.sid for standing in await auth._store.standings.of_user("alice")}
        assert len(sids) == 1
        await auth.ended_there("campus", logout_token(campus, sid=sids.pop()))
        assert await first.signed_in() is await second.signed_in() is None

    run(main)


def test_a_logout_token_works_once(campus, run):
    async def main(auth, clock):
        token = logout_token(campus, sub="alice")
        await auth.ended_there("campus", token)
        with pytest.raises(RefusedError, match="been used before"):
            await auth.ended_there("campus", token)

    run(main)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": None},
        {"iat": 1},
        {"iat": None},
        {"iat": int(time.time()) + 7200},
        {"iat": "now"},
        {"exp": 1},
        {"exp": True},
        {"jti": None},
        {"jti": ""},
        {"events": None},
        {"events": {}},
        {"events": [EVENT]},
        {"events": {EVENT: "yes"}},
        {"nonce": "n"},
        {"sub": None},
        {"sub": 4711},
        {"sub": "x" * 300},
    ],
)
def test_an_invalid_logout_token_ends_no_session(campus, run, changes):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        with pytest.raises(RefusedError):
            await auth.ended_there("campus", logout_token(campus, **{"sub": "alice", **changes}))
        assert await visitor.signed_in() == "alice"

    run(main)


def test_an_id_token_is_not_accepted_as_a_logout_token(campus, run):
    async def main(auth, clock):
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        (standing,) = await auth._store.standings.of_user("alice")
        for token in (auth._proofs["campus"]._open(standing).id, "", "x", "a.b.c", "x" * 100_000, "é"):
            with pytest.raises(RefusedError):
                await auth.ended_there("campus", token)
        with pytest.raises(RefusedError):
            await auth.ended_there("nowhere", logout_token(campus, sub="alice"))
        assert await visitor.signed_in() == "alice"

    run(main)
