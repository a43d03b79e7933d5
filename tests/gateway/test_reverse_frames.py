"""The frames between starters and gateways: each side reads what the other writes, however it arrives."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.starter import websocket_frames as node
from gateway.ways_in.reverse.frames import BINARY, CLOSE, CLOSED, PING, Frames, head
from tests.gateway.reverse_node import masked

parts = st.lists(st.one_of(st.binary(max_size=70_000), st.sampled_from([b"", b"x" * 125, b"y" * 126, b"z" * 65536])))
cuts = st.lists(st.integers(1, 200), min_size=1)


def pieces(data, sizes):
    at, turn = 0, 0
    while at < len(data):
        yield data[at : at + sizes[turn % len(sizes)]]
        at += sizes[turn % len(sizes)]
        turn += 1


@given(parts, cuts, st.binary(min_size=4, max_size=4))
def test_gateways_read_frames_of_starters_with_any_mask_and_any_cut(payloads, sizes, key):
    frames = Frames(masked=True)
    data = b"".join(masked(payload, key) + node.frame(PING, b"p") for payload in payloads)
    assert b"".join(part for piece in pieces(data, sizes) for part in frames.feed(memoryview(piece))) == b"".join(
        payloads
    )
    assert frames.pings == [b"p"] * len(payloads)
    assert not frames.closed
    frames.feed(memoryview(node.frame(CLOSE, b"\x03\xe8")))
    assert frames.closed


@given(parts, cuts)
def test_starters_and_other_gateways_read_frames_of_gateways_with_any_cut(payloads, sizes):
    data = b"".join(head(BINARY, len(payload)) + payload + head(PING, 1) + b"p" for payload in payloads) + CLOSED
    memory = ssl.MemoryBIO()
    starter, gateway = node.Frames(memory), Frames(masked=False)
    passed = b""
    for piece in pieces(data, sizes):
        starter.feed(piece)
        passed += b"".join(gateway.feed(memoryview(piece)))
    assert memory.read() == passed == b"".join(payloads)
    assert starter.ended
    assert gateway.closed
    assert starter.replies == node.frame(node.PONG, b"p") * len(payloads)


@given(st.binary(max_size=300), cuts)
def test_any_bytes_are_frames_or_an_error(data, sizes):
    for frames in (Frames(masked=True), Frames(masked=False), node.Frames(ssl.MemoryBIO())):
        try:
            for piece in pieces(data, sizes):
                frames.feed(memoryview(piece))
        except ValueError:
            continue


def test_nothing_is_read_behind_a_close_frame():
    frames = Frames(masked=False)
    assert frames.feed(memoryview(CLOSED + head(BINARY, 1) + b"x")) == []
    assert frames.feed(memoryview(head(BINARY, 1) + b"x")) == []


@pytest.mark.parametrize("data", [b"\x82\x81\0\0\0\0x", b"\xc2\x01x", b"\x81\x01x", b"\x89\x7e\x01\x00"])
def test_starters_refuse_other_frames(data):
    with pytest.raises(ValueError, match="frame"):
        node.Frames(ssl.MemoryBIO()).feed(data)
