"""OAuth 2 requests to a provider, signatures and encrypted texts. Only this module imports Authlib and joserfc.

Owns these libraries, and the translation of their errors. Does not know what a response means, and does not send
requests itself (`gateway.auth.oidc.http`).

Sources: RFC 6749, RFC 7636 (PKCE), RFC 7009 (revocation), RFC 7515 and 7517 (signatures and keys), RFC 7516 (seals).
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote_plus

from authlib.oauth2 import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7009 import prepare_revoke_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwe, jws
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey, import_key

from gateway.auth.oidc.errors import InvalidResponseError, ProviderError, UnreachableError, in_a_line

if TYPE_CHECKING:
    from gateway.auth.oidc.http import Got

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric signatures only: never `none`, never a shared secret (HS...)."""
KEYS_MAX: Final = 64
JWT: Final = "application/jwt"
"""The media type of a signed userinfo response (OpenID Connect Core section 5.3.2)."""
JWE_PARTS: Final = 5
DESCRIPTION_MAX: Final = 300

_KINDS: Final[dict[str, type[Key]]] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}
_SEAL: Final = {"alg": "dir", "enc": "A256GCM"}
_SEALS: Final = ("dir", "A256GCM")


class Answer(NamedTuple):
    """The response to a GET: a JSON value, or a signed text (`jwt`). `next`: the URL of the next page, or `""`."""

    status: int
    value: Any
    next: str = ""
    jwt: str = ""


