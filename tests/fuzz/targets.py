"""What the fuzzer runs: one function for each syntax that clients and apps send.

A target takes any bytes. It raises AssertionError, or anything else that the code under test does not announce, where
the code is wrong. So it checks more than that nothing crashes: two ways to the same result agree, and what is passed on
has one meaning.
"""

from urllib.parse import unquote_to_bytes

from gateway.door import paths
from gateway.tunnel import frames, handshake
from gateway.tunnel.answers import read_head
from gateway.tunnel.cookies import Hidden, confine
from gateway.tunnel.cors import AllowedOrigins
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.forwarded import lines
from gateway.tunnel.headers import RequestRules, response_head
from gateway.tunnel.prefix import restored
from gateway.tunnel.public_address import PublicAddress
from gateway.tunnel.query import without_token
from gateway.wire import heads
from gateway.wire.chunks import Chunks
from gateway.wire.receive_buffer import ReceiveBuffer

HIDDEN = Hidden([b"towpath-session"])
RULES = RequestRules(HIDDEN, (), PublicAddress("https://hub.example:8443", "apps.example"))
PREFIX = b"/user/alice/"
END = b"\r\n\r\n"


def request_head(data: bytes) -> None:
    """A client's head: what is passed on to an app is one head, with one Host and without the hub's secrets."""
    try:
        method, target, head = heads.read(data + END, most_fields=128)
    except heads.BadHeadError:
        return
    assert target.startswith(b"/")
    try:
        block = RULES.head(
            method + b" " + target + b" HTTP/1.1",
            head.fields,
            peer="192.0.2.1",
            scheme="http",
            credential=b"Authorization: token x\r\n",
            websocket=head.websocket,
        ).block
    except UpstreamError:
        return
    again = heads.read(block + b"\r\n", most_fields=256)
    assert again[:2] == (method, target)
    names = [name for name, _ in again[2].fields]
    assert names.count(b"host") == names.count(b"authorization") == 1
    assert not {b"transfer-encoding", b"content-length", b"connection", b"upgrade"} & set(names)
    assert not any(HIDDEN.cut(value) != value.strip(b"; \t") for name, value in again[2].fields if name == b"cookie")


def response_head_of_an_app(data: bytes) -> None:
    """An app's head: what the client gets is one head, with one meaning of where the body ends."""
    try:
        head = read_head(data + END, lambda fields: response_head(restored(fields, PREFIX), PREFIX, HIDDEN))
    except UpstreamError:
        return
    for out in (head.usual(), head.special(close=True, bodiless=False, modern=True)):
        assert out.count(END) == 1
        assert out.endswith(END)
        names = [line.partition(b":")[0].lower() for line in out.split(b"\r\n")[1:-2]]
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
        assert names.count(b"date") <= 1 or b"\r\ndate:" in data.lower()


def chunks(data: bytes) -> None:
    """A chunked body means the same however it is cut."""
    first, rest = data[:1], data[1:]
    step = first[0] % 16 + 1 if first else 1
    assert _decode([rest]) == _decode([rest[at : at + step] for at in range(0, len(rest), step)])


def _decode(parts: list[bytes]) -> tuple[bytes, bool] | None:
    decoder = Chunks()
    out = []
    try:
        for part in parts:
            if decoder.done:
                break
            out.append(decoder.feed(part))
    except ValueError:
        return None
    return b"".join(out), decoder.done


def websocket_frames(data: bytes) -> None:
    """The frames of a side mean the same however they are cut, and only whole frames are passed on."""
    if len(data) < 2:
        return
    masked, step, rest = bool(data[0] & 1), data[1] % 16 + 1, data[2:]
    whole = _track([rest], masked=masked)
    cut = _track([rest[at : at + step] for at in range(0, len(rest), step)], masked=masked)
    assert whole == cut
    out = whole[0]
    assert whole[1] is not None or rest.startswith(out) or b"MARK" in rest


