"""The app behind every proxy: HTTP on one port, WebSocket echo on another. Runs in .venv-bench.

`upstream.py http PORT` and `upstream.py ws PORT`. It supports only the requests of the loads. The last
segment of the path selects the response (`small`: 24 bytes of JSON; `down-N`: N bytes; `up`: the number of bytes sent).
"""

import asyncio
import sys

import picows
import uvloop

SMALL_BODY = b'{"status":"ok","n":1234}'
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(SMALL_BODY),
    SMALL_BODY,
)
CHUNK = memoryview(bytes(256 * 1024))


class Http(asyncio.Protocol):
    """One connection. Requests are answered one after another; proxies do not pipeline."""

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=512 * 1024)
        self.head = b""
        self.missing = 0  # remaining bytes of a request's body
        self.taken = 0
        self.chunked = False
        self.tail = b""
        self.left = 0  # remaining bytes of a response
        self.sending = False
        self.paused = False

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.pump()

    def data_received(self, data):
        if self.missing:
            self.take(len(data))
        elif self.chunked:
            self.take_chunked(data)
        else:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end >= 0:
                head, rest = self.head[:end], self.head[end + 4 :]
                self.head = b""
                self.request(head, rest)

    def request(self, head, rest):
        line, _, fields = head.partition(b"\r\n")
        what = line.split(b" ", 2)[1].rpartition(b"/")[2]
        if what == b"small":
            self.transport.write(SMALL)
        elif what.startswith(b"down-"):
            self.left = int(what[5:])
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % self.left
            )
            self.pump()
        elif what == b"up":
            named = dict(field.lower().split(b":", 1) for field in fields.split(b"\r\n"))
            self.taken = 0
            if b"content-length" in named:
                self.missing = int(named[b"content-length"])
                self.take(len(rest))
            else:
                self.chunked = True
                self.tail = b""
                self.take_chunked(rest)
        else:  # the hub checks whether the app answers
            self.transport.write(SMALL)

    def take(self, count):
        self.missing -= count
        self.taken += count
        if self.missing <= 0:
            self.missing = 0
            self.answer()

    def take_chunked(self, data):
        """Read a chunked body up to the empty chunk. Framing bytes are counted too, which is close enough."""
        self.taken += len(data)
        self.tail = (self.tail + data)[-7:]
        if self.tail.endswith(b"0\r\n\r\n"):
            self.chunked = False
            self.answer()

    def answer(self):
        body = b'{"bytes":%d}' % self.taken
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def pump(self):
        if self.sending:
            return
        self.sending = True
        while self.left > 0 and not self.paused:
            count = min(self.left, len(CHUNK))
            self.left -= count
            self.transport.write(CHUNK[:count])
        self.sending = False


class Echo(picows.WSListener):
    """Sends every frame back."""

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code() or picows.WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type == picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), fin=frame.fin)


async def main(kind, port):
    """Serve until killed."""
    if kind == "ws":
        server = await picows.ws_create_server(
            lambda _request: Echo(), "127.0.0.1", port, max_frame_size=64 << 20, enable_auto_pong=False
        )
    else:
        server = await asyncio.get_running_loop().create_server(Http, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


uvloop.run(main(sys.argv[1], int(sys.argv[2])))
