"""The authorisation code grant with PKCE, as functions of values.

Owns the use of Authlib's provider side, and the translation of its responses. Does not know about the store: Authlib
calls back synchronously, so the caller looks up the client and the code first and passes them in. Nothing here awaits
or writes.

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

HUB_URL: Final = "https://hub/"
"""Placeholder for the hub's own URL. Authlib insists on https, which the edge is responsible for."""
CODE_SECONDS: Final = 300.0
"""Lifetime of a code in seconds. RFC 6749 section 4.1.2 allows ten minutes; JupyterHub uses five."""
DESCRIPTION_CHARACTERS: Final = frozenset(map(chr, range(0x20, 0x7F))) - {'"', "\\"}
"""Characters allowed in `error_description` (RFC 6749 section 5.2)."""
REPEATED_FIELDS: Final = ("response_type", "grant_type", "scope", "code_challenge", "code_challenge_method")
"""Fields whose values Authlib repeats in error descriptions."""


class AuthorizationRequest(Struct, frozen=True):
    """A valid authorisation request: redirect URI, requested scopes (`()`: none requested) and PKCE challenge."""

    redirect_uri: str
    scopes: tuple[str, ...]
    challenge: str


class ExchangeResult(Struct, frozen=True):
    """The response to a token request. `secret`: the access token in it, or `""` if it has none."""

    answer: TokenAnswer
    secret: str = ""


def validate_request(fields: Fields, client: Client | None) -> AuthorizationRequest | str:
    """Validate an authorisation request.

    Returns the client's redirect URL with the error if the request is invalid. Raises OAuthRefusedError if the client
    is unknown or the redirect_uri is not one of its own: then the browser must not be redirected (RFC 6749 section
    4.1.2.1).
    """
    request = _Request("GET", _check_characters(fields))
    if client is None:
        raise OAuthRefusedError("This application is not registered: no running server or service has this client_id.")
    parameters = dict(fields)
    if len([name for name, _ in fields if name in {"client_id", "redirect_uri"}]) > len(
        parameters.keys() & {"client_id", "redirect_uri"}
    ):
        raise OAuthRefusedError("The request contains client_id or redirect_uri more than once.")
    if parameters.get("redirect_uri") and parameters["redirect_uri"] not in client.redirect_uris:
        raise OAuthRefusedError("The redirect_uri of the request is not one of this application.")
    server = _Server(client)
    try:
        grant = server.get_authorization_grant(request)
        grant.validate_no_multiple_request_parameter(request)
        redirect_uri = grant.validate_consent_request()
    except OAuth2Error as error:
        error.state = parameters.get("state")
        error.redirect_uri = parameters.get("redirect_uri") or client.redirect_uris[0]
        return _location(error())
    return AuthorizationRequest(
        redirect_uri, tuple(parameters.get("scope", "").split()), parameters.get("code_challenge", "")
    )


def authorization_response(fields: Fields, client: Client, code: str) -> str:
    """Return the client's redirect URL for a valid request: with the code, or `access_denied` if `code` is `""`."""
    request = _Request("POST", _check_characters(fields))
    server = _Server(client, code=code)
    grant = server.get_authorization_grant(request)
    return _location(server.create_authorization_response(request, grant_user=code or None, grant=grant))


def client_credentials(fields: Fields, authorization: str) -> tuple[str, str]:
    """Return the client's id and secret from a token request, by HTTP Basic or in the form; `""` if not given."""
    basic: tuple[str | None, str | None] = extract_basic_authorization({"Authorization": authorization})
    parameters = dict(fields)
    return basic[0] or parameters.get("client_id", ""), basic[1] or parameters.get("client_secret", "")


def exchange(
    fields: Fields, authorization: str, client: Client | None, code: OAuthCode | None, *, lifetime: int
) -> ExchangeResult:
    """Return the response to a token request.

    `code`: the record of the authorisation code, None if it is unknown, expired or used. `lifetime`: seconds until the
    token expires.
    """
    try:
        request = _Request("POST", _check_characters(fields), {"Authorization": authorization})
    except OAuthRefusedError as error:
        return ExchangeResult(_token_answer(InvalidRequestError(str(error))()))
    server = _Server(client, granted=code, lifetime=lifetime)
    names = [name for name, _ in fields]
    if len(names) != len(set(names)):
        return ExchangeResult(_token_answer(InvalidRequestError("A field is given more than once.")()))
    return ExchangeResult(_token_answer(server.create_token_response(request)), server.secret)


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
        super().__init__(method, HUB_URL, headers=headers)
        self.payload = _Payload(fields)

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data


class _Client:
    """A `Client` with the interface of `authlib.oauth2.rfc6749.ClientMixin`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get_client_id(self) -> str:
        return self._client.id

    def get_default_redirect_uri(self) -> str:
        return self._client.redirect_uris[0]

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""  # `gateway.oauth.provider` narrows it to the user's scopes

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self._client.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        hashed = digest(client_secret)
        return any(secrets.compare_digest(hashed, one) for one in self._client.secrets)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and method in {"client_secret_basic", "client_secret_post"}

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


class _Code:
    """An `OAuthCode` with the interface of `authlib.oauth2.rfc6749.AuthorizationCodeMixin`."""

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
        """Do nothing: the provider has saved it."""

    def query_authorization_code(self, code: str, client: _Client) -> _Code | None:  # noqa: ARG002 - Authlib's signature
        granted: OAuthCode | None = self.server.granted
        return _Code(granted) if granted is not None and granted.client == client.get_client_id() else None

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        """Do nothing: looking the code up has used it up."""

    def authenticate_user(self, authorization_code: _Code) -> str:
        return authorization_code.user


class _Challenge(CodeChallenge):  # type: ignore[misc]
    """PKCE with S256 only. Without a method a client would get `plain` (RFC 7636 section 4.3)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: _Grant, redirect_uri: str) -> None:
        super().validate_code_challenge(grant, redirect_uri)
        data = grant.request.payload.data
        if data.get("code_challenge") and data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("code_challenge_method must be S256")


class _Server(AuthorizationServer):  # type: ignore[misc]
    """Authlib's server for one request."""

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
        """Do nothing: there are no listeners."""

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


def _check_characters(fields: Fields) -> Fields:
    for name, value in fields:
        if name in REPEATED_FIELDS and not DESCRIPTION_CHARACTERS.issuperset(value):
            raise OAuthRefusedError(f"{name} contains characters that are not allowed.")
    return fields


def _location(answer: tuple[int, Any, Any]) -> str:
    return str(dict(answer[2])["Location"])


def _token_answer(answer: tuple[int, Any, Any]) -> TokenAnswer:
    status, body, headers = answer
    return TokenAnswer(status, dict(body), {name: value for name, value in headers if name != "Content-Type"})
