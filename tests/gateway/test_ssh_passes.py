"""When a worker asks for a pass: before the first stream, in time before it expires, and when one is not accepted."""

import asyncio

import pytest

from gateway.ways_in.errors import WayInError
from gateway.ways_in.ssh import passes as module
from gateway.ways_in.ssh.passes import MARGIN, Passes
from state.errors import StateUnavailableError
from state.records.models import Endpoint
from state.records.ssh import SshPass
from tests.conftest import run, until

ATTEMPT = "a" * 32
ENDPOINT = Endpoint(kind="ssh-socket", path="/s", name=f"{ATTEMPT}.towpath.internal", server="alice/gpu")
LIFE = 1000.0


class FakeStore:
    """A store whose controller answers at once, unless `silent`. It counts requests."""

    def __init__(self):
        self.now = 0.0
        self.asked = []
        self.held = None
        self.silent = False
        self.refusal = ""
        self.down = False

    async def ask(self, request):
        if self.down:
            raise StateUnavailableError("The state store does not answer.")
        self.asked.append(request)
        if not self.silent:
            self.held = SshPass(issued=self.now, expires=self.now + LIFE, refusal=self.refusal)

    async def find(self, _attempt, _gateway_id):
        if self.down:
            raise StateUnavailableError("The state store does not answer.")
        return self.held


@pytest.fixture
def store():
    return FakeStore()


async def gateway_id():
    return "g" * 32


def with_passes(store, body):
    run(body(Passes(store, gateway_id, clock=lambda: store.now)))


def test_many_streams_at_once_ask_once_and_later_ones_not_at_all(store):
    async def body(passes):
        made = await asyncio.gather(*[passes.get(ENDPOINT) for _ in range(8)])
        assert len(set(map(id, made))) == 1
        await passes.get(ENDPOINT)
        (request,) = store.asked
        assert (request.user, request.server, request.attempt, request.gateway_id) == (
            "alice",
            "gpu",
            ATTEMPT,
            "g" * 32,
        )

    with_passes(store, body)


def test_a_pass_in_the_store_is_used_after_a_restart_also_without_a_controller(store):
    store.held, store.silent = SshPass(issued=0, expires=LIFE), True
    with_passes(store, lambda passes: passes.get(ENDPOINT))
    assert not store.asked


def test_it_is_renewed_at_half_of_its_life_while_the_old_one_is_used(store):
    async def body(passes):
        first = await passes.get(ENDPOINT)
        store.now = LIFE / 2 + 1
        assert await passes.get(ENDPOINT) is first

        async def renewed():
            return (await passes.get(ENDPOINT)) is not first

        await until(renewed)
        assert len(store.asked) == 2

    with_passes(store, body)


def test_without_a_controller_the_old_one_is_used_to_its_end_and_then_the_user_is_told(store, monkeypatch):
    monkeypatch.setattr(module, "ASK_SECONDS", 0.02)

    async def body(passes):
        first = await passes.get(ENDPOINT)
        store.silent = True
        store.now = LIFE - MARGIN - 1
        assert await passes.get(ENDPOINT) is first
        store.now = LIFE
        assert store.held is first  # another worker of this gateway may need it
        with pytest.raises(WayInError, match="controller does not answer"):
            await passes.get(ENDPOINT)

    with_passes(store, body)


def test_a_pass_that_another_worker_has_renewed_is_taken(store):
    async def body(passes):
        first = await passes.get(ENDPOINT)
        store.now = MARGIN + 1
        store.held = SshPass(issued=store.now, expires=store.now + LIFE)
        assert passes.not_accepted(ENDPOINT, first)
        assert await passes.get(ENDPOINT) is store.held
        assert len(store.asked) == 1

    with_passes(store, body)


def test_one_that_was_not_accepted_is_replaced_once(store):
    async def body(passes):
        first = await passes.get(ENDPOINT)
        store.now = MARGIN + 1
        assert passes.not_accepted(ENDPOINT, first)
        second = await passes.get(ENDPOINT)
        assert second is not first
        assert [each.instead for each in store.asked] == [None, first.issued]
        assert not passes.not_accepted(ENDPOINT, second)

    with_passes(store, body)


def test_a_refusal_is_what_the_user_is_told_and_nothing_is_kept(store):
    async def body(passes):
        store.refusal = "The server is no longer running."
        with pytest.raises(WayInError, match="is no longer running"):
            await passes.get(ENDPOINT)
        store.refusal = ""
        with pytest.raises(WayInError, match="is no longer running"):
            await passes.get(ENDPOINT)
        assert len(store.asked) == 1  # not for each request of a page
        store.held = None  # after some seconds
        assert (await passes.get(ENDPOINT)).refusal == ""

    with_passes(store, body)


def test_a_store_that_does_not_answer_is_named(store):
    store.down = True

    async def body(passes):
        with pytest.raises(WayInError, match="state store does not answer"):
            await passes.get(ENDPOINT)

    with_passes(store, body)
