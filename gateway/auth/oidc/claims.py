"""Reading what a provider says of a user: claims as values.

Pure functions. What is malformed counts as absent; nothing is guessed. Each odd shape is reported, so that the log can
say which one it is: providers differ in how they write a list, a name or a time.

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
    """The claim of that name, or else what the dots lead to; None: nothing.

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
    """A user's name: as `text`, or as the only entry of a list."""
    value = find(claims, path)
    return text({"": value[0]}, "") if isinstance(value, list) and len(value) == 1 else text(claims, path)


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
    """All texts of a claim: of a list each, of a text itself. Duplicates are left out, the order is kept."""
    value = find(claims, path)
    entries: Iterable[Any] = value if isinstance(value, list) else (value,)
    return tuple(dict.fromkeys(entry for entry in entries if isinstance(entry, str) and entry))


def groups(claims: Mapping[str, Any], path: str, *, separator: str = "") -> tuple[str, ...]:
    """The groups that a claim names, in alphabetical order. A claim that is absent or malformed names none.

    `separator`: between the groups of a claim that is one text; `""`: such a text is one group. A leading slash
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
    """Whether a group's name can be kept: not empty, not endless, nothing invisible."""
    return 0 < len(name) <= GROUP_NAME_MAX and name.isprintable() and name == name.strip()


def too_many(claims: Mapping[str, Any], path: str) -> bool:
    """Whether the provider left a list of groups out because it was too long (Entra ID's overage)."""
    if not path or find(claims, path) is not None:
        return False
    elsewhere = claims.get(OVERAGE)
    return (isinstance(elsewhere, Mapping) and path in elsewhere) or claims.get("hasgroups") in (True, "true")


def verified_email(claims: Mapping[str, Any]) -> bool:
    """Whether the provider vouches that the e-mail address is this user's: `email_verified` is true (or "true")."""
    value = claims.get("email_verified")
    return value is True or value == "true"


def matches(claims: Mapping[str, Any], wanted: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether every claim named in `wanted` has one of its values, letter for letter."""
    return all(set(texts(claims, path)) & set(values) for path, values in wanted.items())


def missing(claims: Mapping[str, Any], wanted: Iterable[str]) -> tuple[str, ...]:
    """Those of the wanted claims that are absent."""
    return tuple(path for path in wanted if find(claims, path) is None)


def with_numeric_times(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims with times that are written as text (`"1795987161"`) as numbers."""
    return {
        name: int(value) if name in TIMES and isinstance(value, str) and _DIGITS.fullmatch(value) else value
        for name, value in claims.items()
    }


def odd_shapes(claims: Mapping[str, Any], *, name: str, groups_: str, separator: str) -> list[str]:
    """What is unusual about how the claims are written, one sentence for the log each. `name`, `groups_`: the paths."""
    found = [f"The claim {time} is text, not a number." for time in TIMES if isinstance(claims.get(time), str)]
    value = find(claims, name)
    if isinstance(value, list):
        found.append(f"The claim {name} is a list of {len(value)}; one name is expected.")
    elif value is not None and not text(claims, name):
        found.append(f"The claim {name} is {_kind(value)}, and not a name.")
    value = find(claims, groups_) if groups_ else None
    if isinstance(value, str) and not separator and _LIKE_A_LIST.search(value):
        found.append(
            f"The claim {groups_} is one text that looks like several groups, and is taken for one group."
            " Set groups_separator if it is a list."
        )
    elif isinstance(value, list) and not all(isinstance(entry, str) for entry in value):
        found.append(f"The claim {groups_} lists more than names of groups; the rest is ignored.")
    elif value is not None and not isinstance(value, str | list):
        found.append(f"The claim {groups_} is {_kind(value)}, and not a list of groups; it names none.")
    return found


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "true or false" if isinstance(value, bool) else "a number" if isinstance(value, int | float) else "a text"
