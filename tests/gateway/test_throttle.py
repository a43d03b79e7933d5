"""Limits on failed sign-ins, on a real store with a test clock: what attackers can and cannot do."""

import asyncio
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from gateway.auth.cookies import KNOWN_NAME, CookieJar
from gateway.auth.proof import Proven
from gateway.auth.throttle import FLOOR, PASSWORD_MAX, TYPED_MAX, WRONG, ThrottledProof, ThrottleLimits
from gateway.door.client_address import client_address
from gateway.wire.addresses import client_key
from portal.site.sign_in import Provider, RefusedError, TooOftenError, UnansweredError
from state.config.tables import ThrottleConfig
from state.store.all import Store

HOME, ELSEWHERE, MALLORY = "192.0.2.10", "192.0.2.20", "198.51.100.66"
DAY = 24 * 3600.0


JAR = CookieJar(secure=True, base_path="/hub/", name=KNOWN_NAME)


def request_of(address, *cookies):
    headers = [(b"cookie", cookie.encode()) for cookie in cookies]
    return SimpleNamespace(scope={"state": {"address": address}, "headers": headers})


class Directory:
    """A provider that knows alice's password and records the requested names."""

    shown = Provider(name="directory", title="Directory", form="password")

    def __init__(self):
        self.asked = []
        self.away = None

    async def prove(self, fields, request):
        self.asked.append(fields["username"])
        if self.away:
            raise self.away
        if (fields["username"], fields["password"]) != ("alice", "right"):
            raise RefusedError(WRONG)
        return Proven(name="alice")


class Bench:
    def __init__(self, store):
        self.now = 1_800_000_000.0
        self.slept = []
        self.directory = Directory()
        limits = ThrottleLimits(ThrottleConfig())
        self.proof = ThrottledProof(self.directory, store.tries, limits, JAR, clock=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds):
        self.slept.append(seconds)

    async def attempt(self, address, password="wrong", name="alice", jar=None):
        """Try to sign in. Returns the seconds to wait if throttled, 0 after a failure, None after a success.

        `jar`: the browser's cookies, a list that is updated.
        """
        request = request_of(address, *(jar or ()))
        try:
            await self.proof.prove({"username": name, "password": password}, request)
        except TooOftenError as error:
            return error.seconds
        except RefusedError as error:
            assert str(error) == WRONG
            return 0
        if jar is not None:
            jar[:] = [one.partition(";")[0] for one in request.scope["state"]["set_cookies"]]
        return None

    async def hammer(self, addresses, seconds, *, name="alice", every=10.0):
        """Try from each address whenever it is not throttled, for `seconds`; return how many attempts were checked."""
        free = dict.fromkeys(addresses, self.now)
        end, looked = self.now + seconds, 0
        while self.now < end:
            for address in addresses:
                while free[address] <= self.now:
                    wait = await self.attempt(address, name=name)
                    looked += wait == 0
                    free[address] = self.now + wait
            self.now += every
        for address in addresses:
            while await self.attempt(address, name=name) == 0:
                looked += 1
        return looked


@pytest.fixture
def on_bench(store_url):
    def on(body):
        async def main():
            store = await Store.open(store_url)
            try:
                await body(Bench(store))
            finally:
                await store.close()

        asyncio.run(main())

    return on


def test_one_attacker_gets_few_guesses_a_day_and_locks_nobody_out(on_bench):
    async def body(bench):
        for _ in range(6):
            guesses = await bench.hammer([MALLORY], DAY / 12, every=120.0)
            assert await bench.attempt(ELSEWHERE) == 0  # from a new place
            assert guesses < 30
        assert await bench.attempt(MALLORY, "right") > 0
        assert await bench.attempt(HOME, "right") is None

    on_bench(body)


def test_many_attackers_do_not_lock_a_user_out_at_a_familiar_address(on_bench):
    async def body(bench):
        assert await bench.attempt(HOME, "right") is None
        guesses = await bench.hammer([f"198.51.100.{at}" for at in range(20)], 1800, every=60.0)
        assert guesses < 75
        assert await bench.attempt(ELSEWHERE, "right") > 0
        assert await bench.attempt(HOME) == 0
        assert await bench.attempt(HOME, "right") is None
        bench.now += 120
        assert await bench.attempt(ELSEWHERE, "right") is None  # elsewhere for at most two minutes

    on_bench(body)


def test_failures_behind_the_same_address_do_not_block_a_known_browser(on_bench):
    async def body(bench):
        browser = []
        assert await bench.attempt(HOME, "right", jar=browser) is None
        assert len(browser) == 1
        assert browser[0].startswith("__Host-towpath-known=")
        assert "alice" not in browser[0]
        await bench.hammer([HOME], 1800, every=60.0)
        for at in range(100):
            await bench.attempt(HOME, name=f"student{at}")
        assert await bench.attempt(HOME, "right") > 0
        assert await bench.attempt(HOME, jar=browser) == 0
        assert await bench.attempt(HOME, "right", jar=browser) is None
        # Also from another address.
        await bench.hammer([f"198.51.100.{at}" for at in range(20)], 900, every=60.0)
        assert await bench.attempt(ELSEWHERE, "right") > 0
        assert await bench.attempt(ELSEWHERE, "right", jar=browser) is None

    on_bench(body)


