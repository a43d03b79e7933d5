"""Finds the current master through Redis Sentinel.

Owns the URL of a Sentinel deployment and the queries to the sentinels. Does not know what the master is used for.

    redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]/MASTER[/DATABASE][?sentinel_password=...]
    rediss+sentinel://...   TLS to sentinels and servers, with the ssl_... arguments of rediss://

Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/ (ask one sentinel after another, check the role
of the server that it names, and ask again at every reconnection).
"""

import ssl
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from state.redis.connection import Address, Line, ReplyError

SCHEMES: Final = ("redis+sentinel://", "rediss+sentinel://")
PORT: Final = 26379


class Sentinels(Struct, frozen=True, kw_only=True):
    """A deployment: the sentinels, and how to connect to its servers (`server` has no host yet)."""

    sentinels: tuple[Address, ...]
    master: str
    server: Address

    async def find(self) -> Address:
        """Return the address of the master. Raises OSError if no sentinel knows a server that confirms its role."""
        last: Exception = ConnectionError("the URL names no sentinels")
        for at in self.sentinels:
            try:
                found = await self._ask(at)
                if await self._leads(found):
                    return found
                last = ConnectionError(f"{found} is not the master of {self.master}")
            except OSError as error:
                last = error
        raise ConnectionError(f"no sentinel knows a working master: {last}") from last

    async def _ask(self, sentinel: Address) -> Address:
        line = await Line.open(sentinel)
        try:
            (reply,) = await line.send((("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master),))
        finally:
            line.close()
        if not isinstance(reply, list):
            raise ConnectionError(f"{sentinel} knows no master {self.master}: {reply}")
        host, port = (bytes(part).decode() for part in reply)
        return replace(self.server, host=host, port=int(port))

    async def _leads(self, server: Address) -> bool:
        """Return whether the server itself confirms its role. A sentinel can be out of date."""
        line = await Line.open(server)
        try:
            (reply,) = await line.send((("ROLE",),))
        finally:
            line.close()
        return not isinstance(reply, ReplyError) and bytes(reply[0]) == b"master"


def sentinels_of(url: str, tls: ssl.SSLContext | None) -> Sentinels:
    """Parse the URL. Raises ValueError with a message."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    master, _, database = parts.path.strip("/").partition("/")
    if not master or not hosts:
        raise ValueError("a Sentinel URL must name sentinels and a master: redis+sentinel://HOST:26379/MASTER")
    secret = parse_qs(parts.query).get("sentinel_password", [""])[0]
    return Sentinels(
        sentinels=tuple(_address(host, secret, tls) for host in hosts.split(",")),
        master=unquote(master),
        server=Address(username=unquote(username), password=unquote(password), database=int(database or 0), tls=tls),
    )


def _address(text: str, password: str, tls: ssl.SSLContext | None) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is not a valid sentinel host")
    return Address(host=parts.hostname, port=parts.port or PORT, password=password, tls=tls)
