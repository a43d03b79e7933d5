"""The header rules as functions: any input, no sockets."""

from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.door.client_address import client_address
from gateway.tunnel import UpstreamError, cookies, forwarded, headers
from gateway.tunnel.public_address import PublicAddress

ANY = PublicAddress()
HIDDEN = cookies.Hidden({b"towpath-session", b"towpath-xsrf"})
PREFIX = b"/user/alice/"
NAMES = st.from_regex(rb"[a-z][a-z0-9-]{0,15}", fullmatch=True)
VALUES = st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127))
HUB_NAMES = st.sampled_from(
    [
        b"towpath-session",
        b"__Host-towpath-session",
        b"__SECURE-towpath-xsrf",
        b"Towpath-Session",
        b"__host-__host-towpath-xsrf",
    ]
)


def request(fields, *, peer="192.0.2.1", networks=(), public=ANY, credential=b"", websocket=False):
    rules = headers.RequestRules(HIDDEN, networks, public)
    head = rules.head(b"GET / HTTP/1.1", fields, peer=peer, scheme="http", credential=credential, websocket=websocket)
    lines = head.block.split(b"\r\n")
    assert lines[-1] == b""
    found = {}
    for line in lines[1:-1]:
        name, _, value = line.partition(b": ")
        found.setdefault(name.lower(), []).append(value)
    return found


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_a_request_head_has_one_line_per_field_and_none_that_is_hop_by_hop(fields):
    found = request(
        [(name, value) for name, value in fields if name not in (b"host", b"content-length", b"transfer-encoding")]
    )
    assert not set(found) & headers.HOP_BY_HOP
    assert len(found[b"host"]) == 1
    assert b"authorization" not in found


@given(st.lists(st.tuples(NAMES, st.binary(max_size=30)), min_size=1, max_size=6))
def test_a_line_break_in_a_request_field_never_becomes_a_line(fields):
    fields = [pair for pair in fields if pair[0] not in (b"content-length", b"transfer-encoding", b"host")]
    try:
        head = headers.RequestRules(HIDDEN, (), PublicAddress()).head(
            b"GET / HTTP/1.1", fields, peer="192.0.2.1", scheme="http", credential=b""
        )
    except UpstreamError as error:
        assert error.kind == "bad-request"
        return
    ours = 6
    assert head.block.count(b"\n") <= len(fields) + 1 + ours
    assert b"\0" not in head.block


def test_fields_named_in_connection_are_dropped_but_never_host():
    found = request([(b"host", b"hub"), (b"connection", b"X-One, host, close"), (b"x-one", b"1"), (b"x-two", b"2")])
    assert b"x-one" not in found
    assert found[b"x-two"] == [b"2"]
    assert found[b"host"] == [b"hub"]


def test_two_different_hosts_are_refused():
    with pytest.raises(UpstreamError):
        request([(b"host", b"a"), (b"host", b"b")])


def test_the_apps_credential_replaces_the_clients_authorization():
    found = request(
        [(b"authorization", b"token hub"), (b"Authorization".lower(), b"Basic x")],
        credential=b"Authorization: token app\r\n",
    )
    assert found[b"authorization"] == [b"token app"]


@pytest.mark.parametrize("name", [b"x_forwarded_for", b"authorization_", b"x_real_ip", b"content_length"])
def test_underscore_twins_of_protected_fields_do_not_pass(name):
    found = request([(name, b"1")])
    if name != b"authorization_":
        assert name not in found


def test_forwarded_fields_of_strangers_are_replaced():
    found = request(
        [
            (b"host", b"hub.example"),
            (b"x-forwarded-for", b"10.0.0.1"),
            (b"forwarded", b"for=10.0.0.1"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"evil"),
            (b"x-real-ip", b"10.0.0.1"),
        ]
    )
    assert found[b"x-forwarded-for"] == [b"192.0.2.1"]
    assert found[b"x-forwarded-proto"] == [b"http"]
    assert found[b"x-forwarded-host"] == [b"hub.example"]
    assert found[b"x-real-ip"] == [b"192.0.2.1"]
    assert found[b"forwarded"] == [b"for=192.0.2.1;proto=http"]


def test_forwarded_fields_of_a_trusted_proxy_are_kept_and_its_address_added():
    found = request(
        [
            (b"host", b"inner"),
            (b"x-forwarded-for", b"2001:db8::1"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"hub.example"),
        ],
        networks=(ip_network("192.0.2.0/24"),),
    )
    assert found[b"x-forwarded-for"] == [b"2001:db8::1, 192.0.2.1"]
    assert found[b"x-forwarded-proto"] == [b"https"]
    assert found[b"x-forwarded-port"] == [b"443"]
    assert found[b"forwarded"] == [b'for="[2001:db8::1]", for=192.0.2.1;proto=https']


