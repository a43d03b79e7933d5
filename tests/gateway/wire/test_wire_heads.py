"""Request heads as a function of bytes: what is read, and what is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.wire import head_reader, heads

TOKENS = st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,15}", fullmatch=True)
VALUES = (
    st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127)).map(bytes.strip)
)
SPECIAL = (b"host", b"connection", b"content-length", b"transfer-encoding", b"upgrade", b"expect")


def read(raw):
    return heads.read(raw, most_fields=128)


def status_of(raw):
    with pytest.raises(heads.BadHeadError) as caught:
        read(raw)
    return caught.value.status


@given(st.lists(st.tuples(TOKENS.filter(lambda name: name.lower() not in SPECIAL), VALUES), max_size=12))
def test_every_field_is_read_in_order_with_its_bytes(fields):
    raw = b"GET /a?b HTTP/1.1\r\nHost: h\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in fields) + b"\r\n"
    method, target, head = read(raw)
    assert (method, target, head.host, head.length) == (b"GET", b"/a?b", b"h", 0)
    assert head.fields == [(b"host", b"h"), *((name.lower(), value) for name, value in fields)]


@given(st.binary(max_size=120))
@example(b"X: a\r\n b")
@example(b"X: a\nY: b")
@example(b"X: a\rY: b")
@example(b"X : a")
@example(b": a")
@example(b"X\0: a")
@example(b"\r\nGET /smuggled HTTP/1.1")
def test_a_head_is_read_line_by_line_or_refused(middle):
    """No byte of the fields may become a line of its own, vanish, or move: split by hand it must be the same."""
    raw = b"GET / HTTP/1.1\r\nHost: h\r\n" + middle + b"\r\n\r\n"
    raw = raw[: raw.index(b"\r\n\r\n") + 4]
    try:
        _, _, head = read(raw)
    except heads.BadHeadError:
        return
    lines = raw[:-4].split(b"\r\n")[1:]
    assert [name for name, _ in head.fields] == [line.partition(b":")[0].lower() for line in lines]
    assert [value for _, value in head.fields] == [line.partition(b":")[2].strip(b" \t") for line in lines]
    assert not any(byte in value for _, value in head.fields for byte in b"\r\n\0")


@given(st.binary(max_size=60))
@example(b"GET / HTTP/1.1")
def test_any_first_line_is_read_as_three_words_or_refused(line):
    raw = line + b"\r\nHost: h\r\n\r\n"
    raw = raw[: raw.index(b"\r\n\r\n") + 4]
    try:
        method, target, _ = read(raw)
    except heads.BadHeadError:
        return
    assert line.startswith(method + b" ")
    assert target.startswith(b"/")
    assert not any(byte <= 32 or byte >= 127 for byte in target)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        (b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_a_head_that_is_not_a_request_is_refused(raw, status):
    assert status_of(raw) == status


def test_an_absolute_target_gives_the_path_and_the_host():
    method, target, head = read(b"GET http://hub.example:8000/user/a/?x=1 HTTP/1.1\r\nHost: other\r\n\r\n")
    assert (method, target, head.host) == (b"GET", b"/user/a/?x=1", b"hub.example:8000")
    assert [value for name, value in head.fields if name == b"host"] == [b"hub.example:8000"]
    assert read(b"GET http://hub HTTP/1.1\r\nHost: hub\r\n\r\n")[1] == b"/"
    assert read(b"GET http://hub?q HTTP/1.1\r\nHost: hub\r\n\r\n")[1] == b"/?q"


def test_http_1_0_needs_no_host_and_its_connection_is_not_kept():
    _, _, head = read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (head.host, head.keep, head.modern) == (b"", False, False)


def test_only_a_head_that_says_nothing_but_its_fields_is_plain():
    def plain(fields):
        return read(b"GET / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n")[2].plain

    assert plain(b"Cookie: a=1\r\n")
    for fields in (
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: x, Close\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
    ):
        assert not plain(fields)


@given(st.binary(max_size=30))
@example(b"/a b")
@example(b"/#")
@example(b"http://h/")
@example(b'/\\"<>^`{|}')
def test_the_quick_reading_of_a_first_line_takes_nothing_that_the_full_one_refuses(target):
    """`wire.head_reader` reads only the first line again when the rest of a head is remembered."""
    line = b"GET " + target + b" HTTP/1.1"
    if head_reader.LINE.fullmatch(line):
        assert read(line + b"\r\nHost: h\r\n\r\n")[:2] == (b"GET", target)


@pytest.mark.parametrize("byte", range(256))
def test_both_readings_of_a_target_agree_on_every_byte(byte):
    line = b"GET /a" + bytes((byte,)) + b"z HTTP/1.1"
    try:
        full = read(line + b"\r\nHost: h\r\n\r\n")[1] == line[4:-9]
    except heads.BadHeadError:
        full = False
    assert (head_reader.LINE.fullmatch(line) is not None) is full
