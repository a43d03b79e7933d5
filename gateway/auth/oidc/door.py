"""The one door to Authlib, joserfc and the HTTP client: requests to a provider, signatures, sealed texts.

Owns: these libraries, bounds on what a provider may send, and the translation of their errors. Refuses to know what
an answer means. No redirect is followed, no proxy is taken from the environment, no cookie is kept.

Sources: RFC 6749, RFC 7636 (PKCE), RFC 7009 (revocation), RFC 7515 and 7517 (signatures and keys), RFC 7516 (seals).
"""

import base64
import hashlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwe, jws
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey, import_key

from gateway.auth.oidc.errors import AwayError, ProviderError, UnbelievableError

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that anybody can check and the provider alone can make: never `none`, never a shared secret (HS...)."""
ANSWER_MAX: Final = 512 * 1024
"""Longest answer of a provider, in bytes."""
CONNECTIONS: Final = 32
KEYS_MAX: Final = 64
DESCRIPTION_MAX: Final = 300

_BASIC: Final = "towpath_basic"
_KINDS: Final[dict[str, type[Key]]] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}
_SEAL: Final = {"alg": "dir", "enc": "A256GCM"}
_SEALS: Final = ("dir", "A256GCM")

logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would note every request with its URL


class Answer(NamedTuple):
    """What a GET found: JSON of any kind, and the next page's URL where there is one."""

    status: int
    value: Any
    next: str = ""


class Bounded(httpx2.AsyncBaseTransport):
    """A transport whose answers end at ANSWER_MAX bytes."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As the inner one. Reading more than the bound raises httpx2.ReadError."""
        response = await self._inner.handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        response.stream = _Counted(stream)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > ANSWER_MAX:
                raise httpx2.ReadError(f"the answer is longer than {ANSWER_MAX} bytes")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


class Client:
    """The hub as one provider's client: a few connections that are kept.

    Every verb raises AwayError; those that ask the token endpoint raise ProviderError too.
    """

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
        """`auth_method`: how the hub proves itself, `basic` or `post`."""
        context = ssl.create_default_context(cafile=ca_file or None)
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=60)
        inner = httpx2.AsyncHTTPTransport(verify=context, limits=limits, proxy=proxy or None, trust_env=False)
        method = "client_secret_post" if auth_method == "post" else _BASIC
        self._oauth: Any = AsyncOAuth2Client(
            client_id=client_id,
            client_secret=client_secret,
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
            code_challenge_method="S256",
            transport=Bounded(inner),
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "Towpath"},
        )
        self._oauth.register_client_auth_method((_BASIC, _basic))

    def leave_for(self, endpoint: str, *, state: str, verifier: str, **parameters: str) -> str:
        """The URL of the authorization request, with its PKCE challenge (S256)."""
        url, _ = self._oauth.create_authorization_url(endpoint, state=state, code_verifier=verifier, **parameters)
        return str(url)

    async def exchange(self, endpoint: str, *, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        """The token endpoint's answer to a code."""
        asked = self._oauth.fetch_token(
            endpoint,
            grant_type="authorization_code",
            code=code,
            code_verifier=verifier,
            redirect_uri=redirect_uri,
        )
        return await self._tokens(asked)

    async def refresh(self, endpoint: str, refresh_token: str) -> dict[str, Any]:
        """The token endpoint's answer to a refresh token, which may bring another one."""
        return await self._tokens(self._oauth.refresh_token(endpoint, refresh_token=refresh_token))

    async def revoke(self, endpoint: str, token: str) -> None:
        """Tell the provider that a refresh token is used no more (RFC 7009)."""
        try:
            await self._oauth.revoke_token(endpoint, token=token, token_type_hint="refresh_token")  # noqa: S106 - a hint
        except (httpx2.HTTPError, OSError) as error:
            raise AwayError(_plain(error)) from error

    async def get(self, url: str, *, bearer: str = "") -> Answer:
        """JSON from an URL, with an access token where one is given."""
        headers = {"Accept": "application/json"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        try:
            response = await self._oauth.request("GET", url, headers=headers, withhold_token=True)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise AwayError(f"{url}: {_plain(error)}") from error
        if response.status_code >= 500 or response.status_code == 429:  # noqa: PLR2004 - HTTP
            raise AwayError(f"{url} answers {response.status_code}")
        try:
            value = response.json()
        except (ValueError, RecursionError) as error:
            if response.status_code in (400, 401, 403):
                value = None  # a refusal need not be JSON (RFC 6750 section 3.1)
            else:
                raise AwayError(f"{url} answers {response.status_code}, and not in JSON") from error
        return Answer(response.status_code, value, str(response.links.get("next", {}).get("url", "")))

    async def close(self) -> None:
        """Close the connections."""
        await self._oauth.aclose()

    async def _tokens(self, asked: Any) -> dict[str, Any]:
        try:
            found = dict(await asked)
        except OAuthError as error:
            raise ProviderError(
                str(error.error)[:DESCRIPTION_MAX], str(error.description or "")[:DESCRIPTION_MAX]
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RecursionError) as error:
            raise AwayError(f"the token endpoint: {_plain(error)}") from error
        finally:
            self._oauth.token = None  # what one person was given is no default for the next
        if not isinstance(found.get("access_token"), str):  # RFC 6749 section 5.1
            raise AwayError("the token endpoint gives no token, and does not say why")
        return found


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


def key_id(token: str) -> str:
    """Which key a token says that it is signed with; `""`: it does not say. Raises UnbelievableError."""
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError, UnicodeEncodeError) as error:
        raise UnbelievableError(f"not a signed token: {_plain(error)}") from error
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise UnbelievableError(f"signed by {algorithm!r:.40}, which is not allowed", claim="alg")
    return str(header.get("kid", ""))


def verified(token: str, keys: Sequence[PublicKey], algorithms: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that one of these keys has signed. Raises UnbelievableError.

    The key is picked by `kid`; without one there must be a single key of the kind that the algorithm needs.
    """
    wanted = key_id(token)

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
        found = jws.deserialize_compact(token.encode(), pick, registry=registry)
        claims = json.loads(found.payload)
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise UnbelievableError(f"the signature does not hold: {_plain(error)}", claim="signature") from error
    if not isinstance(claims, dict):
        raise UnbelievableError("the token holds no claims")
    return dict(found.headers()), claims


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
        raise UnbelievableError(f"ID token: {_plain(error)}", claim=error.claim) from error
    except (JoseError, ValueError, TypeError) as error:
        raise UnbelievableError(f"ID token: {_plain(error)}") from error


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


def _plain(error: Exception) -> str:
    """An error of a library in a line; never a request's body, which may hold a secret."""
    text = str(error).splitlines()[0][:DESCRIPTION_MAX] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
