"""One connection of a job to the hub, opened by hand, so that it can be misused."""

import contextlib
import ssl

from batch.starter.hub_upgrade import upgrade
from batch.starter.tls_server import server_context
from batch.starter.websocket_frames import BINARY, FramedIn, FramedOut, frame


class NodeConnection:
    """`job`: see `tests.gateway.ways_in.job_of`. Blocks."""

    def __init__(self, job, *, key=b"\0\0\0\0") -> None:
        """`key`: with which frames are masked, by a proxy on the way."""
        url = job["hub_urls"][0].rpartition("/")[0] + "/reverse"
        self.sock, early = upgrade(url, job)
        self.key = key
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server_context(job["passport"]).wrap_bio(incoming, outgoing, server_side=True)
        self.incoming = FramedIn(incoming)
        self.outgoing = FramedOut(outgoing, self.incoming.frames)
        self.incoming.write(early)

    def close(self) -> None:
        self.sock.close()

    def receive(self) -> bool:
        """Take what arrives; False: the hub has closed the connection."""
        data = self.sock.recv(65536)
        if data:
            self.incoming.write(data)
        return bool(data)

    def flush(self) -> None:
        """Send what TLS has to send."""
        data = self.outgoing.memory.read()
        if data:
            self.send_raw(masked(data, self.key))

    def send_raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def prove(self) -> "NodeConnection":
        """Complete the handshake of TLS. Raises OSError if the hub does not."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                if not self.receive():
                    raise ConnectionResetError("the hub has closed the connection") from None
            else:
                self.flush()
                return self

    def read(self) -> bytes:
        """The next bytes for the app; empty: the end."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                if not self.receive():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def write(self, data: bytes) -> None:
        """Send bytes of the app."""
        sent = 0
        while sent < len(data):
            sent += self.tls.write(data[sent:])
        self.flush()

    def is_closed(self) -> bool:
        """Wait until the hub closes the connection."""
        with contextlib.suppress(OSError):
            while self.receive():
                pass
        return True


def masked(data: bytes, key: bytes) -> bytes:
    """A data frame of a client, masked with this key."""
    whole = frame(BINARY, data)
    head = whole[: len(whole) - len(data) - 4]
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
