"""The one door to Authlib and joserfc: requests of OAuth 2 to a provider, signatures, sealed texts.

Owns: these libraries, and the translation of their errors. Refuses to know what an answer means, and how it came over
the wire (`gateway.auth.oidc.http`).

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

from gateway.auth.oidc.errors import AwayError, ProviderError, UnbelievableError, in_a_line

if TYPE_CHECKING:
    from gateway.auth.oidc.http import Got

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that anybody can check and the provider alone can make: never `none`, never a shared secret (HS...)."""
KEYS_MAX: Final = 64
JWT: Final = "application/jwt"
"""The media type of a signed userinfo response (OpenID Connect Core section 5.3.2)."""
JWE_PARTS: Final = 5
DESCRIPTION_MAX: Final = 300

_KINDS: Final[dict[str, type[Key]]] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}
_SEAL: Final = {"alg": "dir", "enc": "A256GCM"}
_SEALS: Final = ("dir", "A256GCM")


class Answer(NamedTuple):
    """What a GET found: JSON of any kind, or (`jwt`) a signed text; and the next page's URL where there is one."""

    status: int
    value: Any
    next: str = ""
    jwt: str = ""


class Client:
    """The hub as one provider's client. What asks raises AwayError; what asks the token endpoint, ProviderError too."""

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
        """`auth_method`: how the hub proves itself, `basic` or `post`. `timeout`: seconds an answer may take."""
        from gateway.auth.oidc.http import Http  # noqa: PLC0415 - 0.3 s that a hub without such a provider saves

        self._client_id = client_id
        self._proof = ClientAuth(client_id, client_secret, "client_secret_post" if auth_method == "post" else _basic)
        self._http = Http(timeout=timeout, ca_file=ca_file, proxy=proxy)

    def leave_for(self, endpoint: str, *, state: str, verifier: str, **parameters: str) -> str:
        """The URL of the authorization request, with its PKCE challenge (S256)."""
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
        """The token endpoint's answer to a code."""
        body = prepare_token_request("authorization_code", code=code, code_verifier=verifier, redirect_uri=redirect_uri)
        return await self._tokens(endpoint, body)

    async def refresh(self, endpoint: str, refresh_token: str) -> dict[str, Any]:
        """The token endpoint's answer to a refresh token, which may bring another one."""
        return await self._tokens(endpoint, prepare_token_request("refresh_token", refresh_token=refresh_token))

    async def revoke(self, endpoint: str, token: str) -> None:
        """Tell the provider that a refresh token is used no more (RFC 7009)."""
        body, _ = prepare_revoke_token_request(token, "refresh_token")
        await self._post(endpoint, body)

    async def get(self, url: str, *, bearer: str = "") -> Answer:
        """JSON, or a JWT that says so, from an URL, with an access token where one is given."""
        headers = {"Accept": "application/json, application/jwt"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        try:
            found = await self._http.ask("GET", url, headers)
        except AwayError as error:
            raise AwayError(f"{url}: {error}") from error
        if found.status >= 500 or found.status == 429:  # noqa: PLR2004 - HTTP
            raise AwayError(f"{url} answers {found.status}")
        if found.media_type == JWT and found.status == 200:  # noqa: PLR2004 - HTTP
            return Answer(found.status, None, jwt=found.body.decode("ascii", "replace").strip())
        try:
            value = json.loads(found.body)
        except (ValueError, RecursionError) as error:
            if found.status in (400, 401, 403):
                value = None  # a refusal need not be JSON (RFC 6750 section 3.1)
            else:
                raise AwayError(f"{url} answers {found.status}, and not in JSON") from error
        return Answer(found.status, value, found.next)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _tokens(self, endpoint: str, body: str) -> dict[str, Any]:
        """RFC 6749 sections 5.1 and 5.2; some providers send errors with status 200."""
        try:
            answer = await self._post(endpoint, body)
        except AwayError as error:
            raise AwayError(f"the token endpoint: {error}") from error
        if answer.status >= 500:  # noqa: PLR2004 - HTTP
            raise AwayError(f"the token endpoint answers {answer.status}")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise AwayError(f"the token endpoint answers {answer.status}, and no object in JSON")
        if "error" in found:
            description = found.get("error_description") or ""
            raise ProviderError(str(found["error"])[:DESCRIPTION_MAX], str(description)[:DESCRIPTION_MAX])
        if not isinstance(found.get("access_token"), str):
            raise AwayError("the token endpoint gives no token, and does not say why")
        return found

    async def _post(self, endpoint: str, body: str) -> "Got":
        """A form, with what proves that this is the hub."""
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
        url, headers, body = self._proof.prepare("POST", endpoint, headers, body)
        return await self._http.ask("POST", url, headers, body.encode())


def _basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:  # noqa: ARG001
    """RFC 6749 section 2.3.1: both parts are form-encoded first; strict providers insist on it, Authlib leaves it."""
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return uri, headers, body


# --- signatures -------------------------------------------------------------------------------------------------
class PublicKey(NamedTuple):
    """A key with which a provider signs. `id` and `algorithm` empty: it does not say."""

    id: str
    algorithm: str
    key: Key


def public_keys(found: Any) -> tuple[PublicKey, ...]:
    """The usable keys of a JWK set (RFC 7517); those of kinds that are not known here are left out.

    Shared secrets (`oct`) are left out too: one in a published set is known to everybody.
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
    """A token taken apart; nothing of it is believed yet. `key`: the id of the one that is said to sign it, or `""`."""

    key: str
    form: jws.CompactSignature


def signed(token: str) -> Signed:
    """For `verified`. Raises UnbelievableError."""
    if token.count(".") + 1 == JWE_PARTS:
        raise UnbelievableError("it is encrypted, which is not supported: register the client for signed answers only")
    try:
        form = jws.extract_compact(token.encode())
        header = form.headers()
    except (JoseError, ValueError, TypeError, UnicodeEncodeError) as error:
        raise UnbelievableError(f"not a signed token: {in_a_line(error)}") from error
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise UnbelievableError(f"signed by {algorithm!r:.40}, which is not allowed", claim="alg")
    return Signed(str(header.get("kid", "")), form)


def verified(
    token: Signed, keys: Sequence[PublicKey], algorithms: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that one of these keys has signed. Raises UnbelievableError.

    The key is picked by `kid`; without one there must be a single key of the kind that the algorithm needs.
    """
    wanted = token.key

    def pick(member: Any) -> Key:
        algorithm = member.headers()["alg"]
        fitting = [
            key.key
            for key in keys
            if isinstance(key.key, _KINDS[algorithm[:2]])
            and key.algorithm in ("", algorithm)
            and (not wanted or key.id == wanted)
        ]
        if len(fitting) != 1:
            raise UnbelievableError(
                f"signed with a key that the provider does not publish ({wanted!r:.80})", claim="kid"
            )
        return fitting[0]

    try:
        # A registry of our own, for providers put more into a header than there are names for; it holds the algorithms.
        registry = jws.JWSRegistry(algorithms=algorithms, strict_check_header=False)
        holds = jws.validate_compact(token.form, pick, registry=registry)
        claims = json.loads(token.form.payload) if holds else None
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise UnbelievableError(f"the signature does not hold: {in_a_line(error)}", claim="signature") from error
    if not holds:
        raise UnbelievableError("the signature does not hold", claim="signature")
    if not isinstance(claims, dict):
        raise UnbelievableError("the token holds no claims")
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
    """What OpenID Connect Core section 3.1.3.7 asks of an ID token whose signature holds. Raises UnbelievableError.

    `nonce` and `access_token` empty: not compared (an ID token that a refresh has brought, section 12.2).
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
        raise UnbelievableError(f"ID token: {in_a_line(error)}", claim=error.claim) from error
    except (JoseError, ValueError, TypeError) as error:
        raise UnbelievableError(f"ID token: {in_a_line(error)}") from error


# --- seals ------------------------------------------------------------------------------------------------------
class Seal:
    """Texts that only holders of a provider's client secret can read: what the hub keeps of a sign-in (RFC 7516)."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        material = hashlib.sha256(f"towpath sign-in\0{client_id}\0{client_secret}".encode()).digest()
        self._key = OctKey.import_key(material)

    def close(self, text: str) -> str:
        """The sealed text."""
        return jwe.encrypt_compact(_SEAL, text.encode(), self._key, algorithms=_SEALS)

    def open(self, sealed: str) -> str:
        """The text. Raises UnbelievableError when it was sealed with another secret, or changed."""
        try:
            found = jwe.decrypt_compact(sealed.encode(), self._key, algorithms=_SEALS)
        except (JoseError, ValueError) as error:
            raise UnbelievableError("sealed with another client secret") from error
        return (found.plaintext or b"").decode()
