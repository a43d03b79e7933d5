"""A connection to a directory server, in the event loop: TLS, bind, search.

Owns sansldap's session, the bytes to and from the server, and all limits on them. Does not know what is searched for.
Referrals are not followed: anyone who can write one would choose the server that receives a password.

Sources: RFC 4511 (messages), RFC 4513 sections 3.1.1 (StartTLS) and 5.1.2 (a name without a password is no proof).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

import sansldap
from msgspec import Struct
from sansldap import BindResponse, ExtendedResponse, LDAPFilter, LDAPMessage, LDAPResultCode, SearchResultEntry

BYTES_MAX: Final = 4 * 1024 * 1024
"""Maximum size of the response to one request, in bytes."""
CONNECT_SECONDS: Final = 5.0
PORTS: Final = {"ldap": 389, "ldaps": 636}
_WRONG: Final = frozenset(
    {
        LDAPResultCode.INVALID_CREDENTIALS,
        LDAPResultCode.INAPPROPRIATE_AUTHENTICATION,
        LDAPResultCode.INSUFFICIENT_ACCESS_RIGHTS,
        LDAPResultCode.UNWILLING_TO_PERFORM,
        LDAPResultCode.CONSTRAINT_VIOLATION,
        LDAPResultCode.INVALID_DN_SYNTAX,
        LDAPResultCode.NO_SUCH_OBJECT,
    }
)
"""Result codes of a failed bind: wrong password, entry without a password, locked, disabled, no such name."""


class LdapError(Exception):
    """A server did not work as expected. `str` is a sentence for admins."""


class Entry(NamedTuple):
    """An entry: its name, and its attributes by lowercase name. Values that are not text are left out."""

    dn: str
    attributes: dict[str, list[str]]

    def get(self, attribute: str) -> list[str]:
        """Return all values of an attribute; empty if it has none."""
        return self.attributes.get(attribute.lower(), [])


class ServerAddress(Struct, frozen=True):
    """The address of a server. `start_tls`: TLS begins on a connection that is already open."""

    host: str
    port: int
    tls: bool
    start_tls: bool


def server_address(url: str, *, plain: bool) -> ServerAddress:
    """Parse ldaps://host[:port] or ldap://host[:port]. `plain`: no StartTLS for ldap://."""
    parts = urlsplit(url)
    return ServerAddress(
        host=parts.hostname or "",
        port=parts.port or PORTS[parts.scheme],
        tls=parts.scheme == "ldaps",
        start_tls=parts.scheme == "ldap" and not plain,
    )


class Connection:
    """`async with await Connection.open(...) as directory`. Every method raises LdapError. One request at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: sansldap.LDAPClient
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._session = session

    @classmethod
    async def open(cls, address: ServerAddress, tls: ssl.SSLContext) -> "Connection":
        """Connect and verify the server's certificate. Raises LdapError."""
        session = sansldap.LDAPClient()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                line = await _connected(address)
                try:
                    if address.start_tls:
                        await _start_tls(line, session)
                    secure = tls if address.tls or address.start_tls else None
                    name = address.host if secure else None
                    reader, writer = await asyncio.open_connection(sock=line, ssl=secure, server_hostname=name)
                except BaseException:
                    line.close()
                    raise
        except ssl.SSLCertVerificationError as error:
            raise LdapError(f"The certificate of {address.host} is not trusted: {error.verify_message}.") from error
        except TimeoutError as error:
            raise LdapError(f"{address.host} did not answer within {CONNECT_SECONDS:.0f} s.") from error
        except OSError as error:
            raise LdapError(f"{address.host} cannot be reached: {error.strerror or error}.") from error
        return cls(reader, writer, session)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def bind(self, dn: str, password: str) -> bool:
        """Return whether the password is the entry's. Both are required: servers accept a bind without a password."""
        if not dn or not password:
            return False
        (answer,) = await self._ask(self._session.bind_simple(dn, password))
        if not isinstance(answer, BindResponse):
            raise LdapError("The server sent an unexpected response.")
        code = answer.result.result_code
        if code == LDAPResultCode.SUCCESS:
            return True
        if code in _WRONG:
            return False
        raise LdapError(f"The server rejects sign-ins: {_describe(answer.result)}.")

    async def search(
        self, base: str, search_filter: LDAPFilter, attributes: Sequence[str], *, most: int, below: bool = True
    ) -> list[Entry]:
        """Return the entries at and below `base`, or only at `base` without `below`. More than `most`: TooManyError."""
        number = self._session.search_request(
            base,
            scope=sansldap.SearchScope.SUBTREE if below else sansldap.SearchScope.BASE,
            size_limit=most,
            time_limit=10,
            filter=search_filter,
            attributes=list(attributes) or ["1.1"],
        )
        *found, end = await self._ask(number)
        code = end.result.result_code if isinstance(end, sansldap.SearchResultDone) else None
        entries = [_entry(message) for message in found if isinstance(message, SearchResultEntry)]
        if code == LDAPResultCode.NO_SUCH_OBJECT and not below:
            return []
        if code == LDAPResultCode.SIZE_LIMIT_EXCEEDED or len(entries) > most:
            raise TooManyError(f"There are more than {most} entries.")
        if code != LDAPResultCode.SUCCESS or not isinstance(end, sansldap.SearchResultDone):
            why = _describe(end.result) if isinstance(end, sansldap.SearchResultDone) else "the response is incomplete"
            raise LdapError(f"The search at {base!r} failed: {why}.")
        return entries

    async def _ask(self, number: int) -> list[LDAPMessage]:
        """Send the request with this message id, and return all messages of its response."""
        received: list[LDAPMessage] = []
        size = 0
        try:
            self._writer.write(self._session.data_to_send())
            await self._writer.drain()
            while True:
                data = await self._reader.read(64 * 1024)
                size += len(data)
                if not data:
                    raise LdapError("The server closed the connection.")
                if size > BYTES_MAX:
                    raise LdapError(f"The server's response is longer than {BYTES_MAX} bytes.")
                received += [message for message in _messages(self._session, data) if message.message_id == number]
                if received and not isinstance(received[-1], (SearchResultEntry, sansldap.SearchResultReference)):
                    return received
        except OSError as error:
            raise LdapError(f"The connection broke: {error.strerror or error}.") from error