@pytest.mark.parametrize(
    ("chain", "told", "real"),
    [
        (b"198.51.100.7:4711", b"198.51.100.7, 192.0.2.1", b"198.51.100.7"),
        (b"[2001:db8::1]:4711", b"2001:db8::1, 192.0.2.1", b"2001:db8::1"),
        (b"[2001:db8::1]", b"2001:db8::1, 192.0.2.1", b"2001:db8::1"),
        (b"2001:db8::1", b"2001:db8::1, 192.0.2.1", b"2001:db8::1"),
        (b'"[2001:db8::1]:4711"', b"2001:db8::1, 192.0.2.1", b"2001:db8::1"),
        (b"unknown, _hidden, 198.51.100.7:80", b"198.51.100.7, 192.0.2.1", b"198.51.100.7"),
        (b"198.51.100.7:x", b"192.0.2.1", b"192.0.2.1"),
        (b"1.2.3.4.5", b"192.0.2.1", b"192.0.2.1"),
    ],
)
def test_an_address_in_the_chain_may_have_a_port(chain, told, real):
    """RFC 7239 section 6; Azure's Application Gateway, for one, writes the port into X-Forwarded-For."""
    networks = (ip_network("192.0.2.0/24"),)
    fields = [(b"host", b"hub.example"), (b"x-forwarded-for", chain)]
    found = request(fields, networks=networks)
    assert (found[b"x-forwarded-for"], found[b"x-real-ip"]) == ([told], [real])
    assert client_address("192.0.2.1", fields, networks) == real.decode()


@pytest.mark.parametrize(
    ("host", "told", "port"),
    [
        (b"hub.example:8443", b"hub.example:8443", b"8443"),
        (b"hub.example", b"hub.example:8443", b"8443"),
        (b"HUB.example:8000", b"hub.example:8443", b"8443"),
        (b"alice.apps.example", b"alice.apps.example:8443", b"8443"),
        (b"other.example", b"other.example", b"443"),
    ],
)
@pytest.mark.parametrize("proto", [b"https", b"http", b"https, http", b"x"])
def test_the_public_url_decides_the_forwarded_headers(host, told, port, proto):
    """Whatever the proxies say of the scheme, and with or without the port in Host."""
    found = request(
        [(b"host", host), (b"x-forwarded-proto", proto), (b"x-forwarded-host", b"x.example, " + host)],
        networks=(ip_network("192.0.2.0/24"),),
        public=PublicAddress("https://hub.example:8443", "apps.example"),
    )
    assert found[b"host"] == found[b"x-forwarded-host"] == [told]
    assert found[b"x-forwarded-proto"] == [b"https"]
    assert found[b"x-forwarded-port"] == [port]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"/", b"/user/a/"),
        (b"/user/a/", b"/user/a/"),
        (b"/user/a/lab/", b"/user/a/lab/"),
        (b"/user/", b"/user/a/"),
        (b"/user/ab/", b"/user/a/"),
        (b"/user/a/../b/", b"/user/a/"),
        (b"/user/a/%2E%2e/b/", b"/user/a/"),
        (b"/user/a/..\\b/", b"/user/a/"),
        (b"https://hub.example/", b"/user/a/"),
        (b"", b"/user/a/"),
    ],
)
def test_the_scope_of_a_service_worker_is_narrowed_to_the_server(said, told):
    """Dropped, it would be the folder of the script, and the app's registration would fail."""
    fields = [(b"service-worker-allowed", said)]
    assert headers.response_head(fields, b"/user/a/", HIDDEN).fields == [(b"service-worker-allowed", told)]


def test_an_address_that_a_client_adds_to_the_chain_is_not_its_real_address():
    found = request(
        [(b"host", b"hub.example"), (b"x-forwarded-for", b"10.0.0.1, 198.51.100.7")],
        networks=(ip_network("192.0.2.0/24"),),
    )
    assert found[b"x-real-ip"] == [b"198.51.100.7"]


@given(st.binary(max_size=60), st.binary(max_size=60), st.text(max_size=30))
def test_nothing_that_a_trusted_proxy_says_breaks_a_line(chain, host, own):
    lines = forwarded.lines(
        "192.0.2.1",
        "http",
        own,
        ((b"x-forwarded-for", chain), (b"x-forwarded-host", host), (b"x-forwarded-proto", host)),
    )
    for line in lines.split(b"\r\n"):
        assert b"\r" not in line
        assert b"\n" not in line
    assert lines.count(b"\r\n") in (5, 6)


@pytest.mark.parametrize(
    ("lengths", "codings"),
    [
        ([b"1"], [b"chunked"]),
        ([b"1", b"2"], []),
        ([b"1", b"1"], []),
        ([b"+1"], []),
        ([b"0x1"], []),
        ([b"1,1"], []),
        ([b""], []),
        ([b"9" * 30], []),
        ([], [b"xchunked"]),
        ([], [b"gzip, chunked"]),
        ([], [b"chunked", b"chunked"]),
        ([], [b"identity"]),
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(lengths, codings):
    with pytest.raises(ValueError):
        headers.declared_length(lengths, codings, 0)


def response(fields):
    return headers.response_head(fields, PREFIX, HIDDEN)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=30)), max_size=8))
