"""Search filters of the configuration, with a value in place of a placeholder (RFC 4515). Pure.

A filter is read once, into a tree, and values are put into the tree: as bytes that travel with their length, so that no
value can be read as a part of the filter. Refuses to know what is searched for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from sansldap import FilterEquality, FilterOr, LDAPFilter


def parsed(text: str) -> LDAPFilter:
    """The tree. Raises ValueError for what is no filter."""
    return LDAPFilter.from_string(text)


def filled(template: LDAPFilter, values: Mapping[str, str]) -> LDAPFilter:
    """The filter with `{name}` and its like replaced in every value that is compared with."""
    by = {f"{{{name}}}".encode(): value.encode() for name, value in values.items()}

    def put(part: Any) -> Any:
        if isinstance(part, bytes):
            # All at once: a value may hold what looks like another's placeholder.
            pieces = [part]
            for mark, value in by.items():
                pieces = [new for old in pieces for new in _split(old, mark, value)]
            return b"".join(pieces)
        if isinstance(part, list):
            return [put(each) for each in part]
        if isinstance(part, LDAPFilter):
            return replace(part, **{each.name: put(getattr(part, each.name)) for each in fields(part) if each.init})
        return part

    made: LDAPFilter = put(template)
    return made


class _Put(bytes):
    """A value that has been put in."""


def _split(piece: bytes, mark: bytes, value: bytes) -> Iterable[bytes]:
    if isinstance(piece, _Put):
        return [piece]
    first, *rest = piece.split(mark)
    return [first, *(new for each in rest for new in (_Put(value), each))]


def placeholders(template: LDAPFilter) -> frozenset[str]:
    """Which of the known placeholders a filter names."""
    text = str(template)
    return frozenset(name for name in ("name", "dn") if f"{{{name}}}" in text)


def either(filters: list[LDAPFilter]) -> LDAPFilter:
    """Any of them; at least one is given."""
    return filters[0] if len(filters) == 1 else FilterOr(filters)


def equals(attribute: str, value: str) -> LDAPFilter:
    """One attribute with one value."""
    return FilterEquality(attribute, value.encode())
