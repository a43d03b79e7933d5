"""Answers of a provider that are not to be believed, and answers that were meant for somebody else.

On a real, certified provider; where it would never give such an answer, its own is changed on the way.
"""

import asyncio
import logging
import time
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from campus import HUB, SECRET, Campus, Clock, Visitor, sign_in

from portal.site.sign_in import RefusedError
from portal.web.next_url import safe_next
from state.records.models import Flow
from state.sealing.box import Box
from state.store.credentials import digest

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def campus():
    started = Campus(("hub", HUB), ("other", HUB)).start()
    yield started
    started.stop()


@pytest.fixture
def run(campus, store_url):
    """Run `async def main(auth)`; the campus has no wishes left over afterwards."""

    def runner(main, *providers, **more):
        async def whole():
            listed = providers or (campus.provider(allow_all=True, **more),)
            async with sign_in(store_url, {"provider": list(listed)}) as auth:
                return await main(auth)

        try:
            return asyncio.run(whole())
        finally:
            campus.control(twist=None, lose_claims=False, down=False)

    return runner


def flow_of(browser, created):
    return Flow(provider="campus", browser=browser, nonce="n", verifier="v", redirect_uri=HUB, created=created)


NOW = int(time.time())
WRONG = {
    "another issuer": ({"set": {"iss": "https://evil.example"}}, "not from the campus"),
    "no issuer": ({"drop": ["iss"]}, "not from the campus"),
    "another audience": ({"set": {"aud": "other"}}, "cannot be believed"),
    "another audience with us as the authorized party": ({"set": {"aud": "other", "azp": "hub"}}, "cannot be believed"),
    "other audiences with us as the authorized party": (
        {"set": {"aud": ["other", "third"], "azp": "hub"}},
        "cannot be believed",
    ),
    "no audience": ({"drop": ["aud"]}, "cannot be believed"),
    "several audiences and no authorized party": ({"set": {"aud": ["hub", "other"]}}, "cannot be believed"),
    "another authorized party": ({"set": {"aud": ["hub", "other"], "azp": "other"}}, "cannot be believed"),
    "another sign-in's nonce": ({"set": {"nonce": "another"}}, "belongs to another sign-in"),
    "no nonce": ({"drop": ["nonce"]}, "belongs to another sign-in"),
    "over": ({"set": {"exp": NOW - 3600}}, "clocks"),
    "no end": ({"drop": ["exp"]}, "clocks"),
    "an end that is no time": ({"set": {"exp": "later"}}, "clocks"),
    "from the future": ({"set": {"iat": NOW + 3600}}, "clocks"),
    "no time": ({"drop": ["iat"]}, "clocks"),
    "nobody": ({"drop": ["sub"]}, "cannot be believed"),
    "no text for somebody": ({"set": {"sub": 4711}}, "cannot be believed"),
    "an empty somebody": ({"set": {"sub": ""}}, "cannot be believed"),
    "another access token": ({"set": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}, "cannot be believed"),
    "no signature": ({"alg": "none"}, "cannot be believed"),
    "the public key taken for a shared secret": ({"alg": "HS256"}, "cannot be believed"),
    "the client's secret as key": ({"alg": "HS256", "with": "secret"}, "cannot be believed"),
    "a stranger's key under a known name": ({"key": "stranger"}, "cannot be believed"),
    "a stranger's key under its own name": ({"key": "stranger", "kid": "mine"}, "cannot be believed"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_id_token_that_is_wrong_signs_nobody_in(campus, run, wrong):
    twist, words = WRONG[wrong]

    async def main(auth):
        visitor = Visitor(auth)
        url = await visitor.leave()
        campus.control(twist=twist)
        answer = await visitor.answer(url, "alice")
        with pytest.raises(RefusedError, match=words) as caught:
            await visitor.arrive(answer)
        assert caught.value.hint
        assert "towpath-session" not in visitor.cookies
        assert await auth._store.users.count() == 0

    run(main)


def test_several_audiences_with_us_as_the_authorized_party_are_fine(campus, run):
    async def main(auth):
        visitor = Visitor(auth)
        url = await visitor.leave()
        campus.control(twist={"set": {"aud": ["hub", "other"], "azp": "hub"}})
        await visitor.arrive(await visitor.answer(url, "alice"))
        assert await visitor.signed_in() == "alice"

    run(main)


def test_clocks_may_differ_a_little(campus, run):
    async def main(auth):
        visitor = Visitor(auth)
        url = await visitor.leave()
        campus.control(twist={"set": {"exp": int(time.time()) - 10, "iat": int(time.time()) + 10}})
        await visitor.arrive(await visitor.answer(url, "alice"))
        assert await visitor.signed_in() == "alice"

    run(main)


def test_an_answer_works_once(run):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        await visitor.arrive(answer)
        with pytest.raises(RefusedError, match="finished already") as caught:
            await visitor.arrive(answer)
        assert caught.value.stale

    run(main)


def test_of_two_who_come_back_with_one_answer_at_once_one_is_signed_in(run):
    """Though the provider should give something for the code both times."""

    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        proof = auth._proofs["campus"]
        told = await proof.arrive(await auth._flows.of(answer["state"], visitor.request()), answer)

        async def arrive(*_):
            await asyncio.sleep(0.05)
            return told

        proof.arrive = arrive
        both = await asyncio.gather(*(visitor.arrive(answer) for _ in range(2)), return_exceptions=True)
        assert sorted(isinstance(one, RefusedError) and one.stale for one in both) == [False, True]
        assert len(await auth._store.sessions.of_user("alice")) == 1

    run(main)


def test_whoever_only_begins_leaves_nothing_in_the_store(run, valkey):
    async def main(auth):
        async def held():
            return sorted(await auth._store.redis.call("KEYS", "*"))

        visitor = Visitor(auth)
        await visitor.leave()
        before = await held()
        for _ in range(50):
            state = dict(parse_qsl(urlsplit(await visitor.leave(next_url="/hub/home")).query))["state"]
            with pytest.raises(RefusedError):
                await visitor.arrive({"state": state, "code": "made-up"})
        assert await held() == before

    run(main)


def test_the_longest_way_on_survives_the_round_trip(run):
    async def main(auth):
        longest = "/hub/user-redirect/?" + "x" * 2028
        assert safe_next(longest, "/") == longest
        assert (await Visitor(auth).sign_in("alice", next_url=longest)).next == longest

    run(main)


def test_an_answer_comes_within_ten_minutes_or_not_at_all(run):
    async def main(auth):
        clock = auth._flows._clock = Clock()
        visitor = Visitor(auth)
        clock.ahead = -660.0  # long enough ago for this hour's key or the last one's
        sealing = await auth._flows.sealing()
        clock.ahead = 0.0
        old, young = (flow_of(digest("t"), time.time() - age) for age in (601, 590))
        visitor.cookies["towpath-sign-in"] = "t"
        with pytest.raises(RefusedError, match="too long ago"):
            await auth._flows.of(sealing(old), visitor.request())
        assert await auth._flows.of(sealing(young), visitor.request()) == young
        clock.ahead = 7200.0
        with pytest.raises(RefusedError, match="too long ago"):
            await auth._flows.of(sealing(msgspec.structs.replace(young, created=clock())), visitor.request())

    run(main)


def test_a_state_that_was_changed_or_sealed_elsewhere_is_worth_nothing(run):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        state = answer["state"]
        hour, _, sealed = state.partition(".")
        elsewhere = Box(b"x" * 32).seal_text(msgspec.json.encode(flow_of("b", 0.0)))
        others = [f"{hour}.{elsewhere}", f"{int(hour) + 1}.{sealed}", f"{hour}.", sealed, f"{hour}.{state}"]
        for at in (0, 20, len(sealed) // 2, -2):
            changed = "A" if sealed[at] != "A" else "B"
            others.append(f"{hour}.{sealed[:at]}{changed}{sealed[at:][1:]}")
        for other in others:
            with pytest.raises(RefusedError, match="begun"):
                await visitor.arrive({**answer, "state": other})
        await visitor.arrive(answer)
        assert await visitor.signed_in() == "alice"

    run(main)


def test_a_store_that_has_lost_its_keys_keeps_nobody_out_for_longer_than_a_minute(run):
    async def main(auth):
        visitor = Visitor(auth)
        clock = auth._flows._clock = Clock()
        await visitor.leave()
        await auth._store.redis.call("FLUSHALL")
        clock.ahead = 61.0
        await visitor.sign_in("alice")
        assert await visitor.signed_in() == "alice"

    run(main)


def test_a_code_is_worth_nothing_in_another_sign_in_of_the_same_browser(run):
    """The nonce and the verifier are the first one's (RFC 9700 section 4.5: code injection)."""

    async def main(auth):
        visitor = Visitor(auth)
        first = await visitor.answer(await visitor.leave(), "alice")
        second = await visitor.answer(await visitor.leave(), "alice")
        with pytest.raises(RefusedError, match="do not understand each other"):
            await visitor.arrive({**second, "code": first["code"]})
        assert "towpath-session" not in visitor.cookies

    run(main)


def test_a_code_that_was_used_is_refused_by_the_provider(run):
    async def main(auth):
        visitor = Visitor(auth)
        first = await visitor.answer(await visitor.leave(), "alice")
        await visitor.arrive(first)
        stranger = Visitor(auth)
        url = await stranger.leave()
        answer = await stranger.answer(url, "mallory")
        with pytest.raises(RefusedError):
            await stranger.arrive({**answer, "code": first["code"]})
        assert await stranger.signed_in() is None

    run(main)


def test_nobody_can_be_signed_in_with_an_answer_that_was_meant_for_another_browser(run):
    """Login CSRF (RFC 6749 section 10.12): mallory's answer in alice's browser."""

    async def main(auth):
        alice, mallory = Visitor(auth), Visitor(auth)
        await alice.leave()
        answer = await mallory.answer(await mallory.leave(), "mallory")
        with pytest.raises(RefusedError, match="another browser"):
            await alice.arrive(answer)
        assert await alice.signed_in() is None

    run(main)


@pytest.mark.parametrize("cookies", [{}, {"towpath-sign-in": "made-up"}, {"towpath-session": "x"}])
def test_without_the_cookie_of_the_browser_that_began_an_answer_is_worth_nothing(run, cookies):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        visitor.cookies = cookies
        with pytest.raises(RefusedError, match="another browser"):
            await visitor.arrive(answer)

    run(main)


def test_two_cookies_of_one_name_are_one_too_many(run):
    """A neighbour subdomain has tossed one in (CVE-2024-28233)."""

    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        request = visitor.request()
        request.scope["headers"].append((b"cookie", b"towpath-sign-in=tossed"))
        with pytest.raises(RefusedError):
            await auth.arrive("", answer, request)

    run(main)


@pytest.mark.parametrize("state", ["", "made-up", "x" * 5000, None])
def test_an_answer_with_no_state_of_ours_is_worth_nothing(run, state):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        if state is None:
            del answer["state"]
        else:
            answer["state"] = state
        with pytest.raises(RefusedError, match="begun"):
            await visitor.arrive(answer)

    run(main)


@pytest.mark.parametrize("issuer", ["https://evil.example", "", None])
def test_an_answer_of_another_provider_is_not_taken_for_this_ones(run, issuer):
    """Mix-up (RFC 9207): the provider names itself in every answer, and says in its discovery that it does."""

    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        assert answer.pop("iss")
        if issuer is not None:
            answer["iss"] = issuer
        with pytest.raises(RefusedError, match="not from the campus"):
            await visitor.arrive(answer)

    run(main)


def test_an_answer_that_comes_in_at_another_providers_address_is_refused(campus, run):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave("campus"), "alice")
        with pytest.raises(RefusedError, match="wrong address"):
            await visitor.arrive(answer, provider="second")

    both = {"allow_all": True, "shared_names": True}
    run(main, campus.provider(**both), campus.provider(name="second", client="other", **both))


@pytest.mark.parametrize(
    ("began", "came"), [("evil", ""), ("campus", "evil"), ("evil", "campus"), ("campus", "campus")]
)
def test_each_provider_has_its_own_redirect_uri_and_accepts_only_its_own_responses(campus, run, began, came):
    """Mix-up (RFC 9700 section 4.4): a bad provider sends the browser on to a good one that does not name itself, and
    would be shown the good one's code. `campus` comes back to JupyterHub's address, which has no name in it."""

    async def main(auth):
        visitor, asked = Visitor(auth), []

        async def exchange(*_, **more):
            asked.append(more)
            raise AssertionError("nobody is asked about a code that came to another's address")

        for proof in auth._proofs.values():
            proof._client.exchange = exchange
        state = dict(parse_qsl(urlsplit(await visitor.leave(began)).query))["state"]
        with pytest.raises(RefusedError, match="wrong address"):
            await visitor.arrive({"state": state, "code": "of the other", "iss": campus.issuer}, provider=came)
        assert asked == []

    both = {"allow_all": True, "shared_names": True}
    run(
        main,
        campus.provider(oidc={"plain_callback": True}, **both),
        campus.provider(name="evil", client="other", **both),
    )


def test_a_code_of_another_client_of_the_same_provider_is_refused(campus, run):
    async def main(auth):
        visitor = Visitor(auth)
        first = await visitor.answer(await visitor.leave("campus"), "alice")
        second = await visitor.answer(await visitor.leave("second"), "alice")
        with pytest.raises(RefusedError):
            await visitor.arrive({**first, "code": second["code"]})

    both = {"allow_all": True, "shared_names": True}
    plain = {"plain_callback": True}
    run(main, campus.provider(oidc=plain, **both), campus.provider(name="second", client="other", oidc=plain, **both))


def test_whoever_refuses_there_is_told_so_in_plain_words(run):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(next_url="/hub/token"), "alice", answer="no")
        assert answer["error"] == "access_denied"
        with pytest.raises(RefusedError, match="refused") as caught:
            await visitor.arrive(answer)
        assert "agree" in caught.value.hint
        assert caught.value.next == "/hub/token"

    run(main)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("server_error", "made a mistake"),
        ("temporarily_unavailable", "busy"),
        ("login_required", "not signed in"),
        ("invalid_scope", "“invalid_scope”"),
        ("<script>alert(1)</script>", "“an error”"),
    ],
)
def test_a_providers_own_errors_have_words_and_nothing_of_its_text(run, error, words, caplog):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        said = {"error": error, "error_description": "x\r\n2026-11-25 towpath: all is well\x1b[2K" + "y" * 10_000}
        with pytest.raises(RefusedError, match=words) as caught:
            await visitor.arrive({"state": answer["state"], "iss": answer["iss"], **said})
        assert "<" not in str(caught.value)
        (line,) = [record.getMessage() for record in caplog.records if "did not work out" in record.getMessage()]
        assert line.isprintable()
        assert len(line) < 700

    run(main)


