"""Hostile and broken directory servers, and attackers between them and the hub."""

import asyncio
import contextlib
import ssl

import pytest
from sansldap import (
    BindRequest,
    ExtendedRequest,
    LDAPClient,
    LDAPResultCode,
    LDAPServer,
    PartialAttribute,
    ProtocolError,
    SearchRequest,
)

from gateway.auth.kinds.ldap import LdapConfig
from gateway.auth.ldap.client import BYTES_MAX, Connection
from gateway.auth.ldap.directory import Directory, UnreachableError
from tests.ldap_server import certificate

ALICE = "uid=alice,ou=people,dc=example"


class Fake:
    """A server with configurable behaviour. `binds` are the names and passwords that it received."""

    def __init__(self, folder):
        certificate(folder, "server", signer=certificate(folder, "authority"))
        self.ca = str(folder / "authority.pem")
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(folder / "server.pem", folder / "server.key")
        self.binds = []
        self.tasks = []
        self.entries = [(ALICE, {"uid": ["alice"]})]
        self.referral = None
        self.after_start_tls = b""
        self.start_tls = LDAPResultCode.SUCCESS
        self.search = LDAPResultCode.SUCCESS
        self.bind = LDAPResultCode.SUCCESS
        self.passwords = None
        self.raw = None
        self.hang = False

    async def serve(self, reader, writer):
        self.tasks.append(asyncio.current_task())
        with contextlib.suppress(OSError, ProtocolError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.transport.abort()

    async def _serve(self, reader, writer):
        session = LDAPServer()
        while data := await reader.read(65536):
            for message in session.receive(data):
                if self.hang:
                    await asyncio.sleep(60)
                if self.raw is not None:
                    writer.write(self.raw)
                    await writer.drain()
                    return
                if isinstance(message, BindRequest):
                    self.binds.append((message.name, message.authentication.password))
                    right = self.passwords is None or self.passwords.get(message.name) == self.binds[-1][1]
                    code = self.bind if right else LDAPResultCode.INVALID_CREDENTIALS
                    session.bind_response(message.message_id, result_code=code)
                elif isinstance(message, SearchRequest):
                    for dn, attributes in self.entries:
                        values = [
                            PartialAttribute(key, [one.encode() for one in all_]) for key, all_ in attributes.items()
                        ]
                        session.search_result_entry(message.message_id, dn, values)
                    if self.referral:
                        session.search_result_reference(message.message_id, [self.referral])
                    session.search_result_done(message.message_id, result_code=self.search)
                elif isinstance(message, ExtendedRequest):
                    session.extended_response(message.message_id, result_code=self.start_tls)
                    writer.write(session.data_to_send() + self.after_start_tls)
                    if self.start_tls == LDAPResultCode.SUCCESS:
                        await writer.start_tls(self.tls)
                writer.write(session.data_to_send())
                await writer.drain()


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path)


def ask(fake, *, name="alice", password="secret-4711", by_start_tls=False, **config):
    """Sign in with this server and return the result."""

    async def main():
        server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=None if by_start_tls else fake.tls)
        scheme = "ldap" if by_start_tls else "ldaps"
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        given = {"user_base": "dc=example", "group_base": "dc=example", "timeout": 30.0, **config}
        try:
            return await Directory(LdapConfig(servers=(url,), ca_file=fake.ca, **given)).sign_in(name, password)
        finally:
            server.close()
            for task in fake.tasks:
                task.cancel()
            await asyncio.gather(*fake.tasks, return_exceptions=True)
            fake.tasks.clear()
            await asyncio.sleep(0)

    return asyncio.run(main())


def refused(fake, **more):
    with pytest.raises(UnreachableError) as caught:
        ask(fake, **more)
    return str(caught.value)


@pytest.mark.parametrize("by_start_tls", [False, True])
def test_the_fake_accepts_a_sign_in_by_default(fake, by_start_tls):
    assert ask(fake, by_start_tls=by_start_tls).name == "alice"
    assert fake.binds == [(ALICE, "secret-4711")]


def test_data_injected_before_tls_is_not_used(fake):
    session = LDAPServer()
    session.receive(b"0\x0c\x02\x01\x02`\x07\x02\x01\x03\x04\x00\x80\x00")
    session.bind_response(2)
    fake.after_start_tls = session.data_to_send()  # a success for the next bind
    refused(fake, by_start_tls=True)
    assert not fake.binds


