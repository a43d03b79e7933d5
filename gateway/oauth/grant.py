"""The authorisation code grant with PKCE, over values that are there already.

Owns: the door to Authlib's provider side, and which of its answers is which of ours. Refuses to know the store: Authlib
asks while it works and cannot wait, so what it may ask for (the client, the code) is looked up before. Nothing here
awaits or writes.

Sources: RFC 6749 sections 4.1 and 5, RFC 7636, RFC 9700 section 2.1.1 (S256 only).
"""

import secrets
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.util import extract_basic_authorization
from authlib.oauth2.rfc7636 import CodeChallenge
from msgspec import Struct

from portal.site.oauth import Fields, OAuthRefusedError, TokenAnswer
from state.records.models import OAuthCode
from state.rights.oauth_clients import Client
from state.store.credentials import SECRET_BYTES, digest

PLACE: Final = "https://hub/"
"""Stands for the hub's own URL: whether it is https is for the edge to see to, and Authlib would ask."""
CODE_SECONDS: Final = 300.0
"""How long a code is good: RFC 6749 section 4.1.2 allows ten minutes, JupyterHub has five."""
TEXT: Final = frozenset(map(chr, range(0x20, 0x7F))) - {'"', "\\"}
"""What may stand in an error's description (RFC 6749 section 5.2), where Authlib repeats what was sent."""
REPEATED: Final = ("response_type", "grant_type", "scope", "code_challenge", "code_challenge_method")


class Wish(Struct, frozen=True):
    """A valid authorisation request: where its answer goes, the scopes that it names (`()`: none), PKCE's challenge."""

    redirect_uri: str
    scopes: tuple[str, ...]
    challenge: str


class Exchanged(Struct, frozen=True):
    """The answer to a token request; `secret` is the access token in it, `""`: there is none."""

    answer: TokenAnswer
    secret: str = ""


def wish(fields: Fields, client: Client | None) -> Wish | str:
    """What an authorisation request asks; or the URL at the client's that says what is wrong with it.

    Raises OAuthRefusedError where the client or its redirect_uri is not to be believed.
    """
    request = _Request("GET", _checked(fields))
    if client is None:
        raise OAuthRefusedError("There is no such application here: nothing runs that has this client_id.")
    given = dict(fields)
    if len([name for name, _ in fields if name in {"client_id", "redirect_uri"}]) > len(
        given.keys() & {"client_id", "redirect_uri"}
    ):
        raise OAuthRefusedError("The request names its client or its redirect_uri more than once.")
    if given.get("redirect_uri") and given["redirect_uri"] not in client.redirect_uris:
        raise OAuthRefusedError("The request asks for an answer to an address that is not this application's.")
    server = _Server(client)
    try:
        grant = server.get_authorization_grant(request)
        grant.validate_no_multiple_request_parameter(request)
        redirect_uri = grant.validate_consent_request()
    except OAuth2Error as error:
        error.state = given.get("state")
        error.redirect_uri = given.get("redirect_uri") or client.redirect_uris[0]
        return _location(error())
    return Wish(redirect_uri, tuple(given.get("scope", "").split()), given.get("code_challenge", ""))


def decided(fields: Fields, client: Client, code: str) -> str:
    """The URL at the client's for a request that `wish` has found valid: with the code, or (`""`) a denial."""
    request = _Request("POST", _checked(fields))
    server = _Server(client, code=code)
    grant = server.get_authorization_grant(request)
    return _location(server.create_authorization_response(request, grant_user=code or None, grant=grant))


def client_named(fields: Fields, authorization: str) -> tuple[str, str]:
    """Id and secret of the client that sends a token request: by HTTP Basic, or in the form. `""`: not said."""
    basic: tuple[str | None, str | None] = extract_basic_authorization({"Authorization": authorization})
    given = dict(fields)
    return basic[0] or given.get("client_id", ""), basic[1] or given.get("client_secret", "")