def test_a_provider_that_is_down_is_told_of_and_found_again(campus, run):
    async def main(auth):
        visitor = Visitor(auth)
        campus.control(down=True)
        with pytest.raises(RefusedError, match="does not answer"):
            await visitor.leave()
        campus.control(down=False)
        url = await visitor.leave()
        answer = await visitor.answer(url, "alice")
        campus.control(down=True)
        with pytest.raises(RefusedError, match="does not answer"):
            await visitor.arrive(answer)
        campus.control(down=False)
        await visitor.sign_in("alice")
        assert await visitor.signed_in() == "alice"

    run(main)


def test_keys_are_fetched_once_and_again_when_they_were_changed_though_not_at_anybodys_call(campus, run, monkeypatch):
    def asked():
        counts = campus.control(counts=True)
        return counts.get("/.well-known/openid-configuration", 0), counts.get("/jwks", 0)

    async def main(auth):
        before = asked()
        for name in ("alice", "bob", "carol"):
            await Visitor(auth).sign_in(name)
        once = asked()
        assert (once[0] - before[0], once[1] - before[1]) == (1, 1)
        campus.control(rotate=True)
        discovery = auth._proofs["campus"].engine._source
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        with pytest.raises(RefusedError):  # a moment after the last time
            await visitor.arrive(answer)
        monkeypatch.setattr(discovery, "_keys_at", discovery._keys_at - 11)
        await visitor.sign_in("alice")
        assert asked()[1] == once[1] + 1
        campus.control(twist={"key": "stranger", "kid": "made-up"})
        for _ in range(3):
            answer = await visitor.answer(await visitor.leave(), "alice")
            with pytest.raises(RefusedError):
                await visitor.arrive(answer)
        assert asked()[1] == once[1] + 1

    run(main)


