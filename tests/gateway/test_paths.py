import re
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.door import paths

PREFIX = b"/user/"


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b"/user/alice/", ("alice", "", True, False)),
        (b"/user/alice", ("alice", "", False, False)),
        (b"/user/alice/lab/tree/a%2Fb", ("alice", "lab", True, True)),
        (b"/user/alice/lab", ("alice", "lab", True, False)),
        (b"/user/alice//x", ("alice", "", True, True)),
        (b"/user/a@b.org/x", ("a@b.org", "x", True, False)),
        (b"/user/a%40b.org/x/", ("a@b.org", "x", False, True)),
        (b"/user/a%2Bb/%67pu/", ("a+b", "gpu", True, False)),
        (b"/user/a%2bb/x/", ("a+b", "x", False, True)),
        (b"/user/a+b/x/", ("a+b", "x", False, True)),
        (b"/user/alice;x/", ("alice;x", "", False, False)),
        (b"/user//alice/", ("", "alice", True, True)),
        (b"/user/a%2Fb/", ("a/b", "", True, False)),
    ],
)
def test_a_user_path_is_split_by_its_literal_slashes_and_decoded_once(raw, read):
    """Complete: a slash follows the name, which is written as the hub writes it."""
    assert paths.user_path(raw, PREFIX) == read


@pytest.mark.parametrize(
    ("raw", "name", "written"),
    [
        (b"/user/a+b", "", b"/user/a%2Bb/"),
        (b"/user/%61/x%2fy", "", b"/user/a/x%2fy"),
        (b"/user/a/%67/x//", "g", b"/user/a/g/x//"),
        (b"/user/a/g", "g", b"/user/a/g/"),
    ],
)
def test_a_path_is_written_as_the_hub_writes_it(raw, name, written):
    read = paths.user_path(raw, PREFIX)
    assert paths.proper(raw, PREFIX, read.user, name) == written


@pytest.mark.parametrize("raw", [b"/hub/home", b"//user/alice/", b"/User/alice/", b"/users/alice/", b"/"])
def test_other_paths_are_not_user_paths(raw):
    assert paths.user_path(raw, PREFIX) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"/user/alice/../bob/",
        b"/user/alice/..",
        b"/user/alice/%2e%2e/bob/",
        b"/user/alice/%2E./bob/",
        b"/user/alice/..;/bob/",
        b"/user/alice/..;a=b/bob/",
        b"/user/alice/..%3ba/bob/",
        b"/user/alice/x%2f..%2f..%2fbob/",
        b"/user/alice/x%2F%2e%2e",
        b"/user/alice/x\\..\\bob",
        b"/user/alice/x%5c..%5cbob",
        b"/user/alice/./x",
        b"/user/./alice/",
        b"/./user/alice/",
        b"user/alice/",
        b"/user/alice/a b",
        b"/user/alice/a\tb",
        b"/user/alice/a\x00b",
        b"/user/alice/a%00b",
        b"/user/alice/a%0d%0aSet-Cookie:x",
        b"/user/alice/\xff",
    ],
)
def test_ambiguous_paths_are_rejected(raw):
    with pytest.raises(paths.BadPathError):
        paths.check(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"/user/alice/.hidden",
        b"/user/alice/...",
        b"/user/alice/a..b",
        b"/user/alice/..a",
        b"/user/alice/a%2Fb%5Cc",
        b"/user/alice/x;y=z",
        b"/user/alice/%C3%A9t%C3%A9.ipynb",
        b"/user/alice/a//b",
    ],
)
def test_other_paths_are_accepted(raw):
    paths.check(raw)


def test_names_that_are_not_utf8_are_rejected():
    with pytest.raises(paths.BadPathError):
        paths.user_path(b"/user/%ff/", PREFIX)


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_quoted_names_round_trip(user, segment):
    raw = f"/user/{quote(user, safe='')}/{quote(segment, safe='')}/rest".encode()
    assert paths.user_path(raw, PREFIX)[:2] == (user, segment)


@given(
    st.lists(
        st.sampled_from([b"/", b".", b"%2e", b"%2F", b"\\", b"%5c", b";", b"a", b"user", b"alice"]),
        max_size=14,
    )
)
def test_accepted_paths_have_no_dot_segment_in_any_decoding(parts):
    raw = b"/" + b"".join(parts)
    try:
        paths.check(raw)
    except paths.BadPathError:
        return
    for reading in (raw, unquote_to_bytes(raw)):
        for segment in re.split(rb"[/\\]", reading):
            assert segment.partition(b";")[0] not in (b".", b"..")
