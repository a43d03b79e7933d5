"""Apps that know no base path: what they are asked, and where they send people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tunnel.prefix import restored, stripped

PREFIX = b"/user/alice/lab/"


@pytest.mark.parametrize(
    ("target", "slashes", "asked"),
    [
        (b"/user/alice/", 3, b"/"),
        (b"/user/alice/a%2Fb/c?d=/e", 3, b"/a%2Fb/c?d=/e"),
        (b"/user/%61lice/x", 3, b"/x"),
        (b"/hub1/user/alice/lab/x//y", 5, b"/x//y"),
        (b"/user/alice?next=/x/", 3, b"/x/"),
        (b"/user/alice", 3, b"/"),
    ],
)
def test_the_prefix_is_cut_at_its_slashes(target, slashes, asked):
    assert stripped(target, slashes) == asked


@given(st.binary().map(lambda rest: rest.replace(b"\n", b"")))
def test_what_follows_the_prefix_stays_byte_for_byte(rest):
    assert stripped(PREFIX + rest, PREFIX.count(b"/")) == b"/" + rest


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"/login", b"/user/alice/lab/login"),
        (b"/", b"/user/alice/lab/"),
        (b"/user/alice/lab/login", b"/user/alice/lab/login"),
        (b"./login", b"./login"),
        (b"//elsewhere.example/", b"//elsewhere.example/"),
        (b"https://elsewhere.example/x", b"https://elsewhere.example/x"),
    ],
)
def test_a_redirect_leads_to_where_the_app_is_for_the_browser(said, told):
    fields = [(b"location", said), (b"x-other", b"/login")]
    assert restored(fields, PREFIX) == [(b"location", told), (b"x-other", b"/login")]