def test_what_the_id_token_leaves_out_is_asked_of_userinfo(campus, run):
    async def main(auth):
        campus.control(lose_claims=True)
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        user = await auth._store.users.get("alice")
        assert user.groups == ("physics", "staff")

    run(main, oidc={"groups_claim": "groups"})


def test_userinfo_of_somebody_else_is_not_believed(campus, run, monkeypatch):
    async def main(auth):
        campus.control(lose_claims=True)
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        campus.control(twist={"set": {"sub": "bob"}})  # the ID token is bob's, userinfo alice's
        with pytest.raises(RefusedError, match="cannot be believed"):
            await visitor.arrive(answer)

    run(main)


def test_no_secret_is_in_a_log_an_url_or_plain_in_the_store(campus, run, caplog, valkey):
    caplog.set_level(logging.DEBUG)
    seen = []

    async def main(auth):
        engine = auth._proofs["campus"].engine
        believe = engine._believe

        async def spy(facts, tokens, **more):
            seen.append(tokens)
            return await believe(facts, tokens, **more)

        engine._believe = spy
        visitor = Visitor(auth)
        url = await visitor.leave()
        await visitor.arrive(await visitor.answer(url, "alice"))
        campus.control(twist={"alg": "none"})
        with pytest.raises(RefusedError):
            await visitor.sign_in("bob")
        for word in (SECRET, visitor.cookies["towpath-session"], visitor.cookies["towpath-sign-in"]):
            assert word not in url
        return visitor

    visitor = run(main)
    secrets = [SECRET, *visitor.cookies.values()]
    secrets += [tokens[name] for tokens in seen for name in ("access_token", "refresh_token", "id_token")]
    assert len(secrets) >= 6
    stored = b"".join(path.read_bytes() for path in valkey.folder.rglob("*") if path.is_file())
    for secret in secrets:
        assert secret not in caplog.text
        assert secret.encode() not in stored
