"""Visits to other users' servers: recorded once an hour across workers, without delaying the request."""

import asyncio
import logging
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from gateway.door.activity import ForeignVisits
from gateway.door.client_address import client_address
from state.errors import StateUnavailableError
from state.records.audit import AuditFilter
from state.records.models import Session, User
from state.rights.identity import Identity
from state.rights.roles import Roles
from state.store.all import Store

REQUEST = SimpleNamespace(head=SimpleNamespace(websocket=False))


def identity(name="carol"):
    user = User(name=name, created=1.0)
    session = Session(id=f"s-{name}", user=name, created=1.0, expires=9e9)
    return Identity(user, f"digest-{name}", Roles().scopes_of_user(user), session=session)


def test_two_workers_record_a_visit_once_per_credential(store_url):
    async def main():
        store = await Store.open(store_url)
        try:
            workers = [ForeignVisits(store, lambda request: "192.0.2.7") for _ in range(2)]
            for _ in range(50):
                for worker in workers:
                    worker(REQUEST, identity(), "alice", "lab", refused=False)
                    worker(REQUEST, identity("dave"), "alice", "lab", refused=False)
                    worker(REQUEST, identity("bob"), "alice", "lab", refused=True)
            await asyncio.sleep(0.5)
            entries, _ = await store.audit.page(AuditFilter())
            told = sorted((entry.who, str(entry.outcome), entry.user, entry.server, entry.address) for entry in entries)
            assert told == [
                ("bob", "refused", "alice", "lab", "192.0.2.7"),
                ("carol", "done", "alice", "lab", "192.0.2.7"),
                ("dave", "done", "alice", "lab", "192.0.2.7"),
            ]
        finally:
            await store.close()

    asyncio.run(main())


def test_while_the_store_is_down_a_visit_is_logged_on_one_line_and_retried(caplog):
    class Away:
        calls = 0

        async def first(self, what, *, seconds):
            Away.calls += 1
            raise StateUnavailableError("away")

    async def main():
        visits = ForeignVisits(SimpleNamespace(audit=Away()), lambda request: "192.0.2.7")
        for _ in range(2):
            visits(REQUEST, identity(), "alice\x1b[2J\u202e\nforged", "lab", refused=True)
            await asyncio.sleep(0.05)

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert Away.calls == 2
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_a_flood_of_refusals_is_recorded_up_to_a_limit(store_url):
    async def main():
        store = await Store.open(store_url)
        try:
            visits = ForeignVisits(store, lambda request: "192.0.2.7")
            for number in range(1000):
                visits(REQUEST, identity("bob"), f"u{number}", "", refused=True)
            await asyncio.sleep(0.5)
            entries, _ = await store.audit.page(AuditFilter(), limit=1000)
            assert 100 <= len(entries) <= 240
        finally:
            await store.close()

    asyncio.run(main())


NETWORKS = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"))


@pytest.mark.parametrize(
    ("peer", "chain", "address"),
    [
        ("192.0.2.1", "198.51.100.9", "192.0.2.1"),  # set by the client
        ("127.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("127.0.0.1", "203.0.113.5, 198.51.100.9", "198.51.100.9"),  # the client's own entry is the first one
        ("127.0.0.1", "198.51.100.9, 10.1.2.3", "198.51.100.9"),
        ("127.0.0.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("127.0.0.1", "198.51.100.9, rubbish", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_address_is_the_last_one_that_is_not_a_trusted_proxy(peer, chain, address):
    fields = [(b"x-forwarded-for", chain.encode())] if chain else []
    assert client_address(peer, fields, NETWORKS) == address