def exchange(
    fields: Fields, authorization: str, client: Client | None, code: OAuthCode | None, *, lifetime: int
) -> Exchanged:
    """The answer to a token request. `code`: what its code stands for, None: nothing (any more)."""
    try:
        request = _Request("POST", _checked(fields), {"Authorization": authorization})
    except OAuthRefusedError as error:
        return Exchanged(_answer(InvalidRequestError(str(error))()))
    server = _Server(client, granted=code, lifetime=lifetime)
    names = [name for name, _ in fields]
    if len(names) != len(set(names)):
        return Exchanged(_answer(InvalidRequestError("A field is there more than once.")()))
    return Exchanged(_answer(server.create_token_response(request)), server.secret)


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, fields: Fields) -> None:
        self._data = dict(fields)
        self._lists: dict[str, list[str]] = defaultdict(list)
        for name, value in fields:
            self._lists[name].append(value)

    @property
    def data(self) -> dict[str, str]:
        return self._data

    @property
    def datalist(self) -> dict[str, list[str]]:
        return self._lists


class _Request(OAuth2Request):  # type: ignore[misc]
    def __init__(self, method: str, fields: Fields, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(method, PLACE, headers=headers)
        self.payload = _Payload(fields)

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data


class _Client:
    """`authlib.oauth2.rfc6749.ClientMixin`, for one of ours."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get_client_id(self) -> str:
        return self._client.id

    def get_default_redirect_uri(self) -> str:
        return self._client.redirect_uris[0]

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""  # narrowed by `gateway.oauth.provider`, which knows the person

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self._client.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        told = digest(client_secret)
        return any(secrets.compare_digest(told, one) for one in self._client.secrets)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and method in {"client_secret_basic", "client_secret_post"}

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


class _Code:
    """`authlib.oauth2.rfc6749.AuthorizationCodeMixin`, for one of ours."""

    code_challenge_method = "S256"

    def __init__(self, code: OAuthCode) -> None:
        self.user = code.user
        self.code_challenge = code.challenge
        self._code = code

    def get_redirect_uri(self) -> str:
        return self._code.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self._code.scopes)


class _Grant(AuthorizationCodeGrant):  # type: ignore[misc]
    def generate_authorization_code(self) -> str:
        return self.server.code  # type: ignore[no-any-return]

    def save_authorization_code(self, code: str, request: Any) -> None:
        """It is saved already."""

    def query_authorization_code(self, code: str, client: _Client) -> _Code | None:  # noqa: ARG002 - the one that was looked up
        granted: OAuthCode | None = self.server.granted
        return _Code(granted) if granted is not None and granted.client == client.get_client_id() else None

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        """It was used up when it was looked up."""

    def authenticate_user(self, authorization_code: _Code) -> str:
        return authorization_code.user


class _Challenge(CodeChallenge):  # type: ignore[misc]
    """PKCE, by S256 alone: `plain` is what one gets who names no method."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: _Grant, redirect_uri: str) -> None:
        super().validate_code_challenge(grant, redirect_uri)
        data = grant.request.payload.data
        if data.get("code_challenge") and data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("code_challenge_method must be S256")


class _Server(AuthorizationServer):  # type: ignore[misc]
    """One request's."""

    def __init__(
        self, client: Client | None, *, code: str = "", granted: OAuthCode | None = None, lifetime: int = 0
    ) -> None:
        super().__init__()
        self.code = code
        self.granted = granted
        self.secret = ""
        self._client = client
        self._lifetime = lifetime
        self.register_grant(_Grant, [_Challenge(required=False)])
        self.register_token_generator("default", self._token)

    def query_client(self, client_id: str) -> _Client | None:
        return _Client(self._client) if self._client is not None and self._client.id == client_id else None

    def save_token(self, token: dict[str, Any], request: Any) -> None:  # noqa: ARG002 - Authlib's signature
        self.secret = token["access_token"]

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def handle_response(self, status: int, body: Any, headers: Any) -> tuple[int, Any, Any]:
        return status, body, headers

    def create_oauth2_request(self, request: _Request) -> _Request:
        return request

    def _token(self, *, scope: str, **_: Any) -> dict[str, Any]:
        return {
            "access_token": secrets.token_urlsafe(SECRET_BYTES),
            "token_type": "Bearer",
            "expires_in": self._lifetime,
            "scope": scope,
        }


def _checked(fields: Fields) -> Fields:
    for name, value in fields:
        if name in REPEATED and not TEXT.issuperset(value):
            raise OAuthRefusedError(f"{name} has characters that have no place there.")
    return fields


def _location(answer: tuple[int, Any, Any]) -> str:
    return str(dict(answer[2])["Location"])


def _answer(answer: tuple[int, Any, Any]) -> TokenAnswer:
    status, body, headers = answer
    return TokenAnswer(status, dict(body), {name: value for name, value in headers if name != "Content-Type"})