def test_a_known_browser_has_its_own_counter(on_bench):
    async def body(bench):
        browser = []
        await bench.attempt(HOME, "right", jar=browser)
        looked = [await bench.attempt(MALLORY, jar=browser) for _ in range(20)]
        assert looked.count(0) == ThrottleConfig().tries + 1
        # For other names it is not known.
        looked = [await bench.attempt(MALLORY, name="bob", jar=browser) for _ in range(20)]
        assert looked.count(0) == ThrottleConfig().tries + 1

    on_bench(body)


def test_a_planted_cookie_never_becomes_known(on_bench):
    async def body(bench):
        planted = ["__Host-towpath-known=mallorys"]
        browser = list(planted)
        assert await bench.attempt(HOME, "right", jar=browser) is None
        assert browser != planted
        for _ in range(6):
            assert await bench.attempt(MALLORY, jar=list(planted)) == 0
        assert await bench.attempt(MALLORY, jar=list(planted)) > 0
        assert await bench.attempt(MALLORY) > 0  # the same counter: that of the address
        kept = list(browser)
        assert await bench.attempt(HOME, "right", jar=browser) is None
        assert browser == kept

    on_bench(body)


def test_one_attacker_with_many_names_is_throttled(on_bench):
    async def body(bench):
        looked = 0
        for at in range(500):
            looked += await bench.attempt(MALLORY, name=f"student{at}") == 0
        assert looked == ThrottleConfig().tries_per_address + 1
        assert await bench.attempt(HOME, name="student1") == 0

    on_bench(body)


def test_signing_in_does_not_clear_the_failures_of_the_address(on_bench):
    async def body(bench):
        looked = 0
        for at in range(200):
            assert await bench.attempt(MALLORY, "right") != 0
            looked += await bench.attempt(MALLORY, name=f"student{at}") == 0
        assert looked <= ThrottleConfig().tries_per_address + 1

    on_bench(body)


def test_signing_in_clears_the_failures_under_the_name(on_bench):
    async def body(bench):
        for _ in range(20):
            for _ in range(4):
                assert await bench.attempt(HOME) == 0
            assert await bench.attempt(HOME, "right") is None
            bench.now += 300

    on_bench(body)


@pytest.mark.parametrize(
    "name",
    ["alice", "ALICE", " Alice ", "ａｌｉｃｅ", "aLiCe\n"],  # noqa: RUF001 - full-width letters
)
def test_all_spellings_of_a_name_share_a_counter_and_are_normalised(on_bench, name):
    async def body(bench):
        looked = 0
        for _ in range(3):
            for spelled in ("alice", name):
                looked += await bench.attempt(MALLORY, name=spelled) == 0
        assert looked == 6
        assert await bench.attempt(MALLORY) > 0
        assert set(bench.directory.asked) == {"alice"}

    on_bench(body)


@pytest.mark.parametrize(
    "name", ["al\u00adice", "al\u200bice", "alice\0", "*", "a(b)", "alice,dc=x", "../alice", "", "ä"]
)
def test_an_invalid_name_is_rejected_with_the_same_message_and_without_asking_the_provider(on_bench, name):
    async def body(bench):
        assert await bench.attempt(HOME, name=name) == 0
        assert bench.slept == [FLOOR]
        assert not bench.directory.asked

    on_bench(body)


def test_a_failure_takes_the_same_time_for_every_name(on_bench):
    async def body(bench):
        for name in ("alice", "nobody"):
            await bench.attempt(HOME, name=name)
        assert bench.slept == [FLOOR, FLOOR]

    on_bench(body)


def test_concurrent_attempts_are_all_counted(on_bench):
    async def body(bench):
        told = await asyncio.gather(*[bench.attempt(MALLORY) for _ in range(300)])
        assert told.count(0) == ThrottleConfig().tries + 1

    on_bench(body)


def test_an_outage_counts_as_a_failure_only_if_the_password_was_sent(on_bench):
    async def body(bench):
        request = request_of(HOME)
        for untried, times in ((True, 40), (False, ThrottleConfig().tries + 1)):
            bench.directory.away = UnansweredError("It is away.", untried=untried)
            for _ in range(times):
                with pytest.raises(UnansweredError):
                    await bench.proof.prove({"username": "alice", "password": "right"}, request)
        bench.directory.away = None
        assert await bench.attempt(HOME, "right") > 0

    on_bench(body)


def test_a_name_or_password_that_is_too_long_is_rejected_without_asking(on_bench):
    async def body(bench):
        request = request_of(HOME)
        for fields in (
            {"username": "a" * (TYPED_MAX + 1)},
            {"username": "alice", "password": "x" * (PASSWORD_MAX + 1)},
        ):
            with pytest.raises(RefusedError, match="at most"):
                await bench.proof.prove(fields, request)
        assert not bench.directory.asked

    on_bench(body)


PROXIES = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1"))


@pytest.mark.parametrize(
    ("peer", "fields", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),  # not a trusted proxy
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # the first was sent by the client
        ("127.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["203.0.113.9, 198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["10.9.9.9, 198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", ["203.0.113.9, unknown, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", ["203.0.113.9, "], "127.0.0.1"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
    ],
)
def test_the_address_is_the_last_one_that_no_trusted_proxy_has(peer, fields, address):
    headers = [(b"host", b"hub"), *((b"x-forwarded-for", field.encode()) for field in fields)]
    assert client_address(peer, headers, PROXIES) == address


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_ipv6_addresses_of_one_network_share_a_counter(address, counted):
    assert client_key(address) == counted
