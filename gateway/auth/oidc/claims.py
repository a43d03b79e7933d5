"""Reads a user's claims.

Pure functions. Malformed claims count as absent. Each unusual shape is reported, so that the log can
name it: providers differ in how they write a list, a name or a time.

Sources: OpenID Connect Core 1.0 sections 5.1 (standard claims), 5.3.2 (a claim that has no value is omitted) and 5.6.2
(distributed claims, by which Entra ID says that a list of groups was too long), RFC 7519 section 2 (NumericDate).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

GROUPS_MAX: Final = 2000
GROUP_NAME_MAX: Final = 255
DEPTH_MAX: Final = 8
STEPS_MAX: Final = 16
"""Parts between dots in a claim's path."""
OVERAGE: Final = "_claim_names"
TIMES: Final = ("exp", "iat", "nbf", "auth_time")
_LIKE_A_LIST: Final = re.compile(r"[,;\s]")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")


def find(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim with this name or path (with dots for nesting); None if it does not exist.

    A name on the way may have dots of its own (`resource_access.my.client.roles`, `https://example.edu/groups`): the
    longest name that exists is taken first.
    """
    steps = path.split(".")
    return _find(claims, steps, DEPTH_MAX) if len(steps) <= STEPS_MAX else claims.get(path)


def _find(value: Any, steps: list[str], depth: int) -> Any:
    if not steps:
        return value
    if not isinstance(value, Mapping) or depth == 0:
        return None
    for end in range(len(steps), 0, -1):
        name = ".".join(steps[:end])
        if name in value:
            found = _find(value[name], steps[end:], depth - 1)
            if found is not None:
                return found
    return None


def name_of(claims: Mapping[str, Any], path: str) -> str:
    """Return a user's name: as `text`, or the only entry of a list."""
    value = find(claims, path)
    return text({"": value[0]}, "") if isinstance(value, list) and len(value) == 1 else text(claims, path)


def text(claims: Mapping[str, Any], path: str) -> str:
    """Return a claim that is valid text or an integer, as text; otherwise `""`."""
    value = find(claims, path)
    if isinstance(value, str):
        return value if is_encodable(value) else ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def is_encodable(value: str) -> bool:
    """Return whether text can be encoded: JSON allows lone surrogates (RFC 8259 section 8.2)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def texts(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Return all texts of a claim, which is a list or one text, without duplicates and in order."""
    value = find(claims, path)
    entries: Iterable[Any] = value if isinstance(value, list) else (value,)
    return tuple(dict.fromkeys(entry for entry in entries if isinstance(entry, str) and entry))


def groups(claims: Mapping[str, Any], path: str, *, separator: str = "") -> tuple[str, ...]:
    """Return the groups of a claim, in alphabetical order; none if the claim is absent or malformed.

    `separator`: between the groups if the claim is one text; `""`: the text is one group. A leading slash
    (Keycloak's full paths) is not part of a name.
    """
    value = find(claims, path)
    if isinstance(value, str) and separator:
        found: Iterable[str] = (part.strip(" ") for part in value.split(separator))
    else:
        found = texts(claims, path)
    named = {name.removeprefix("/") for name in found}
    return tuple(sorted(name for name in named if printable(name)))[:GROUPS_MAX]


def printable(name: str) -> bool:
    """Return whether a group's name is usable: not empty, not too long, only printable characters."""
    return 0 < len(name) <= GROUP_NAME_MAX and name.isprintable() and name == name.strip()


def too_many(claims: Mapping[str, Any], path: str) -> bool:
    """Return whether the provider omitted the groups because there are too many (Entra ID's overage)."""
    if not path or find(claims, path) is not None:
        return False
    elsewhere = claims.get(OVERAGE)
    return (isinstance(elsewhere, Mapping) and path in elsewhere) or claims.get("hasgroups") in (True, "true")


def verified_email(claims: Mapping[str, Any]) -> bool:
    """Return whether the provider has verified the user's e-mail address: `email_verified` is true (or "true")."""
    value = claims.get("email_verified")
    return value is True or value == "true"


def matches(claims: Mapping[str, Any], accepted: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether every claim in `accepted` has one of the listed values, compared exactly."""
    return all(set(texts(claims, path)) & set(values) for path, values in accepted.items())


def missing(claims: Mapping[str, Any], required: Iterable[str]) -> tuple[str, ...]:
    """Return which of the wanted claims are absent."""
    return tuple(path for path in required if find(claims, path) is None)


def with_numeric_times(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims with times that are text (`"1795987161"`) converted to numbers."""
    return {
        name: int(value) if name in TIMES and isinstance(value, str) and _DIGITS.fullmatch(value) else value
        for name, value in claims.items()
    }


def odd_shapes(claims: Mapping[str, Any], *, name: str, groups_: str, separator: str) -> list[str]:
    """Return a sentence for the log for each unusual claim. `name`, `groups_`: the paths of these claims."""
    found = [f"The claim {time} is text, not a number." for time in TIMES if isinstance(claims.get(time), str)]
    value = find(claims, name)
    if isinstance(value, list):
        found.append(f"The claim {name} is a list of {len(value)}; one name is expected.")
    elif value is not None and not text(claims, name):
        found.append(f"The claim {name} is {_kind(value)}, not a name.")
    value = find(claims, groups_) if groups_ else None
    if isinstance(value, str) and not separator and _LIKE_A_LIST.search(value):
        found.append(
            f"The claim {groups_} is one text that looks like several groups. It is treated as one group."
            " Set groups_separator if it is a list."
        )
    elif isinstance(value, list) and not all(isinstance(entry, str) for entry in value):
        found.append(f"The claim {groups_} contains entries that are not names of groups. They are ignored.")
    elif value is not None and not isinstance(value, str | list):
        found.append(f"The claim {groups_} is {_kind(value)}, not a list of groups. It is ignored.")
    return found


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "true or false" if isinstance(value, bool) else "a number" if isinstance(value, int | float) else "a text"