class TooManyError(LdapError):
    """A search found more entries than allowed."""


def _messages(session: sansldap.LDAPClient, data: bytes) -> list[LDAPMessage]:
    """Parse received data. Raises LdapError if it is not LDAP, whatever the library raises."""
    try:
        return session.receive(data)
    except Exception as error:
        raise LdapError("The server sent data that is not valid LDAP.") from error


async def _connected(where: ServerAddress) -> socket.socket:
    """Connect to the first of the host's addresses that answers. Raises OSError."""
    loop = asyncio.get_running_loop()
    refused: OSError = OSError("there is no such host")
    for family, kind, protocol, _, address in await loop.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM):
        line = socket.socket(family, kind, protocol)
        line.setblocking(False)  # noqa: FBT003 - its only argument is positional
        try:
            await loop.sock_connect(line, address)
        except OSError as error:
            refused = error
            line.close()
        except BaseException:
            line.close()
            raise
        else:
            return line
    raise refused


async def _start_tls(line: socket.socket, session: sansldap.LDAPClient) -> None:
    """Request TLS on the bare socket, and read the response byte by byte.

    So no data from before TLS can be mistaken for data that came through it: anything that an attacker has appended to
    the response is the first thing that TLS reads, and breaks it.
    """
    loop = asyncio.get_running_loop()
    number = session.extended_request(sansldap.ExtendedOperations.LDAP_START_TLS.value)
    await loop.sock_sendall(line, session.data_to_send())
    for _ in range(4096):
        byte = await loop.sock_recv(line, 1)
        if not byte:
            break
        for answer in _messages(session, byte):
            if not isinstance(answer, ExtendedResponse) or answer.message_id != number:
                raise LdapError("The server sent an unexpected response.")
            if answer.result.result_code != LDAPResultCode.SUCCESS:
                raise LdapError(f"The server refuses TLS: {_describe(answer.result)}.")
            return
    raise LdapError("The server did not answer the request for TLS.")


def _entry(message: SearchResultEntry) -> Entry:
    attributes: dict[str, list[str]] = {}
    for attribute in message.attributes:
        values = attributes.setdefault(attribute.name.partition(";")[0].lower(), [])
        for value in attribute.values:
            try:
                values.append(value.decode())
            except UnicodeDecodeError:
                continue
    return Entry(message.object_name, attributes)


def _describe(result: sansldap.LDAPResult) -> str:
    """Return the result code with the server's message, truncated and safe for a log."""
    text = "".join(character if character.isprintable() else " " for character in result.diagnostics_message)[:200]
    return f"{result.result_code.name.lower().replace('_', ' ')}{f' ({text})' if text else ''}"
