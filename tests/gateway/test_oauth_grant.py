"""The grant over values: what is answered to which request (RFC 6749 sections 4.1 and 5.2, RFC 7636)."""

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
ASKED = [
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
SENT = [
    ("client_id", "service-wiki"),
    ("client_secret", "the secret of the wiki"),
    ("grant_type", "authorization_code"),
    ("code", "any"),
    ("redirect_uri", CALLBACK),
    ("code_verifier", VERIFIER),
]


def but(fields, **changed):
    """The fields with these changed (None: left out)."""
    kept = [(name, changed.get(name, value)) for name, value in fields]
    kept += [(name, value) for name, value in changed.items() if name not in dict(fields)]
    return [(name, value) for name, value in kept if value is not None]


def answered(url):
    place, _, query = url.partition("?")
    return place, dict(parse_qsl(query))


def test_a_valid_request_says_where_the_answer_goes_and_keeps_the_challenge():
    wish = grant.wish(but(ASKED, scope="read:users:name self"), WIKI)
    assert wish == grant.Wish(CALLBACK, ("read:users:name", "self"), CHALLENGE)


def test_the_answer_has_the_code_and_the_state_beside_what_the_address_had():
    place, told = answered(grant.decided(ASKED, WIKI, "the-code"))
    assert place == "https://wiki.example.org/oauth_callback"
    assert told == {"from": "hub", "code": "the-code", "state": "a&b=ü"}


def test_a_denial_is_told_to_the_client():
    _, told = answered(grant.decided(ASKED, WIKI, ""))
    assert (told["error"], told["state"]) == ("access_denied", "a&b=ü")


def test_a_path_of_this_hub_is_an_address_too():
    server = Client(
        id="jupyterhub-user-alice", title="", server="alice/", redirect_uris=("/user/alice/oauth_callback",)
    )
    asked = but(ASKED, client_id=server.id, redirect_uri="/user/alice/oauth_callback")
    place, told = answered(grant.decided(asked, server, "c"))
    assert (place, told["code"]) == ("/user/alice/oauth_callback", "c")


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
def test_an_address_that_is_not_exactly_the_clients_is_never_gone_to(changed):
    with pytest.raises(OAuthRefusedError):
        grant.wish(but(ASKED, **changed), WIKI)


def test_an_unknown_client_is_answered_on_a_page_of_the_hub():
    with pytest.raises(OAuthRefusedError, match="no such application"):
        grant.wish(ASKED, None)


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_a_client_or_an_address_that_is_named_twice_is_not_believed(name):
    with pytest.raises(OAuthRefusedError):
        grant.wish([*ASKED, (name, "https://evil.example/")], WIKI)


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
def test_what_is_wrong_is_told_to_the_client_with_its_state(changed, error):
    place, told = answered(grant.wish(but(ASKED, **changed), WIKI))
    assert place == "https://wiki.example.org/oauth_callback"
    assert (told["error"], told["state"]) == (error, "a&b=ü")


@pytest.mark.parametrize("name", ["response_type", "scope", "state", "code_challenge", "code_challenge_method"])
def test_a_field_that_is_there_twice_is_told_to_the_client(name):
    fields = [*but(ASKED, scope="self"), (name, "S256" if name == "code_challenge_method" else "code")]
    assert answered(grant.wish(fields, WIKI))[1]["error"] == "invalid_request"


@given(
    st.lists(st.tuples(st.sampled_from([name for name, _ in ASKED] + ["scope", "x"]), st.text(max_size=60)), max_size=8)
)
def test_no_request_leads_anywhere_but_to_the_clients_own_addresses(fields):
    try:
        answer = grant.wish(fields, WIKI)
    except OAuthRefusedError:
        return
    where = answer if isinstance(answer, str) else answer.redirect_uri
    assert urlsplit(where).netloc == "wiki.example.org"
    assert "\n" not in where
    assert "\r" not in where


def test_a_code_is_exchanged_for_a_token():
    made = grant.exchange(SENT, "", WIKI, CODE, lifetime=600)
    assert made.answer.status == 200
    assert made.answer.body == {
        "access_token": made.secret,
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "access:services!service=wiki read:users:name!user=alice",
    }
    assert made.answer.headers["Cache-Control"] == "no-store"
    assert len(made.secret) >= 43


def test_the_client_may_prove_itself_by_http_basic():
    basic = "Basic " + base64.b64encode(b"service-wiki:the secret of the wiki").decode()
    sent = but(SENT, client_id=None, client_secret=None)
    assert grant.client_named(sent, basic) == ("service-wiki", "the secret of the wiki")
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
def test_a_token_request_that_is_wrong_gets_the_standards_error_and_no_token(changed, status, error):
    made = grant.exchange(but(SENT, **changed), "", WIKI, CODE, lifetime=600)
    assert (made.answer.status, made.answer.body["error"], made.secret) == (status, error, "")


def test_a_code_of_another_client_is_none():
    code = OAuthCode(**{**{name: getattr(CODE, name) for name in CODE.__struct_fields__}, "client": "service-other"})
    assert grant.exchange(SENT, "", WIKI, code, lifetime=600).answer.body["error"] == "invalid_grant"


def test_a_code_that_stands_for_nothing_gives_nothing():
    assert grant.exchange(SENT, "", WIKI, None, lifetime=600).answer.body["error"] == "invalid_grant"


def test_a_field_that_is_there_twice_gives_nothing():
    made = grant.exchange([*SENT, ("code", "another")], "", WIKI, CODE, lifetime=600)
    assert (made.answer.body["error"], made.secret) == ("invalid_request", "")


def test_a_verifier_without_a_challenge_is_refused():
    code = OAuthCode(**{**{name: getattr(CODE, name) for name in CODE.__struct_fields__}, "challenge": ""})
    assert grant.exchange(SENT, "", WIKI, code, lifetime=600).answer.body["error"] == "invalid_request"
    assert grant.exchange(but(SENT, code_verifier=None), "", WIKI, code, lifetime=600).answer.status == 200
