"""Reading what a provider says of somebody: claims as values.

Owns: where a claim is found, and what counts as a text, a list of groups, a yes. Refuses to know signatures and who may
enter. Pure functions. What is malformed is as good as not there: nothing is guessed.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

GROUPS_MAX: Final = 2000
GROUP_NAME_MAX: Final = 255
DEEPEST: Final = 8
OVERAGE: Final = "_claim_names"
"""Where Entra ID and others say that a list was too long for the token (OpenID Connect Core section 5.6.2)."""


def find(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of that name, or, where there is none, what the dots lead to (`realm_access.roles`); None: nothing."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split(".")[:DEEPEST]:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def text(claims: Mapping[str, Any], path: str) -> str:
    """A claim that is a text (one that UTF-8 can hold) or a whole number; else `""`."""
    value = find(claims, path)
    if isinstance(value, str):
        return value if whole(value) else ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def whole(value: str) -> bool:
    """Whether it can be written down: JSON lets somebody send half a character (RFC 8259 section 8.2)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def texts(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """All texts of a claim: of a list each, of a text itself. Doubles are left out, the order stays."""
    value = find(claims, path)
    entries: Iterable[Any] = value if isinstance(value, list) else (value,)
    return tuple(dict.fromkeys(entry for entry in entries if isinstance(entry, str) and entry))


def groups(claims: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
    """The groups that a claim names; None when the provider says nothing of them (which is not the same as none).

    A leading slash (Keycloak's full paths) is no part of a name.
    """
    value = find(claims, path)
    if not isinstance(value, list | str):
        return None
    named = (name.removeprefix("/") for name in texts(claims, path))
    return tuple(sorted({name for name in named if printable(name)}))[:GROUPS_MAX]


def printable(name: str) -> bool:
    """Whether a group's name can be kept: not empty, not endless, nothing invisible."""
    return 0 < len(name) <= GROUP_NAME_MAX and name.isprintable() and name == name.strip()


def too_many(claims: Mapping[str, Any], path: str) -> bool:
    """Whether the provider left a list out because it was too long."""
    elsewhere = claims.get(OVERAGE)
    return bool(path) and find(claims, path) is None and isinstance(elsewhere, Mapping) and path in elsewhere


def verified_email(claims: Mapping[str, Any]) -> bool:
    """Whether the provider vouches that the e-mail address is this person's: `email_verified` is true (or "true")."""
    value = claims.get("email_verified")
    return value is True or value == "true"


def matches(claims: Mapping[str, Any], wanted: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether every claim named in `wanted` has one of its values, letter for letter."""
    return all(set(texts(claims, path)) & set(values) for path, values in wanted.items())


def missing(claims: Mapping[str, Any], wanted: Iterable[str]) -> tuple[str, ...]:
    """Those of the wanted claims that are not there."""
    return tuple(path for path in wanted if find(claims, path) is None)
