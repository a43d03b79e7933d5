import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.cookies import CookieJar
from gateway.auth.credentials import Brought, bearer


def test_the_cookie_is_host_bound_secure_and_out_of_scripts_reach_with_https():
    assert CookieJar(secure=True, base_path="/x/").set("T", lifetime=60) == (
        "__Host-towpath-session=T; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60"
    )


def test_without_https_it_has_no_prefix_that_a_browser_would_refuse():
    assert CookieJar(secure=False, base_path="/x/").set("T", lifetime=60) == (
        "towpath-session=T; Path=/x/; HttpOnly; SameSite=Lax; Max-Age=60"
    )


@pytest.mark.parametrize(
    ("headers", "ticket"),
    [
        ([b"towpath-session=abc"], "abc"),
        ([b"a=1; towpath-session=abc; b=2"], "abc"),
        ([b"a=1", b"towpath-session=abc"], "abc"),
        ([b"towpath-session=abc; towpath-session=abc"], "abc"),
        ([b"towpath-session=abc; towpath-session=evil"], ""),
        ([b"towpath-session=abc", b"towpath-session=evil"], ""),
        ([b"xtowpath-session=abc"], ""),
        ([b"x=towpath-session=abc"], ""),
        ([b"__Host-towpath-session=abc"], ""),
        ([b"towpath-session="], ""),
        ([b"towpath-session=" + b"a" * 200], ""),
        ([b"towpath-session=\xff"], ""),
        ([], ""),
    ],
)
def test_one_ticket_is_read_and_two_are_none(headers, ticket):
    assert CookieJar(secure=False, base_path="/").ticket(headers) == ticket


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_no_cookie_header_whatsoever_raises(headers):
    CookieJar(secure=False, base_path="/").ticket(headers)


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        (b"token abc", "abc"),
        (b"Token abc", "abc"),
        (b"Bearer abc", "abc"),
        (b"bearer  abc ", "abc"),
        (b"Basic abc", None),
        (b"token", None),
        (b"token ", None),
        (b"token \xff", None),
        (b"token " + b"a" * 600, None),
        (b"", None),
    ],
)
def test_a_bearer_secret_is_read_from_both_schemes(header, secret):
    assert bearer(header) == secret


def test_headers_that_come_twice_vouch_for_nothing():
    brought = Brought(
        [
            (b"origin", b"http://us"),
            (b"origin", b"http://them"),
            (b"sec-fetch-site", b"same-origin"),
            (b"sec-fetch-site", b"same-origin"),
            (b"authorization", b"token a"),
            (b"authorization", b"token b"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
        ]
    )
    assert (brought.origin, brought.fetch_site, brought.authorization) == (b"null", b"cross-site", b"")
    assert brought.cookies == [b"a=1", b"b=2"]
