"""Bodies in chunks, as a function of bytes: cut anywhere, the same comes out; what is not to the letter is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.chunks import LAST, Chunks, chunk


def encoded(pieces):
    return b"".join(b"".join(chunk(piece)) for piece in pieces) + LAST


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.binary(max_size=20), st.lists(st.integers(1, 30)))
def test_a_body_cut_anywhere_comes_out_whole_and_what_follows_is_kept(pieces, rest, steps):
    raw = encoded(pieces) + rest
    chunks = Chunks()
    out, at = [], 0
    for step in [*steps, len(raw)]:
        out.append(chunks.feed(raw[at : at + step]))
        at += step
        if chunks.done:
            break
    assert chunks.done
    assert b"".join(out) == b"".join(pieces)
    assert chunks.rest + raw[at:] == rest


@given(st.binary(max_size=80))
def test_anything_is_read_or_refused_and_never_more_comes_out_than_went_in(raw):
    chunks = Chunks()
    try:
        out = chunks.feed(raw)
    except ValueError:
        return
    assert len(out) + len(chunks.rest) <= len(raw)


def test_extensions_and_trailers_are_dropped():
    chunks = Chunks()
    assert chunks.feed(b'3;a=b;c="d"\r\nabc\r\n0;x\r\nX-T: 1\r\nY: 2\r\n\r\nnext') == b"abc"
    assert (chunks.done, chunks.rest) == (True, b"next")


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"-5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\rhello\r\n",
        b"5;a\x00\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n folded: 1\r\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"1;" + b"x" * 5000,
    ],
)
def test_a_chunk_that_is_not_exactly_as_the_standard_says_is_refused(raw):
    with pytest.raises(ValueError):
        Chunks().feed(raw)
