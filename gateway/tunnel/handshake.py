"""A WebSocket's opening handshakes: the client's with the gateway, and the gateway's with the app. Pure functions.

Source: RFC 6455 section 4. No extension is offered to the app: with one in use, frames could not be distinguished
by their headers alone (`gateway.tunnel.frames`).
"""

import base64
import binascii
import hashlib
import os
from typing import NamedTuple

from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.headers import Fields

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_OURS = frozenset({b"content-length", b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions"})


class ClientHandshake(NamedTuple):
    """A client's handshake: its key, and the subprotocols that it offers."""

    key: bytes
    subprotocols: list[str]


class VersionError(Exception):
    """The client uses another version of the protocol: respond with 426."""


def read_request(fields: Fields, method: bytes, length: int) -> ClientHandshake:
    """Read a client's request. Raises VersionError and UpstreamError."""
    versions = [value for name, value in fields if name == b"sec-websocket-version"]
    keys = [value for name, value in fields if name == b"sec-websocket-key"]
    if versions != [b"13"]:
        raise VersionError
    if method != b"GET" or length or len(keys) != 1 or not _is_key(keys[0]):
        raise UpstreamError("bad-request", "the WebSocket handshake does not follow RFC 6455")
    offers = [value for name, value in fields if name == b"sec-websocket-protocol"]
    names = [part.strip().decode("latin-1") for value in offers for part in value.split(b",")]
    return ClientHandshake(keys[0], [name for name in names if name])


def _is_key(value: bytes) -> bool:
    """Return whether this is a Sec-WebSocket-Key: 16 bytes in base64."""
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def accept_block(key: bytes, subprotocol: str | None, fields: Fields) -> bytes:
    """Return the complete 101 for the client. `fields`: those of the app's 101 that may be passed on."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n",
        b"sec-websocket-accept: %b\r\n" % _accept(key),
    ]
    if subprotocol is not None:
        lines.append(b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("latin-1"))
    lines += [b"%b: %b\r\n" % pair for pair in fields if pair[0] not in _OURS]
    return b"".join(lines) + b"\r\n"


def _accept(key: bytes) -> bytes:
    # The protocol requires SHA-1; it does not protect a secret.
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def upgrade_block(key: bytes) -> bytes:
    """Return the end of the request's head."""
    return (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        + key
        + b"\r\n\r\n"
    )


def new_key() -> bytes:
    """Return a new Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16))


def check(fields: Fields, key: bytes, offered: list[str]) -> str | None:
    """Check a 101 and return the subprotocol that the app chose, or None. Raises UpstreamError."""
    values: dict[bytes, list[bytes]] = {}
    for field, value in fields:
        values.setdefault(field.lower(), []).append(value.strip())
    if values.get(b"sec-websocket-accept") != [_accept(key)]:
        raise UpstreamError("bad-response", "Sec-WebSocket-Accept does not match the key")
    if [value.lower() for value in values.get(b"upgrade", [])] != [b"websocket"]:
        raise UpstreamError("bad-response", "101 without Upgrade: websocket")
    if any(values.get(b"sec-websocket-extensions", [])):
        raise UpstreamError("bad-response", "the app chose an extension that was not offered")
    chosen = values.get(b"sec-websocket-protocol", [])
    if not chosen:
        return None
    name = chosen[0].decode("latin-1")
    if len(chosen) > 1 or name not in offered:
        raise UpstreamError("bad-response", "the app chose a subprotocol that was not offered")
    return name
