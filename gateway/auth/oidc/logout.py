"""Checks logout tokens of providers.

Owns the checks of OpenID Connect Back-Channel Logout 1.0 section 2.6, except for the signature and the replay of its
`jti` (which needs the store). Does not know about sessions. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.auth.oidc.claims import is_encodable
from gateway.auth.oidc.errors import InvalidResponseError

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
TYPES: Final = ("logout+jwt", "jwt", "")
AGE_MAX: Final = 300
"""Seconds after which a logout token has expired, even if its `exp` is later."""
NAME_MAX: Final = 255


class Ended(NamedTuple):
    """The sessions that have ended: all of `subject`, or only the session `sid`. One of them may be empty."""

    subject: str
    sid: str
    jti: str


def check_logout_token(
    header: Mapping[str, Any],
    claims: Mapping[str, Any],
    *,
    issuers: Sequence[str],
    client_id: str,
    now: float,
    leeway: int,
) -> Ended:
    """Check a token with a valid signature and return whose session has ended. Raises InvalidResponseError."""

    def need(good: object, claim: str) -> None:
        if not good:
            raise InvalidResponseError(f"logout token: {claim} is wrong", claim=claim)

    need(str(header.get("typ", "")).lower() in TYPES, "typ")
    need(claims.get("iss") in issuers, "iss")
    audience = claims.get("aud")
    need(client_id in audience if isinstance(audience, list) else client_id == audience, "aud")
    issued, expires = _time(claims, "iat"), _time(claims, "exp") if "exp" in claims else now
    need(now - AGE_MAX - leeway <= issued <= now + leeway, "iat")
    need(expires > now - leeway, "exp")
    need("nonce" not in claims, "nonce")
    events = claims.get("events")
    need(isinstance(events, Mapping) and isinstance(events.get(EVENT), Mapping), "events")
    subject, sid, jti = (_name(claims, name) for name in ("sub", "sid", "jti"))
    need(jti, "jti")
    need(subject or sid, "sub")
    return Ended(subject, sid, jti)


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidResponseError(f"logout token: {name} is wrong", claim=name)
    return value


def _name(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > NAME_MAX or not is_encodable(value):
        raise InvalidResponseError(f"logout token: {name} is wrong", claim=name)
    return value
