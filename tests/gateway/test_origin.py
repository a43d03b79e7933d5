import pytest

from gateway.door.origin import from_ourselves, own_origin
from gateway.tunnel.public_address import PublicAddress

OWN = b"https://hub.example"


@pytest.mark.parametrize(
    ("origin", "site", "allowed"),
    [
        (OWN, b"same-origin", True),
        (OWN, None, True),
        (None, b"same-origin", True),
        (b"HTTPS://HUB.example", b"same-origin", True),
        (None, None, False),
        (None, b"none", False),
        (None, b"same-site", False),
        (None, b"cross-site", False),
        (OWN, b"cross-site", False),
        (OWN, b"same-site", False),
        (b"null", None, False),
        (b"null", b"same-origin", False),
        (b"https://evil.example", None, False),
        (b"https://hub.example.evil.org", None, False),
        (b"https://hub.example:8443", None, False),
        (b"http://hub.example", None, False),
        (b"https://evil.example", b"same-origin", False),
        (b"", None, False),
    ],
)
def test_only_the_hubs_pages_can_send_unsafe_requests_with_a_cookie(origin, site, allowed):
    assert from_ourselves(origin=origin, fetch_site=site, own=OWN) is allowed


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", b"hub.example", b"https://hub.example"),
        ("https", b"hub.example:443", b"https://hub.example"),
        ("http", b"127.0.0.1:8000", b"http://127.0.0.1:8000"),
        ("http", b"Hub.Example:80", b"http://hub.example"),
    ],
)
def test_the_origin_is_written_as_in_browsers(scheme, host, origin):
    assert own_origin(scheme, host) == origin


@pytest.mark.parametrize("host", ["hub.example", "hub.example:8443", "Hub.Example:8000"])
def test_a_page_of_the_public_url_is_same_origin_if_a_proxy_changes_the_port(host):
    own = own_origin("https", PublicAddress("https://hub.example:8443").host(host).encode())
    assert from_ourselves(origin=b"https://hub.example:8443", fetch_site=None, own=own)
    assert not from_ourselves(origin=b"https://hub.example", fetch_site=None, own=own)
    assert not from_ourselves(origin=b"https://hub.example:8000", fetch_site=None, own=own)
