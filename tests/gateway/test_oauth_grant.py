"""The authorisation code grant: responses to valid and invalid requests (RFC 6749 sections 4.1 and 5.2, RFC 7636)."""

import base64
import hashlib
import secrets
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.oauth import grant
from portal.site.oauth import OAuthRefusedError
from state.records.models import OAuthCode
from state.rights.oauth_clients import Client
from state.store.credentials import digest

CALLBACK = "https://wiki.example.org/oauth_callback?from=hub"
VERIFIER = secrets.token_urlsafe(32)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
WIKI = Client(
    id="service-wiki",
    title="wiki",
    service="wiki",
    redirect_uris=(CALLBACK, "https://wiki.example.org/other"),
    secrets=frozenset({digest("the secret of the wiki")}),
)
AUTHORIZATION_REQUEST = [
    ("client_id", "service-wiki"),
    ("redirect_uri", CALLBACK),
    ("response_type", "code"),
    ("state", "a&b=ü"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
]
CODE = OAuthCode(
    client="service-wiki",
    redirect_uri=CALLBACK,
    user="alice",
    scopes=("access:services!service=wiki", "read:users:name!user=alice"),
    challenge=CHALLENGE,
    session="d" * 64,
    session_id="s",
)
TOKEN_REQUEST = [
    ("client_id", "service-wiki"),
    ("client_secret", "the secret of the wiki"),
    ("grant_type", "authorization_code"),
    ("code", "any"),
    ("redirect_uri", CALLBACK),
    ("code_verifier", VERIFIER),
]


def with_fields(fields, **changed):
    """Return the fields with some replaced or added (None: removed)."""
    kept = [(name, changed.get(name, value)) for name, value in fields]
    kept += [(name, value) for name, value in changed.items() if name not in dict(fields)]
    return [(name, value) for name, value in kept if value is not None]


def redirected(url):
    """Return the address without its query, and the query."""
    address, _, query = url.partition("?")
    return address, dict(parse_qsl(query))


def test_a_valid_request_has_its_redirect_uri_scopes_and_challenge():
    request = grant.validate_request(with_fields(AUTHORIZATION_REQUEST, scope="read:users:name self"), WIKI)
    assert request == grant.AuthorizationRequest(CALLBACK, ("read:users:name", "self"), CHALLENGE)


def test_the_code_and_the_state_are_added_to_the_query_of_the_redirect_uri():
    address, query = redirected(grant.authorization_response(AUTHORIZATION_REQUEST, WIKI, "the-code"))
    assert address == "https://wiki.example.org/oauth_callback"
    assert query == {"from": "hub", "code": "the-code", "state": "a&b=ü"}


def test_the_client_is_told_about_a_denial():
    _, query = redirected(grant.authorization_response(AUTHORIZATION_REQUEST, WIKI, ""))
    assert (query["error"], query["state"]) == ("access_denied", "a&b=ü")


def test_a_path_of_this_hub_can_be_a_redirect_uri():
    server = Client(
        id="jupyterhub-user-alice", title="", server="alice/", redirect_uris=("/user/alice/oauth_callback",)
    )
    fields = with_fields(AUTHORIZATION_REQUEST, client_id=server.id, redirect_uri="/user/alice/oauth_callback")
    address, query = redirected(grant.authorization_response(fields, server, "c"))
    assert (address, query["code"]) == ("/user/alice/oauth_callback", "c")


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": CALLBACK + "x"},
        {"redirect_uri": CALLBACK.replace("https", "http")},
        {"redirect_uri": CALLBACK.partition("?")[0]},
        {"redirect_uri": CALLBACK + "&more=1"},
        {"redirect_uri": "https://wiki.example.org.evil.example/oauth_callback?from=hub"},
        {"redirect_uri": "https://wiki.example.org@evil.example/oauth_callback?from=hub"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": 'https://evil.example/"\\'},
        {"redirect_uri": "//evil.example"},
        {"redirect_uri": CALLBACK.upper()},
    ],
)
def test_a_redirect_uri_that_differs_from_the_clients_is_rejected_without_a_redirect(changed):
    with pytest.raises(OAuthRefusedError):
        grant.validate_request(with_fields(AUTHORIZATION_REQUEST, **changed), WIKI)


def test_an_unknown_client_is_rejected_without_a_redirect():
    with pytest.raises(OAuthRefusedError, match="not registered"):
        grant.validate_request(AUTHORIZATION_REQUEST, None)


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_a_repeated_client_id_or_redirect_uri_is_rejected_without_a_redirect(name):
    with pytest.raises(OAuthRefusedError):
        grant.validate_request([*AUTHORIZATION_REQUEST, (name, "https://evil.example/")], WIKI)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
    ],
)
def test_the_client_is_told_about_an_invalid_request_with_its_state(changed, error):
    address, query = redirected(grant.validate_request(with_fields(AUTHORIZATION_REQUEST, **changed), WIKI))
    assert address == "https://wiki.example.org/oauth_callback"
    assert (query["error"], query["state"]) == (error, "a&b=ü")


