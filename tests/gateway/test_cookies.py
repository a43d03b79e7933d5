import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.cookies import CANDIDATES_MAX, CookieJar, Strays, mark_of
from gateway.auth.credentials import Brought, bearer
from state.config.tables import GatewayConfig


def test_with_https_the_cookie_is_host_bound_secure_and_http_only():
    assert CookieJar(secure=True, base_path="/x/").set("T", lifetime=60) == (
        "__Host-towpath-session=T; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60"
    )


def test_without_https_the_cookie_has_no_host_prefix():
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
def test_one_ticket_is_read_and_two_are_rejected(headers, ticket):
    assert CookieJar(secure=False, base_path="/").ticket(headers) == ticket


def test_candidates_are_read_up_to_a_limit():
    jar = CookieJar(secure=False, base_path="/")
    assert jar.tickets([b"towpath-session=a; x=1; towpath-session=b", b"towpath-session=a"]) == ("a", "b")
    many = b"; ".join(b"towpath-session=%d" % number for number in range(100))
    assert len(jar.tickets([many])) == CANDIDATES_MAX


@pytest.mark.parametrize(
    ("gateway", "mark"),
    [
        ({}, ".8000"),
        ({"port": 80}, ""),
        ({"port": 8080, "base_path": "/hub1/"}, "-hub1.8080"),
        ({"public_url": "https://h.example.edu"}, ""),
        ({"public_url": "https://h.example.edu:443"}, ""),
        ({"public_url": "https://h.example.edu:8443"}, ".8443"),
        ({"public_url": "http://h.example.edu", "port": 8000}, ""),
        ({"public_url": "https://h.example.edu", "base_path": "/jupyter/"}, "-jupyter"),
        ({"public_url": "https://h.example.edu", "base_path": "/8443/"}, "-8443"),
        ({"public_url": "https://h.example.edu", "base_path": "/a/b/"}, "-c14cddc033f6"),
        ({"public_url": "https://h.example.edu", "base_path": "/A~b/"}, "-8b6cad99c412"),
    ],
)
def test_a_name_depends_on_the_base_path_and_the_port(gateway, mark):
    assert mark_of(GatewayConfig(**gateway)) == mark
    jar = CookieJar(secure=True, base_path="/", mark=mark)
    assert jar.name == f"__Host-towpath-session{mark}"
    assert jar.another("towpath-known").name == f"__Host-towpath-known{mark}"


def test_all_cookies_of_the_name_except_the_hubs_own_are_deleted():
    jar = CookieJar(secure=False, base_path="/x/")
    given = jar.without_strays("/x/hub/login", "hub.example.org")
    assert all(value.startswith("towpath-session=; Max-Age=0; Path=") for value in given)
    places = [value.partition("Path=")[2] for value in given]
    assert "/x/" not in places  # the hub's own
    for path in ("/", "/x", "/x/hub", "/x/hub/", "/x/hub/login"):
        assert path in places
    for domain in ("hub.example.org", "example.org"):
        assert {f"/; Domain={domain}", f"/x/hub; Domain={domain}"} <= set(places)
    assert len(given) < 60
    assert jar.without_strays("/" + "a/" * 500, "a." * 100 + "org")[:200] == jar.without_strays(
        "/" + "a/" * 500, "a." * 100 + "org"
    )
    assert len(jar.without_strays("/" + "a/" * 500, "a." * 100 + "org")) < 100
    assert CookieJar(secure=True, base_path="/x/").without_strays("/x/hub", "hub.example.org") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "evil\r\nx: y", "", "a;b", "h_st"])
def test_invalid_domains_are_not_used_in_cookies(host):
    given = CookieJar(secure=False, base_path="/").without_strays("/a;b\r\n", host)
    assert not any("Domain" in value or "\n" in value or "a;b" in value for value in given)


def test_cookies_are_deleted_only_if_a_name_was_sent_twice():
    strays = Strays(CookieJar(secure=False, base_path="/", mark=".1"))
    once = [(b"host", b"h.example.org:1"), (b"cookie", b"towpath-session.1=a; towpath-known.1=b")]
    assert strays.found(once, "/hub/login") == []
    twice = [*once, (b"cookie", b"towpath-known.1=c")]
    given = strays.found(twice, "/hub/login")
    assert given
    assert {value.partition("=")[0] for value in given} == {"towpath-known.1"}
    assert not any(value.endswith("Path=/hub/") for value in given)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_no_cookie_header_raises_an_error(headers):
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


def test_repeated_credential_headers_are_not_accepted():
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
