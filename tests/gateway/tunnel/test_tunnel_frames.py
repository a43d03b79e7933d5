"""The frame tracker: any chunking, any violation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tunnel import frames

MARK = b"8 bytes."


def tracker(*, masked=True, limit=2**20):
    return frames.Tracker(masked=masked, limit=limit, mark=MARK)


def frame(opcode, payload=b"", *, fin=True, masked=True):
    first = (0x80 if fin else 0) | opcode
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65536:
        head = bytes((first, bit | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8)
    if not masked:
        return head + payload
    key = b"\x01\x02\x03\x04"
    return head + key + bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))


MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.just("whole"), st.sampled_from([1, 2]), st.integers(0, 300)),
        st.tuples(st.just("parts"), st.sampled_from([1, 2]), st.integers(0, 300)),
        st.tuples(st.just("control"), st.sampled_from([9, 10]), st.integers(0, 125)),
        st.tuples(st.just("whole"), st.just(2), st.sampled_from([125, 126, 127, 65535, 65536])),
    ),
    max_size=6,
)


def stream_of(messages, *, masked):
    out = []
    for kind, opcode, size in messages:
        payload = b"p" * size
        if kind == "parts":
            out.append(frame(opcode, payload, fin=False, masked=masked))
            out.append(frame(9, b"in between", masked=masked))
            out.append(frame(0, payload, masked=masked))
        else:
            out.append(frame(opcode, payload, masked=masked))
    return b"".join(out)


@given(MESSAGES, st.booleans(), st.data())
def test_valid_frames_pass_unchanged_however_they_are_cut(messages, masked, data):
    stream = stream_of(messages, masked=masked)
    one = tracker(masked=masked)
    out = b""
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, 70000) | st.integers(1, 9))
        out += one.feed(stream[at : at + step])
        at += step
    assert out == stream
    assert one.fault is None
    assert one.remaining == 0


@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans())
def test_no_bytes_make_it_raise_and_nothing_is_invented(chunks, masked):
    one = tracker(masked=masked)
    out = b"".join(one.feed(chunk) for chunk in chunks)
    assert len(out) <= sum(map(len, chunks))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_pongs_to_our_pings_are_swallowed_and_others_pass(masked, step):
    before, after = frame(2, b"before", masked=masked), frame(10, b"other", masked=masked)
    stream = before + frame(10, MARK, masked=masked) + after
    one = tracker(masked=masked)
    assert b"".join(one.feed(stream[at : at + step]) for at in range(0, len(stream), step)) == before + after


@pytest.mark.parametrize(
    "bad",
    [
        frame(2, b"unmasked", masked=False),
        bytes((0xC2, 0x80)) + b"\0\0\0\0" + b"\0" * 9,
        frame(3, b"x"),
        frame(0xB, b"x"),
        frame(9, b"x", fin=False),
        frame(0, b"continues nothing"),
        frame(2, b"a", fin=False) + frame(2, b"a message in a message"),
        bytes((0x89, 0x80 | 126, 0, 126)) + b"\0" * 130,
    ],
)
def test_bytes_that_violate_the_protocol_are_not_forwarded(bad):
    good = frame(1, b"good")
    one = tracker()
    out = one.feed(good + bad)
    assert one.fault is not None
    assert one.fault[0] == frames.PROTOCOL_ERROR
    assert out.startswith(good)
    assert len(out) <= len(good) + len(frame(2, b"a", fin=False))
    assert one.feed(frame(1, b"later")) == b"" or one.fault is not None


@pytest.mark.parametrize(
    "stream",
    [frame(2, b"x" * 1025), frame(2, b"x" * 1000, fin=False) + frame(0, b"x" * 25), frame(2, b"x" * 70000)],
)
def test_a_message_above_the_limit_is_a_fault_with_1009_fragments_counted_together(stream):
    one = tracker(limit=1024)
    out = one.feed(stream)
    assert one.fault is not None
    assert one.fault[0] == frames.TOO_BIG
    assert len(out) < len(stream)


def test_a_close_frame_behind_a_message_that_is_too_large_is_seen():
    one = tracker(limit=1024)
    one.feed(frame(2, b"x" * 2000)[:700])
    one.feed(frame(2, b"x" * 2000)[700:] + frame(8, b"\x03\xf1"))
    assert one.closing


def test_a_message_at_the_limit_passes_and_the_next_is_counted_anew():
    one = tracker(limit=1024)
    stream = frame(2, b"x" * 1024) * 3
    assert one.feed(stream) == stream
    assert one.fault is None


def test_control_frames_do_not_count_as_activity():
    one = tracker()
    one.feed(frame(9, b"ping") + frame(10, b"pong"))
    assert not one.active
    one.feed(frame(1, b"text"))
    assert one.active


def test_our_close_frame_is_valid_for_either_side_and_a_long_reason_is_cut():
    one = tracker(masked=False)
    reason = "é" * 100
    made = frames.close(1012, reason, masked=False)
    assert one.feed(made) == made
    assert one.closing
    made[4:].decode()
    masked = frames.close(4401, "signed out", masked=True)
    other = tracker(masked=True)
    assert other.feed(masked) == masked
    assert other.closing