@pytest.mark.parametrize("name", ["response_type", "scope", "state", "code_challenge", "code_challenge_method"])
def test_the_client_is_told_about_a_repeated_field(name):
    fields = [
        *with_fields(AUTHORIZATION_REQUEST, scope="self"),
        (name, "S256" if name == "code_challenge_method" else "code"),
    ]
    assert redirected(grant.validate_request(fields, WIKI))[1]["error"] == "invalid_request"


@given(
    st.lists(
        st.tuples(st.sampled_from([name for name, _ in AUTHORIZATION_REQUEST] + ["scope", "x"]), st.text(max_size=60)),
        max_size=8,
    )
)
def test_no_request_redirects_to_another_address_than_the_clients(fields):
    try:
        answer = grant.validate_request(fields, WIKI)
    except OAuthRefusedError:
        return
    where = answer if isinstance(answer, str) else answer.redirect_uri
    assert urlsplit(where).netloc == "wiki.example.org"
    assert "\n" not in where
    assert "\r" not in where


def test_a_code_is_exchanged_for_a_token():
    result = grant.exchange(TOKEN_REQUEST, "", WIKI, CODE, lifetime=600)
    assert result.answer.status == 200
    assert result.answer.body == {
        "access_token": result.secret,
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "access:services!service=wiki read:users:name!user=alice",
    }
    assert result.answer.headers["Cache-Control"] == "no-store"
    assert len(result.secret) >= 43


def test_the_client_may_authenticate_with_http_basic():
    basic = "Basic " + base64.b64encode(b"service-wiki:the secret of the wiki").decode()
    sent = with_fields(TOKEN_REQUEST, client_id=None, client_secret=None)
    assert grant.client_credentials(sent, basic) == ("service-wiki", "the secret of the wiki")
    assert grant.exchange(sent, basic, WIKI, CODE, lifetime=600).answer.status == 200


@pytest.mark.parametrize(
    ("changed", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"client_secret": ""}, 401, "invalid_client"),
        ({"client_id": None}, 401, "invalid_client"),
        ({"client_id": "service-other"}, 400, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "unsupported_grant_type"),
        ({"grant_type": 'a"b\\'}, 400, "invalid_request"),
        ({"code": None}, 400, "invalid_request"),
        ({"redirect_uri": None}, 400, "invalid_grant"),
        ({"redirect_uri": "https://wiki.example.org/other"}, 400, "invalid_grant"),
        ({"code_verifier": None}, 400, "invalid_request"),
        ({"code_verifier": VERIFIER[:-1] + "-"}, 400, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, 400, "invalid_grant"),
        ({"code_verifier": "short"}, 400, "invalid_request"),
    ],
)
def test_an_invalid_token_request_gets_the_error_of_the_rfc_and_no_token(changed, status, error):
    result = grant.exchange(with_fields(TOKEN_REQUEST, **changed), "", WIKI, CODE, lifetime=600)
    assert (result.answer.status, result.answer.body["error"], result.secret) == (status, error, "")


def test_a_code_of_another_client_is_rejected():
    code = OAuthCode(**{**{name: getattr(CODE, name) for name in CODE.__struct_fields__}, "client": "service-other"})
    assert grant.exchange(TOKEN_REQUEST, "", WIKI, code, lifetime=600).answer.body["error"] == "invalid_grant"


def test_an_unknown_code_is_rejected():
    assert grant.exchange(TOKEN_REQUEST, "", WIKI, None, lifetime=600).answer.body["error"] == "invalid_grant"


def test_a_token_request_with_a_repeated_field_gets_no_token():
    result = grant.exchange([*TOKEN_REQUEST, ("code", "another")], "", WIKI, CODE, lifetime=600)
    assert (result.answer.body["error"], result.secret) == ("invalid_request", "")


def test_a_verifier_without_a_challenge_is_rejected():
    code = OAuthCode(**{**{name: getattr(CODE, name) for name in CODE.__struct_fields__}, "challenge": ""})
    assert grant.exchange(TOKEN_REQUEST, "", WIKI, code, lifetime=600).answer.body["error"] == "invalid_request"
    assert (
        grant.exchange(with_fields(TOKEN_REQUEST, code_verifier=None), "", WIKI, code, lifetime=600).answer.status
        == 200
    )
