"""A shorter way for the bytes of streams through an SSH connection.

asyncssh does everything that makes an SSH connection safe: key exchange, host keys, authentication, channels and their
windows. Once it is authenticated and the cipher is AES-GCM, the packets that carry a stream's bytes (RFC 4254 section
5.2) are taken off here: for each packet, asyncssh copies everything that it holds, sets the key of the cipher again,
and formats a line for its log, which is most of the work for a byte. All other packets are handed to it whole.

This reads state that is not part of asyncssh's interface. Where it is not as expected, as in another version, asyncssh
gets everything (`FastPath.of` returns None), which is slower and works the same.

Source: RFC 4253 section 6, RFC 5647, OpenSSH's PROTOCOL (aes128-gcm@openssh.com).
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LENGTH: Final = 4
TAG: Final = 16
BLOCK: Final = 16
LARGEST: Final = 128 * 1024
"""The largest packet that is taken here. sshd sends a fourth of it; asyncssh decides about a larger one."""
IGNORE: Final = 2
DATA: Final = 94
DATA_HEAD: Final = 10
"""In a decrypted packet: padding length, type, channel, length of the data."""

KNOWN: Final = (
    *("_inpbuf", "_recv_handler", "_recv_pkthdr", "_recv_seq", "_channels", "_reset_keepalive_timer"),
    *("_send", "_send_seq", "_kex_complete", "_rekey_bytes", "_rekey_bytes_sent"),
)
"""What is used of a connection of asyncssh's, besides its encryption."""

log = logging.getLogger("towpath.ways_in")


class Gcm:
    """One direction of an encryption of asyncssh's: its key set once, its counter kept with asyncssh's own."""

    __slots__ = ("_cipher", "_count", "_fixed", "encryption", "seal")

    def __init__(self, encryption: Any) -> None:
        """Raises AttributeError for an encryption that is not AES-GCM."""
        self.encryption = encryption
        self._cipher = encryption._cipher
        if type(encryption).__name__ != "GCMEncryption":
            raise AttributeError("not AES-GCM")
        self.seal = AESGCM(self._cipher._key)
        self.load()

    def load(self) -> None:
        """Take the counter from asyncssh, which has used it."""
        nonce = self._cipher._iv
        self._fixed = nonce[:4]
        self._count = int.from_bytes(nonce[4:], "big")

    def nonce(self) -> bytes:
        """The nonce of the next packet."""
        return bytes(self._fixed + self._count.to_bytes(8, "big"))

    def used(self) -> None:
        """Count it."""
        self._count = (self._count + 1) & 0xFFFFFFFFFFFFFFFF

    def store(self) -> None:
        """Give the counter to asyncssh, which uses it next."""
        self._cipher._iv = self.nonce()


class FastPath:
    """The shorter way of one connection."""

    def __init__(self, connection: Any) -> None:
        """Raises AttributeError where asyncssh is not as it is known."""
        self._connection = connection
        self._receive = Gcm(connection._recv_encryption)
        self._send = Gcm(connection._send_encryption)
        self._send_packet: Callable[..., None] = connection.send_packet
        self._loop = asyncio.get_running_loop()
        self._last_received = 0.0
        self._foreign = False  # channels are not as they are known
        for name in KNOWN:
            getattr(connection, name)
        if connection._decompressor is not None or connection._compressor is not None:
            raise AttributeError("compressed")
        connection.send_packet = self.send_packet

    @classmethod
    def of(cls, connection: Any) -> "FastPath | None":
        """Return the shorter way of an authenticated connection, or None if there is none."""
        try:
            return cls(connection)
        except AttributeError:
            return None

    def between_packets(self) -> bool:
        """Whether asyncssh holds no part of a packet, and waits for nothing else."""
        connection = self._connection
        return not connection._inpbuf and connection._recv_handler == connection._recv_pkthdr

    # --- receiving

    def take(self, view: memoryview) -> int:
        """Take the whole packets off the beginning, and return how many bytes those were."""
        now = self._loop.time()
        if now - self._last_received > 1:
            self._last_received = now
            self._connection._reset_keepalive_timer()
        at, size = 0, len(view)
        while size - at >= LENGTH + TAG:
            length = int.from_bytes(view[at : at + LENGTH], "big")
            end = at + LENGTH + length + TAG
            if not BLOCK <= length <= LARGEST or self._foreign or not self.between_packets():
                self._connection.data_received(bytes(view[at:]))
                return size
            if end > size:
                break
            if not self._take_data(view, at, end):
                self._connection.data_received(bytes(view[at:end]))
            at = end
        return at

    def _take_data(self, view: memoryview, at: int, end: int) -> bool:
        """Take one packet if it is a stream's bytes; False: it is for asyncssh, and nothing has changed."""
        connection, receive = self._connection, self._receive
        if receive.encryption is not connection._recv_encryption:  # keys were exchanged again
            try:
                receive = self._receive = Gcm(connection._recv_encryption)
            except AttributeError:
                return False
        receive.load()
        try:
            plain = receive.seal.decrypt(receive.nonce(), view[at + LENGTH : end], view[at : at + LENGTH])
        except InvalidTag:
            return False  # asyncssh finds it too, and ends the connection
        length = int.from_bytes(plain[6:DATA_HEAD], "big")
        channel = self._channel_of(plain, length)
        if channel is None:
            return False
        receive.used()
        receive.store()
        connection._recv_seq = (connection._recv_seq + 1) & 0xFFFFFFFF
        try:
            channel._accept_data(plain[DATA_HEAD : DATA_HEAD + length])
        except Exception:  # a fault of one stream's must not end the others
            log.exception("A stream over SSH was closed after an unexpected error.")
            channel.abort()
        return True

    def _channel_of(self, plain: bytes, length: int) -> Any:
        """Return the channel of a packet with bytes of a stream, if they may come now; otherwise None."""
        if plain[1] != DATA or DATA_HEAD + length + plain[0] != len(plain):
            return None
        channel = self._connection._channels.get(int.from_bytes(plain[2:6], "big"))
        try:
            good = callable(channel._accept_data) and channel._recv_state == "open" and length <= channel._recv_window
        except AttributeError:
            self._foreign = channel is not None
            return None
        return channel if good else None

    # --- sending

    def send_packet(self, kind: int, *parts: bytes, handler: Any = None) -> None:
        """Send a packet, in asyncssh's place."""
        connection = self._connection
        if kind == IGNORE:  # it hides what CBC would show of a next packet; GCM does not
            return
        if (
            kind != DATA
            or not connection._kex_complete
            or connection._rekey_bytes_sent >= connection._rekey_bytes
            or not self._same_keys()
        ):
            self._send_packet(kind, *parts, handler=handler)
            return
        payload = b"\x5e" + b"".join(parts)
        padding = -(1 + len(payload)) % BLOCK
        if padding < 4:  # noqa: PLR2004 - RFC 4253 section 6
            padding += BLOCK
        packet = b"%c%b%b" % (padding, payload, os.urandom(padding))
        head = len(packet).to_bytes(LENGTH, "big")
        send = self._send
        send.load()
        sealed = send.seal.encrypt(send.nonce(), packet, head)
        send.used()  # before it is sent: a nonce is never used twice, whatever happens
        send.store()
        connection._send(head + sealed)
        connection._send_seq = (connection._send_seq + 1) & 0xFFFFFFFF
        connection._rekey_bytes_sent += len(packet)

    def _same_keys(self) -> bool:
        if self._send.encryption is self._connection._send_encryption:
            return True
        try:
            self._send = Gcm(self._connection._send_encryption)
        except AttributeError:
            return False
        return True
