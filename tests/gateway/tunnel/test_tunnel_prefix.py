"""Apps without a base path: their requests, and the URLs of their responses."""

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
def test_all_bytes_after_the_prefix_stay(rest):
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
        (b"/user/alice/lab", b"/user/alice/lab"),
        (b"/user/alice/lab?a", b"/user/alice/lab?a"),
        (b"/user/alice/lab2", b"/user/alice/lab/user/alice/lab2"),
        (b"http://hub.example/login?next=/x", b"/user/alice/lab/login?next=/x"),
        (b"HTTPS://Hub.Example:443", b"/user/alice/lab/"),
        (b"//hub.example/login", b"/user/alice/lab/login"),
        (b"http://hub.example?a", b"/user/alice/lab/?a"),
        (b"http://hub.example/user/alice/lab/x", b"/user/alice/lab/x"),
        (b"http://hub.example:8000/x", b"http://hub.example:8000/x"),
        (b"http://hub.example.evil.example/x", b"http://hub.example.evil.example/x"),
        (b"http://evil.example@hub.example/x", b"http://evil.example@hub.example/x"),
    ],
)
def test_a_redirect_leads_to_where_the_app_is_for_the_browser(said, told):
    for name in (b"location", b"content-location", b"Location"):
        fields = [(name, said), (b"x-other", b"/login")]
        assert restored(fields, PREFIX, {b"hub.example"}) == [(name, told), (b"x-other", b"/login")]


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        (b"refresh", b"5; url=/login", b"5; url=/user/alice/lab/login"),
        (b"refresh", b"0;URL='/login'", b"0;URL='/user/alice/lab/login'"),
        (b"refresh", b"0; http://hub.example/x", b"0; /user/alice/lab/x"),
        (b"refresh", b"5", b"5"),
        (b"refresh", b"5; url=x", b"5; url=x"),
        (b"link", b"</a.css>; rel=preload, <b>; rel=next", b"</user/alice/lab/a.css>; rel=preload, <b>; rel=next"),
        (b"service-worker-allowed", b"/", b"/user/alice/lab/"),
    ],
)
def test_other_fields_with_urls_lead_there_too(name, said, told):
    assert restored([(name, said)], PREFIX, {b"hub.example"}) == [(name, told)]
