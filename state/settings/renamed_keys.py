"""Configuration keys that were renamed: an old key is an error that names the new one. Pure."""

from collections.abc import Container, Mapping
from typing import Final

RENAMED: Final[Mapping[str, str]] = {
    "holds": "max_session_age",
    "least_uid": "min_uid",
    "same_people": "shared_names",
    "sbatch": "extra",
}
"""Old key → new key. It applies in every table that has the new key."""

MOVED: Final[Mapping[str, str]] = {"way_in": "[[cluster]]"}
"""Key → the table that has it now, where it was in a table of one kind of cluster before."""


def new_name(key: object, known: Container[str]) -> str:
    """Return the new name of a key in a table with these keys; `""` if it was not renamed."""
    new = RENAMED.get(key, "") if isinstance(key, str) else ""
    return new if new in known else ""
