"""The headers that tell an app where a request came from: Forwarded (RFC 7239) and X-Forwarded-*.

Owns which values are trusted, and the header lines. Inbound values are used only if the peer is a trusted proxy, and
only if they are well formed. Does not know about sockets.
"""

import re
from functools import lru_cache
from ipaddress import ip_address

from gateway.tunnel.options import Network
from gateway.tunnel.public_address import PublicAddress

INBOUND = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-scheme",
        b"x-forwarded-ssl",
        b"x-forwarded-server",
        b"x-forwarded-prefix",
        b"x-forwarded-user",
        b"x-real-ip",
        b"x-client-ip",
        b"true-client-ip",
        b"x-scheme",
    }
)
"""Names that a client may not set: removed, or replaced by values from a trusted proxy."""

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
_FOR = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_NODE = re.compile(r"""\"?(?:\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+))\"?""")
_PORT = re.compile(r":([0-9]{1,5})$")
_CHAIN_MAX = 20
_ANY = PublicAddress()


@lru_cache(maxsize=4096)
def trusted(peer: str, networks: tuple[Network, ...]) -> bool:
    """Return whether the peer is one of the trusted proxies."""
    if not networks:
        return False
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any(candidate in network for network in networks for candidate in (address, mapped) if candidate)


def _last(value: bytes) -> str:
    return value.rpartition(b",")[2].strip().decode("latin-1")


def node_address(text: str) -> str:
    """Return the address of a node in X-Forwarded-For, without its port or brackets; `""`: it has none.

    Source: RFC 7239 section 6, whose syntax proxies use in X-Forwarded-For as well (`192.0.2.1:4711`,
    `[2001:db8::1]:4711`).
    """
    found = _NODE.fullmatch(text.strip())
    if found is None:
        return ""
    try:
        return str(ip_address(found[1] or found[2] or found[3]))
    except ValueError:
        return ""


def _chain(value: bytes) -> list[str]:
    parts = [node_address(part) for part in value.decode("latin-1").split(",")]
    return [part for part in parts if part][-_CHAIN_MAX:]


def _quote(node: str) -> str:
    return f'"[{node}]"' if ":" in node else node


@lru_cache(maxsize=4096)
def lines(
    peer: str,
    scheme: str,
    host: str,
    inbound: tuple[tuple[bytes, bytes], ...] = (),
    public: PublicAddress = _ANY,
) -> bytes:
    """Return the header lines for one request, each ended by CRLF.

    `scheme` and `host` are the request's own; `inbound` (the headers named in `INBOUND`, given only when the peer is
    trusted) overrides them. Of a list the last value counts, which the nearest proxy has written. `public` decides
    where it knows more: a list of schemes may end with that of a proxy behind the one that the browser knows.
    """
    chain: list[str] = []
    for name, value in inbound:
        last = _last(value)
        if name == b"x-forwarded-for":
            chain += _chain(value)
        elif name == b"x-forwarded-proto" and last in ("http", "https"):
            scheme = last
        elif name == b"x-forwarded-host" and _HOST.fullmatch(last):
            host = last
    scheme = public.scheme or scheme
    host = public.host(host)
    if not _HOST.fullmatch(host):
        host = ""
    peer = peer if _FOR.fullmatch(peer) else "unknown"
    chain = [*chain, peer][-_CHAIN_MAX:]
    real = chain[-2] if len(chain) > 1 else peer  # the proxy's own peer: entries to the left are written by clients
    found = _PORT.search(host)
    port = found[1] if found else ("443" if scheme == "https" else "80")
    forwarded = ", ".join(f"for={_quote(node)}" for node in chain)
    # Without `host`: a port makes it a quoted string (RFC 7239 section 4), which apps (code-server's Origin check)
    # compare including the quotes. Host is passed on unchanged, and X-Forwarded-Host contains it without quotes.
    forwarded += f";proto={scheme}"
    text = (
        f"Forwarded: {forwarded}\r\nX-Forwarded-For: {', '.join(chain)}\r\n"
        f"X-Forwarded-Proto: {scheme}\r\nX-Forwarded-Port: {port}\r\nX-Real-IP: {real}\r\n"
    )
    if host:
        text += f"X-Forwarded-Host: {host}\r\n"
    return text.encode("ascii")
