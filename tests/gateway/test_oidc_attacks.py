"""Invalid responses of a provider, and responses that were meant for another browser, client or user.

The provider is a real, certified one. Responses that it would never send are made by modifying its own.
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
    """Run `async def main(auth)`, then reset the campus."""

    def runner(main, *providers, **more):
        async def with_store():
            listed = providers or (campus.provider(allow_all=True, **more),)
            async with sign_in(store_url, {"provider": list(listed)}) as auth:
                return await main(auth)

        try:
            return asyncio.run(with_store())
        finally:
            campus.control(twist=None, lose_claims=False, down=False)

    return runner


def flow_of(browser, created):
    return Flow(provider="campus", browser=browser, nonce="n", verifier="v", redirect_uri=HUB, created=created)


NOW = int(time.time())
WRONG = {
    "another issuer": ({"set": {"iss": "https://evil.example"}}, "claims to be from the campus but is not"),
    "no issuer": ({"drop": ["iss"]}, "claims to be from the campus but is not"),
    "another audience": ({"set": {"aud": "other"}}, "is not valid"),
    "another audience with this client as the authorized party": (
        {"set": {"aud": "other", "azp": "hub"}},
        "is not valid",
    ),
    "other audiences with this client as the authorized party": (
        {"set": {"aud": ["other", "third"], "azp": "hub"}},
        "is not valid",
    ),
    "no audience": ({"drop": ["aud"]}, "is not valid"),
    "several audiences and no authorized party": ({"set": {"aud": ["hub", "other"]}}, "is not valid"),
    "another authorized party": ({"set": {"aud": ["hub", "other"], "azp": "other"}}, "is not valid"),
    "another sign-in's nonce": ({"set": {"nonce": "another"}}, "belongs to another sign-in"),
    "no nonce": ({"drop": ["nonce"]}, "belongs to another sign-in"),
    "expired": ({"set": {"exp": NOW - 3600}}, "clocks"),
    "no expiry": ({"drop": ["exp"]}, "clocks"),
    "an expiry that is not a time": ({"set": {"exp": "later"}}, "clocks"),
    "from the future": ({"set": {"iat": NOW + 3600}}, "clocks"),
    "no time": ({"drop": ["iat"]}, "clocks"),
    "no subject": ({"drop": ["sub"]}, "is not valid"),
    "a subject that is not text": ({"set": {"sub": 4711}}, "is not valid"),
    "an empty subject": ({"set": {"sub": ""}}, "is not valid"),
    "another access token": ({"set": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}, "is not valid"),
    "no signature": ({"alg": "none"}, "is not valid"),
    "the public key as a shared secret": ({"alg": "HS256"}, "is not valid"),
    "the client's secret as key": ({"alg": "HS256", "with": "secret"}, "is not valid"),
    "an unknown key with a known id": ({"key": "unknown"}, "is not valid"),
    "an unknown key with its own id": ({"key": "unknown", "kid": "mine"}, "is not valid"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_invalid_id_token_is_rejected(campus, run, wrong):
    twist, message = WRONG[wrong]

    async def main(auth):
        visitor = Visitor(auth)
        url = await visitor.leave()
        campus.control(twist=twist)
        answer = await visitor.answer(url, "alice")
        with pytest.raises(RefusedError, match=message) as caught:
            await visitor.arrive(answer)
        assert caught.value.hint
        assert "towpath-session" not in visitor.cookies
        assert await auth._store.users.count() == 0

    run(main)


def test_several_audiences_are_accepted_if_this_client_is_the_authorized_party(campus, run):
    async def main(auth):
        visitor = Visitor(auth)
        url = await visitor.leave()
        campus.control(twist={"set": {"aud": ["hub", "other"], "azp": "hub"}})
        await visitor.arrive(await visitor.answer(url, "alice"))
        assert await visitor.signed_in() == "alice"

    run(main)


def test_small_differences_between_clocks_are_accepted(campus, run):
    async def main(auth):
        visitor = Visitor(auth)
        url = await visitor.leave()
        campus.control(twist={"set": {"exp": int(time.time()) - 10, "iat": int(time.time()) + 10}})
        await visitor.arrive(await visitor.answer(url, "alice"))
        assert await visitor.signed_in() == "alice"

    run(main)


def test_a_response_works_only_once(run):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        await visitor.arrive(answer)
        with pytest.raises(RefusedError, match="already used") as caught:
            await visitor.arrive(answer)
        assert caught.value.stale

    run(main)


def test_two_simultaneous_uses_of_one_response_create_one_session(run):
    """Even if the provider accepted the code both times."""

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


def test_starting_a_sign_in_writes_nothing_to_the_store(run, valkey):
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


def test_the_longest_next_url_survives_the_round_trip(run):
    async def main(auth):
        longest = "/hub/user-redirect/?" + "x" * 2028
        assert safe_next(longest, "/") == longest
        assert (await Visitor(auth).sign_in("alice", next_url=longest)).next == longest

    run(main)


def test_a_response_expires_after_ten_minutes(run):
    async def main(auth):
        clock = auth._flows._clock = Clock()
        visitor = Visitor(auth)
        clock.ahead = -660.0  # within the lifetime of this hour's or the last hour's key
        sealing = await auth._flows.sealing()
        clock.ahead = 0.0
        old, young = (flow_of(digest("t"), time.time() - age) for age in (601, 590))
        visitor.cookies["towpath-sign-in"] = "t"
        with pytest.raises(RefusedError, match="has expired"):
            await auth._flows.of(sealing(old), visitor.request())
        assert await auth._flows.of(sealing(young), visitor.request()) == young
        clock.ahead = 7200.0
        with pytest.raises(RefusedError, match="has expired"):
            await auth._flows.of(sealing(msgspec.structs.replace(young, created=clock())), visitor.request())

    run(main)


def test_a_modified_or_foreign_state_is_rejected(run):
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
            with pytest.raises(RefusedError, match="has expired"):
                await visitor.arrive({**answer, "state": other})
        await visitor.arrive(answer)
        assert await visitor.signed_in() == "alice"

    run(main)


def test_users_can_sign_in_a_minute_after_the_store_lost_its_keys(run):
    async def main(auth):
        visitor = Visitor(auth)
        clock = auth._flows._clock = Clock()
        await visitor.leave()
        await auth._store.redis.call("FLUSHALL")
        clock.ahead = 61.0
        await visitor.sign_in("alice")
        assert await visitor.signed_in() == "alice"

    run(main)


def test_a_code_is_rejected_in_another_sign_in_of_the_same_browser(run):
    """The nonce and the verifier belong to the first sign-in (RFC 9700 section 4.5: code injection)."""

    async def main(auth):
        visitor = Visitor(auth)
        first = await visitor.answer(await visitor.leave(), "alice")
        second = await visitor.answer(await visitor.leave(), "alice")
        with pytest.raises(RefusedError, match="not set up correctly"):
            await visitor.arrive({**second, "code": first["code"]})
        assert "towpath-session" not in visitor.cookies

    run(main)


def test_the_provider_rejects_a_used_code(run):
    async def main(auth):
        visitor = Visitor(auth)
        first = await visitor.answer(await visitor.leave(), "alice")
        await visitor.arrive(first)
        attacker = Visitor(auth)
        url = await attacker.leave()
        answer = await attacker.answer(url, "mallory")
        with pytest.raises(RefusedError):
            await attacker.arrive({**answer, "code": first["code"]})
        assert await attacker.signed_in() is None

    run(main)


def test_a_response_for_another_browser_is_rejected(run):
    """Login CSRF (RFC 6749 section 10.12): mallory's response in alice's browser."""

    async def main(auth):
        alice, mallory = Visitor(auth), Visitor(auth)
        await alice.leave()
        answer = await mallory.answer(await mallory.leave(), "mallory")
        with pytest.raises(RefusedError, match="another browser"):
            await alice.arrive(answer)
        assert await alice.signed_in() is None

    run(main)


@pytest.mark.parametrize("cookies", [{}, {"towpath-sign-in": "made-up"}, {"towpath-session": "x"}])
def test_a_response_without_the_flow_cookie_is_rejected(run, cookies):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        visitor.cookies = cookies
        with pytest.raises(RefusedError, match="another browser"):
            await visitor.arrive(answer)

    run(main)


def test_two_flow_cookies_are_rejected(run):
    """Another subdomain has set one of them (CVE-2024-28233)."""

    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        request = visitor.request()
        request.scope["headers"].append((b"cookie", b"towpath-sign-in=tossed"))
        with pytest.raises(RefusedError):
            await auth.arrive("", answer, request)

    run(main)


@pytest.mark.parametrize("state", ["", "made-up", "x" * 5000, None])
def test_a_response_without_a_state_of_the_hub_is_rejected(run, state):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        if state is None:
            del answer["state"]
        else:
            answer["state"] = state
        with pytest.raises(RefusedError, match="has expired"):
            await visitor.arrive(answer)

    run(main)


@pytest.mark.parametrize("issuer", ["https://evil.example", "", None])
def test_a_response_from_another_issuer_is_rejected(run, issuer):
    """Mix-up (RFC 9207): the provider sends `iss` in every response, and announces that in its metadata."""

    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        assert answer.pop("iss")
        if issuer is not None:
            answer["iss"] = issuer
        with pytest.raises(RefusedError, match="claims to be from the campus but is not"):
            await visitor.arrive(answer)

    run(main)


def test_a_response_at_another_providers_redirect_uri_is_rejected(campus, run):
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
        visitor, request_counts = Visitor(auth), []

        async def exchange(*_, **more):
            request_counts.append(more)
            raise AssertionError("a code at another provider's redirect URI must not be exchanged")

        for proof in auth._proofs.values():
            proof._client.exchange = exchange
        state = dict(parse_qsl(urlsplit(await visitor.leave(began)).query))["state"]
        with pytest.raises(RefusedError, match="wrong address"):
            await visitor.arrive({"state": state, "code": "of the other", "iss": campus.issuer}, provider=came)
        assert request_counts == []

    both = {"allow_all": True, "shared_names": True}
    run(
        main,
        campus.provider(oidc={"plain_callback": True}, **both),
        campus.provider(name="evil", client="other", **both),
    )


def test_a_code_of_another_client_of_the_same_provider_is_rejected(campus, run):
    async def main(auth):
        visitor = Visitor(auth)
        first = await visitor.answer(await visitor.leave("campus"), "alice")
        second = await visitor.answer(await visitor.leave("second"), "alice")
        with pytest.raises(RefusedError):
            await visitor.arrive({**first, "code": second["code"]})

    both = {"allow_all": True, "shared_names": True}
    plain = {"plain_callback": True}
    run(main, campus.provider(oidc=plain, **both), campus.provider(name="second", client="other", oidc=plain, **both))


def test_a_user_who_declines_at_the_provider_sees_a_clear_message(run):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(next_url="/hub/token"), "alice", answer="no")
        assert answer["error"] == "access_denied"
        with pytest.raises(RefusedError, match="refused") as caught:
            await visitor.arrive(answer)
        assert "accept" in caught.value.hint
        assert caught.value.next == "/hub/token"

    run(main)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("server_error", "internal error"),
        ("temporarily_unavailable", "busy"),
        ("login_required", "not signed in"),
        ("invalid_scope", "“invalid_scope”"),
        ("<script>alert(1)</script>", "“an error”"),
    ],
)
def test_a_providers_error_is_shown_without_the_providers_text(run, error, message, caplog):
    async def main(auth):
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        said = {"error": error, "error_description": "x\r\n2026-11-25 towpath: all is well\x1b[2K" + "y" * 10_000}
        with pytest.raises(RefusedError, match=message) as caught:
            await visitor.arrive({"state": answer["state"], "iss": answer["iss"], **said})
        assert "<" not in str(caught.value)
        (line,) = [record.getMessage() for record in caplog.records if "A sign-in failed." in record.getMessage()]
        assert line.isprintable()
        assert len(line) < 700

    run(main)


def test_sign_in_reports_that_a_provider_is_down_and_works_when_it_is_back(campus, run):
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


def test_keys_are_cached_and_fetched_again_for_an_unknown_key_at_a_limited_rate(campus, run, monkeypatch):
    def request_counts():
        counts = campus.control(counts=True)
        return counts.get("/.well-known/openid-configuration", 0), counts.get("/jwks", 0)

    async def main(auth):
        before = request_counts()
        for name in ("alice", "bob", "carol"):
            await Visitor(auth).sign_in(name)
        once = request_counts()
        assert (once[0] - before[0], once[1] - before[1]) == (1, 1)
        campus.control(rotate=True)
        discovery = auth._proofs["campus"].engine._source
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        with pytest.raises(RefusedError):  # shortly after the last fetch
            await visitor.arrive(answer)
        monkeypatch.setattr(discovery, "_keys_at", discovery._keys_at - 11)
        await visitor.sign_in("alice")
        assert request_counts()[1] == once[1] + 1
        campus.control(twist={"key": "unknown", "kid": "made-up"})
        for _ in range(3):
            answer = await visitor.answer(await visitor.leave(), "alice")
            with pytest.raises(RefusedError):
                await visitor.arrive(answer)
        assert request_counts()[1] == once[1] + 1

    run(main)


def test_claims_missing_from_the_id_token_are_read_from_userinfo(campus, run):
    async def main(auth):
        campus.control(lose_claims=True)
        visitor = Visitor(auth)
        await visitor.sign_in("alice")
        user = await auth._store.users.get("alice")
        assert user.groups == ("physics", "staff")

    run(main, oidc={"groups_claim": "groups"})


def test_userinfo_about_another_user_is_rejected(campus, run, monkeypatch):
    async def main(auth):
        campus.control(lose_claims=True)
        visitor = Visitor(auth)
        answer = await visitor.answer(await visitor.leave(), "alice")
        campus.control(twist={"set": {"sub": "bob"}})  # the ID token is bob's, userinfo is alice's
        with pytest.raises(RefusedError, match="is not valid"):
            await visitor.arrive(answer)

    run(main)


def test_no_secret_is_logged_in_a_url_or_unencrypted_in_the_store(campus, run, caplog, valkey):
    caplog.set_level(logging.DEBUG)
    seen = []

    async def main(auth):
        engine = auth._proofs["campus"].engine
        verify = engine._verify_tokens

        async def spy(facts, tokens, **more):
            seen.append(tokens)
            return await verify(facts, tokens, **more)

        engine._verify_tokens = spy
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