def test_a_server_that_refuses_tls_gets_no_password(fake):
    fake.start_tls = LDAPResultCode.PROTOCOL_ERROR
    assert "refuses TLS" in refused(fake, by_start_tls=True)
    assert not fake.binds


def test_a_server_without_tls_gets_no_password(fake):
    fake.tls = None
    refused(fake)
    assert not fake.binds


def test_a_referral_is_not_followed(fake):
    fake.entries, fake.referral = [], "ldaps://evil.example/uid=alice,dc=example??base"
    assert ask(fake) is None
    fake.search = LDAPResultCode.REFERRAL
    assert "referral" in refused(fake)
    assert not fake.binds


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x80\x00\x00",
        b"\x30\x05\x02\x01\x01\x61\x7f",
        b"\x30\x0c\x02\x01\x63\x61\x07\x0a\x01\x00\x04\x00\x04\x00",  # a response to another request
        b"\x30" * 4096,
        b"\xa0\x80" * 2000,
        b"\x00",
        b"",
    ],
)
def test_data_that_is_not_ldap_counts_as_an_outage(fake, raw):
    fake.raw = raw
    refused(fake)


def test_the_size_of_a_response_is_limited(fake):
    fake.entries = [(ALICE, {"uid": ["x" * 1_000_000]})] * 6
    assert str(BYTES_MAX) in refused(fake)


def test_a_server_that_hangs_is_given_up_after_the_time_limit(fake):
    fake.hang = True
    assert "took too long" in refused(fake, timeout=0.3)


def test_more_entries_than_requested_are_rejected(fake):
    fake.entries = [(ALICE, {"uid": ["alice"]}), ("uid=root,dc=example", {"uid": ["root"]})]
    assert ask(fake) is None
    assert not fake.binds


def test_an_entry_without_a_name_is_never_bound(fake):
    # A bind with an empty name is anonymous, and servers accept it.
    fake.entries = [("", {"uid": ["alice"]})]
    assert ask(fake) is None
    assert not fake.binds


def test_a_loop_of_groups_ends(fake):
    fake.entries = [(f"cn=g{at},dc=example", {"cn": [f"g{at}"], "uid": ["alice"]}) for at in range(2)]
    fake.entries = fake.entries[:1]
    found = ask(fake, groups="search")
    assert found.groups == ("g0",)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (LDAPResultCode.INVALID_CREDENTIALS, None),
        (LDAPResultCode.UNWILLING_TO_PERFORM, None),
        (LDAPResultCode.INSUFFICIENT_ACCESS_RIGHTS, None),
        (LDAPResultCode.BUSY, UnreachableError),
        (LDAPResultCode.REFERRAL, UnreachableError),
        (LDAPResultCode.STRONG_AUTH_REQUIRED, UnreachableError),
        (LDAPResultCode.SASL_BIND_IN_PROGRESS, UnreachableError),
    ],
)
def test_only_the_code_success_is_accepted(fake, code, verdict):
    fake.bind = code
    if verdict is None:
        assert ask(fake) is None
    else:
        refused(fake)


def test_a_principal_name_must_belong_to_the_entry_that_is_found(fake):
    """A user who may change their own principal name sets it to alice's account name, with their own password."""
    by_principal = {"user_dn": "{name}@ad.example", "name_attribute": "uid", "groups": "none"}
    fake.passwords = {"alice@ad.example": "mallory's", ALICE: "alice's"}
    assert ask(fake, password="mallory's", **by_principal) is None
    assert fake.binds == [("alice@ad.example", "mallory's"), (ALICE, "mallory's")]
    fake.passwords["alice@ad.example"] = "alice's"
    assert ask(fake, password="alice's", **by_principal).dn == ALICE
    assert ask(fake, password="wrong", **by_principal) is None


@pytest.mark.parametrize(("dn", "password"), [(ALICE, ""), ("", "secret-4711"), ("", "")])
def test_a_bind_without_a_name_or_password_is_never_sent(dn, password):
    """Servers accept it (RFC 4513 section 5.1.2). There is no connection here on which anything could be sent."""
    assert asyncio.run(Connection(None, None, LDAPClient()).bind(dn, password)) is False
