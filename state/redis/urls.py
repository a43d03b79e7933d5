"""The URLs of a store: redis://, rediss:// (TLS) and unix:// of a server, and those of a Sentinel or a cluster.

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]
    rediss://…?ssl_ca_certs=FILE&ssl_cert_reqs=none&ssl_certfile=FILE&ssl_keyfile=FILE
    unix://[USER:PASSWORD@]/PATH[?db=DATABASE]

The meaning is redis-py's (https://redis.readthedocs.io/en/stable/connections.html), which a test compares. Reading them
here means that a process with a single server does not load redis-py.
"""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from state.redis.connection import Address
from state.redis.sentinel import SCHEMES as SENTINEL_SCHEMES
from state.redis.sentinel import sentinels_of

CLUSTER_SCHEMES: Final = ("redis+cluster://", "rediss+cluster://")
SCHEMES: Final = ("redis", "rediss", "unix")
CREDENTIALS: Final = ("username", "password", "db")
TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile")


def finder(url: str) -> Callable[[], Awaitable[Address]]:
    """Return a function that finds the server of this URL. Raises ValueError."""
    if url.startswith(SENTINEL_SCHEMES):
        options = options_of(urlsplit(url).query)
        return sentinels_of(url, tls_context(options) if url.startswith("rediss") else None).find
    address = address_of(url)

    async def found() -> Address:
        return address

    return found


def address_of(url: str) -> Address:
    """Parse a redis://, rediss:// or unix:// URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("the URL of a store begins with redis://, rediss:// or unix://")
    options = options_of(parts.query)
    is_path = parts.scheme == "unix"
    database = options.get("db", "0" if is_path else unquote(parts.path).strip("/") or "0")
    if not (database.isascii() and database.isdigit()):
        raise ValueError(f"{database!r} is not the number of a database")
    return Address(
        host=unquote(parts.hostname or "127.0.0.1"),
        port=parts.port or 6379,
        path=unquote(parts.path) if is_path else "",
        username=unquote(parts.username or "") or options.get("username", ""),
        password=unquote(parts.password or "") or options.get("password", ""),
        database=int(database),
        tls=tls_context(options) if parts.scheme == "rediss" else None,
    )


def options_of(query: str) -> dict[str, str]:
    """Return the options in the query; the first of a name counts. Raises ValueError for one that does not exist."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(query):
        if name not in (*CREDENTIALS, *TLS_OPTIONS, "sentinel_password"):
            raise ValueError(f"{name!r} is not an option of a store's URL")
        options.setdefault(name, value)
    return options


def tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """Build the TLS context from the ssl_... options."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context