def test_a_response_field_never_has_control_characters(fields):
    try:
        head = response(fields)
    except UpstreamError:
        return
    for _, value in head.fields:
        assert not any(byte < 32 and byte != 9 for byte in value)


@pytest.mark.parametrize(
    "name",
    [b"Connection", b"Keep-Alive", b"Transfer-Encoding", b"Upgrade", b"Trailer", b"Alt-Svc", b"Clear-Site-Data",
     b"Strict-Transport-Security", b"X-Accel-Redirect", b"X-Sendfile", b"Proxy-Authenticate"],
)  # fmt: skip
def test_fields_that_apps_may_not_set_are_dropped(name):
    value = b"chunked" if name == b"Transfer-Encoding" else b"/"
    assert [pair for pair in response([(name, value)]).fields if pair[0] == name.lower()] == []


def test_repeated_response_fields_are_kept_in_order():
    assert response([(b"Vary", b"A"), (b"Link", b"x"), (b"vary", b"B")]).fields == [
        (b"vary", b"A"),
        (b"link", b"x"),
        (b"vary", b"B"),
    ]


@given(
    st.lists(st.tuples(NAMES, st.from_regex(rb"[A-Za-z0-9=\"]{0,12}", fullmatch=True)), max_size=6),
    HUB_NAMES,
    st.integers(0, 6),
)
def test_the_hubs_cookies_never_reach_an_app_and_others_stay(pairs, hub, place):
    others = [name + b"=" + value for name, value in pairs]
    mixed = [*others]
    mixed.insert(place, hub + b"=secret")
    mixed.append(hub + b"=again")
    left = HIDDEN.cut(b"; ".join(mixed))
    assert b"secret" not in left.split(b"=")
    assert hub.lower() not in left.lower()
    assert [part.strip() for part in left.split(b";") if part.strip()] == [part.strip() for part in others]


@pytest.mark.parametrize(
    "value",
    [
        b"=towpath-session=x",
        b" towpath-session =x",
        b'"towpath-session"=x',
        b"towpath-session",
        b"a=1;towpath-session=x",
        b"a=1;\ttowpath-session=x;b=2",
    ],
)
def test_odd_spellings_of_the_hubs_cookies_are_cut_too(value):
    assert b"towpath" not in HIDDEN.cut(value)


@given(st.binary(max_size=80))
@example(b"Path=")  # a cookie of that name is no attribute
def test_an_apps_cookie_is_refused_or_bound_to_its_path(value):
    kept = cookies.confine(value, PREFIX, HIDDEN)
    if kept is None:
        return
    attributes = [part.strip() for part in kept.split(b";")]
    paths = [part for part in attributes[1:] if part.lower().startswith(b"path=")]
    assert len(paths) == 1
    assert paths[0][5:].startswith(PREFIX) or paths[0][5:] + b"/" == PREFIX
    assert not any(part.lower().startswith(b"domain") for part in attributes[1:])
    assert not HIDDEN.holds(attributes[0].partition(b"=")[0])


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"a=1; Path=/; Domain=example.org; HttpOnly", b"a=1; HttpOnly; Path=/user/alice/"),
        (b"a=1; path=/user/alice/lab; Secure", b"a=1; Secure; Path=/user/alice/lab"),
        (b"a=1; Path=/user/alice/../bob/", b"a=1; Path=/user/alice/"),
        (b"a=1; Path=/user/alice/%2e%2e/bob/", b"a=1; Path=/user/alice/"),
        (b"a=1; Path=/user/alice/x; Path=/", b"a=1; Path=/user/alice/"),
        (b"a=1; Path=/user/alicea/", b"a=1; Path=/user/alice/"),
        (b"towpath-session=x", None),
        (b"TOWPATH-SESSION=x", None),
        (b"__Host-towpath-session=x; Path=/; Secure", None),
        (b"__Secure-towpath-session=x; Secure", None),
        (b"__host-other=x; Path=/", None),
        (b"=__Host-towpath-session=x", None),
        (b"towpath-session", None),
        (b"a=1\r\nX: y", None),
    ],
)
def test_set_cookie_is_rewritten_or_refused(value, kept):
    assert cookies.confine(value, PREFIX, HIDDEN) == kept


@pytest.mark.parametrize("websocket", [False, True])
@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.1"])
def test_headers_of_a_sign_in_portal_and_their_variants_reach_no_app(peer, websocket):
    hidden = frozenset({b"x-remote-user", b"x-towpath-portal"})
    rules = headers.RequestRules(HIDDEN, (ip_network("10.0.0.0/8"),), PublicAddress(), hidden)
    fields = [
        *(
            (name, b"secret-4711")
            for name in (b"x-remote-user", b"x-towpath-portal", b"x_remote_user", b"x-remote_user")
        ),
        (b"x_towpath_portal", b"secret-4711"),
        (b"x-remote-users", b"another"),
        (b"connection", b"x-towpath-portal"),
    ]
    head = rules.head(b"GET / HTTP/1.1", fields, peer=peer, scheme="http", credential=b"", websocket=websocket)
    assert b"4711" not in head.block
    assert b"x-remote-users: another" in head.block