class Client:
    """The hub as a client of one provider. Requests raise UnreachableError; those for tokens also ProviderError."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        auth_method: str,
        timeout: float,
        ca_file: str = "",
        proxy: str = "",
    ) -> None:
        """`auth_method`: how the client authenticates, `basic` or `post`. `timeout`: seconds per request."""
        from gateway.auth.oidc.http import Http  # noqa: PLC0415 - takes 0.3 s, which a hub without such a provider saves

        self._client_id = client_id
        self._proof = ClientAuth(client_id, client_secret, "client_secret_post" if auth_method == "post" else _basic)
        self._http = Http(timeout=timeout, ca_file=ca_file, proxy=proxy)

    def authorization_url(self, endpoint: str, *, state: str, verifier: str, **parameters: str) -> str:
        """Return the URL of the authorization request, with its PKCE challenge (S256)."""
        url: str = prepare_grant_uri(
            endpoint,
            self._client_id,
            "code",
            state=state,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
            **parameters,
        )
        return url

    async def exchange(self, endpoint: str, *, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        """Exchange a code for tokens and return the token endpoint's response."""
        body = prepare_token_request("authorization_code", code=code, code_verifier=verifier, redirect_uri=redirect_uri)
        return await self._tokens(endpoint, body)

    async def refresh(self, endpoint: str, refresh_token: str) -> dict[str, Any]:
        """Use a refresh token and return the token endpoint's response, which may contain a new refresh token."""
        return await self._tokens(endpoint, prepare_token_request("refresh_token", refresh_token=refresh_token))

    async def revoke(self, endpoint: str, token: str) -> None:
        """Revoke a refresh token at the provider (RFC 7009)."""
        body, _ = prepare_revoke_token_request(token, "refresh_token")
        await self._post(endpoint, body)

    async def get(self, url: str, *, bearer: str = "") -> Answer:
        """Fetch JSON or a JWT from a URL. `bearer`: an access token, or `""`."""
        headers = {"Accept": "application/json, application/jwt"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        try:
            found = await self._http.ask("GET", url, headers)
        except UnreachableError as error:
            raise UnreachableError(f"{url}: {error}") from error
        if found.status >= 500 or found.status == 429:  # noqa: PLR2004 - HTTP
            raise UnreachableError(f"{url} answers {found.status}")
        if found.media_type == JWT and found.status == 200:  # noqa: PLR2004 - HTTP
            return Answer(found.status, None, jwt=found.body.decode("ascii", "replace").strip())
        try:
            value = json.loads(found.body)
        except (ValueError, RecursionError) as error:
            if found.status in (400, 401, 403):
                value = None  # an error response need not be JSON (RFC 6750 section 3.1)
            else:
                raise UnreachableError(f"{url} answers {found.status}, not in JSON") from error
        return Answer(found.status, value, found.next)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _tokens(self, endpoint: str, body: str) -> dict[str, Any]:
        """Send a request to the token endpoint (RFC 6749 sections 5.1, 5.2).

        Some providers send errors with status 200.
        """
        try:
            answer = await self._post(endpoint, body)
        except UnreachableError as error:
            raise UnreachableError(f"the token endpoint: {error}") from error
        if answer.status >= 500:  # noqa: PLR2004 - HTTP
            raise UnreachableError(f"the token endpoint answers {answer.status}")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UnreachableError(f"the token endpoint answers {answer.status}, without a JSON object")
        if "error" in found:
            description = found.get("error_description") or ""
            raise ProviderError(str(found["error"])[:DESCRIPTION_MAX], str(description)[:DESCRIPTION_MAX])
        if not isinstance(found.get("access_token"), str):
            raise UnreachableError("the token endpoint sent neither a token nor an error")
        return found

    async def _post(self, endpoint: str, body: str) -> "Got":
        """Send a form with the client's credentials."""
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
        url, headers, body = self._proof.prepare("POST", endpoint, headers, body)
        return await self._http.ask("POST", url, headers, body.encode())


def _basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:  # noqa: ARG001
    """Form-encode both parts first (RFC 6749 section 2.3.1). Strict providers require it; Authlib does not do it."""
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return uri, headers, body


# --- signatures -------------------------------------------------------------------------------------------------
class PublicKey(NamedTuple):
    """A signing key of a provider. `id` and `algorithm` empty: the key set does not contain them."""

    id: str
    algorithm: str
    key: Key


def public_keys(found: Any) -> tuple[PublicKey, ...]:
    """Return the usable keys of a JWK set (RFC 7517). Keys of unknown kinds are skipped.

    Shared secrets (`oct`) are skipped too: one in a published set is not secret.
    """
    listed = found.get("keys") if isinstance(found, Mapping) else None
    keys: list[PublicKey] = []
    for entry in listed[:KEYS_MAX] if isinstance(listed, list) else ():
        if not isinstance(entry, Mapping) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = import_key({name: value for name, value in entry.items() if isinstance(name, str)})
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if not isinstance(key, OctKey):
            keys.append(PublicKey(str(entry.get("kid", "")), str(entry.get("alg", "")), key))
    return tuple(keys)


class Signed(NamedTuple):
    """A parsed token that is not verified yet. `key`: the id of the key that it names, or `""`."""

    key: str
    form: jws.CompactSignature


def signed(token: str) -> Signed:
    """Parse a token for `verified`. Raises InvalidResponseError."""
    if token.count(".") + 1 == JWE_PARTS:
        raise InvalidResponseError(
            "it is encrypted, which is not supported: register the client for signed answers only"
        )
    try:
        form = jws.extract_compact(token.encode())
        header = form.headers()
    except (JoseError, ValueError, TypeError, UnicodeEncodeError) as error:
        raise InvalidResponseError(f"not a signed token: {in_a_line(error)}") from error
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise InvalidResponseError(f"signed by {algorithm!r:.40}, which is not allowed", claim="alg")
    return Signed(str(header.get("kid", "")), form)


def verified(
    token: Signed, keys: Sequence[PublicKey], algorithms: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Verify a token's signature with these keys and return its header and claims. Raises InvalidResponseError.

    The key is chosen by `kid`. Without one, there must be exactly one key of the kind that the algorithm needs.
    """
    key_id = token.key

    def pick(member: Any) -> Key:
        algorithm = member.headers()["alg"]
        fitting = [
            key.key
            for key in keys
            if isinstance(key.key, _KINDS[algorithm[:2]])
            and key.algorithm in ("", algorithm)
            and (not key_id or key.id == key_id)
        ]
        if len(fitting) != 1:
            raise InvalidResponseError(
                f"signed with a key that the provider does not publish ({key_id!r:.80})", claim="kid"
            )
        return fitting[0]

    try:
        # A separate registry with the allowed algorithms, which accepts unregistered header parameters of providers.
        registry = jws.JWSRegistry(algorithms=algorithms, strict_check_header=False)
        valid = jws.validate_compact(token.form, pick, registry=registry)
        claims = json.loads(token.form.payload) if valid else None
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise InvalidResponseError(f"the signature is not valid: {in_a_line(error)}", claim="signature") from error
    if not valid:
        raise InvalidResponseError("the signature is not valid", claim="signature")
    if not isinstance(claims, dict):
        raise InvalidResponseError("the token contains no claims")
    return dict(token.form.headers()), claims


def check_id_token(
    header: Mapping[str, Any],
    claims: Mapping[str, Any],
    *,
    issuers: Sequence[str],
    client_id: str,
    nonce: str,
    access_token: str,
    now: float,
    leeway: int,
) -> None:
    """Check an ID token with a valid signature (OpenID Connect Core section 3.1.3.7). Raises InvalidResponseError.

    `nonce` and `access_token` empty: not compared (for an ID token from a refresh, section 12.2).
    """
    token = CodeIDToken(
        dict(claims),
        dict(header),
        options={
            "iss": {"essential": True, "values": list(issuers)},
            "aud": {"essential": True, "value": client_id},
            "sub": {"essential": True},
        },
        params={"nonce": nonce, "client_id": client_id, "access_token": access_token},
    )
    try:
        token.validate(now=int(now), leeway=leeway)
    except ClaimError as error:
        raise InvalidResponseError(f"ID token: {in_a_line(error)}", claim=error.claim) from error
    except (JoseError, ValueError, TypeError) as error:
        raise InvalidResponseError(f"ID token: {in_a_line(error)}") from error


# --- encryption ------------------------------------------------------------------------------------------------------
class Seal:
    """Encrypts what the hub keeps of a sign-in with a key from the provider's client secret (RFC 7516)."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        material = hashlib.sha256(f"towpath sign-in\0{client_id}\0{client_secret}".encode()).digest()
        self._key = OctKey.import_key(material)

    def close(self, text: str) -> str:
        """Encrypt a text."""
        return jwe.encrypt_compact(_SEAL, text.encode(), self._key, algorithms=_SEALS)

    def open(self, sealed: str) -> str:
        """Decrypt a text. Raises InvalidResponseError if it was encrypted with another secret, or modified."""
        try:
            found = jwe.decrypt_compact(sealed.encode(), self._key, algorithms=_SEALS)
        except (JoseError, ValueError) as error:
            raise InvalidResponseError("encrypted with another client secret") from error
        return (found.plaintext or b"").decode()