def _track(parts: list[bytes], *, masked: bool) -> tuple[bytes, tuple[int, str] | None]:
    tracker = frames.Tracker(masked=masked, limit=4096, mark=b"MARK")
    out = b""
    for part in parts:
        out += tracker.feed(part)
        if tracker.fault is not None:
            break
    return out, tracker.fault


def websocket_handshake(data: bytes) -> None:
    """Both handshakes of a WebSocket: a client's request, and an app's answer."""
    try:
        _, _, head = heads.read(b"GET / HTTP/1.1\r\nHost: h\r\n" + data + END, most_fields=128)
    except heads.BadHeadError:
        return
    try:
        asked = handshake.read_request(head.fields, b"GET", head.length)
        chosen = handshake.check(head.fields, asked.key, asked.subprotocols)
    except (handshake.VersionError, UpstreamError):
        return
    out = handshake.accept_block(asked.key, chosen, head.fields)
    assert out.count(END) == 1
    assert out.endswith(END)


def path(data: bytes) -> None:
    """A path means one server, however often a later reader decodes it, and the hub writes it in one way."""
    try:
        paths.check(data)
        read = paths.user_path(data, b"/user/")
    except paths.BadPathError:
        return
    later = data
    for _ in range(2):
        parts = later.replace(b"\\", b"/").split(b"/")
        assert not {b".", b".."} & {part.partition(b";")[0] for part in parts}
        later = unquote_to_bytes(later)
        if b"%" not in later:
            break
    if read is None:
        return
    for name in ("", read.segment):
        written = paths.proper(data, b"/user/", read.user, name)
        again = paths.user_path(written, b"/user/")
        assert again is not None
        assert again[:2] == read[:2]
        assert again.complete
        assert not name or again.segment_complete
        assert paths.proper(written, b"/user/", read.user, name) == written


def fields(data: bytes) -> None:
    """Single fields: cookies, addresses, origins and URLs never become a second line or another's."""
    out = confine(data, PREFIX, HIDDEN)
    if out is not None:
        assert not {b"\r"[0], b"\n"[0], 0} & set(out)
        assert (out.rpartition(b"; Path=")[2] + b"/").startswith(PREFIX)
    told = lines("192.0.2.1", "http", data.decode("latin-1"), ((b"x-forwarded-for", data), (b"x-forwarded-host", data)))
    assert all(b": " in line for line in told.split(b"\r\n")[:-1])
    query = without_token(b"/?" + data).partition(b"?")[2]
    assert b"token" not in [unquote_to_bytes(part.partition(b"=")[0]) for part in query.split(b"&")]
    AllowedOrigins(["https://a.example"]).preflight([(b"origin", data), (b"access-control-request-method", data)])
    if b"\r" not in data and b"\n" not in data:
        for name in (b"location", b"refresh", b"link", b"service-worker-allowed"):
            assert b"\n" not in restored([(name, data)], PREFIX, {b"hub.example"})[0][1]


def receive_buffer(data: bytes) -> None:
    """A buffer finds the end of a head at the same place however the bytes arrive."""
    step = data[0] % 8 + 1 if data else 1
    rest = data[1:]
    buffer, end, bare = ReceiveBuffer(), 0, False
    for at in range(0, len(rest), step):
        buffer += rest[at : at + step]
        bare = bare or buffer.has_bare_line_feed()
        end = end or buffer.find_head_end()
    assert end == rest.find(END) + len(END) * (END in rest) + (END not in rest)
    assert bare == (rest.count(b"\n") != rest.count(b"\r\n"))


TARGETS = {
    "chunks": chunks,
    "fields": fields,
    "path": path,
    "receive-buffer": receive_buffer,
    "request-head": request_head,
    "response-head": response_head_of_an_app,
    "websocket-frames": websocket_frames,
    "websocket-handshake": websocket_handshake,
}
