"""Search filters of the configuration, with values for their placeholders (RFC 4515). Pure.

A filter is parsed once, into a tree, and values are put into the tree as bytes, which are sent with their length. So no
value can become part of the filter. Does not know what is searched for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from sansldap import FilterEquality, FilterOr, LDAPFilter


def parsed(text: str) -> LDAPFilter:
    """Parse a filter. Raises ValueError if the syntax is invalid."""
    return LDAPFilter.from_string(text)


def filled(template: LDAPFilter, values: Mapping[str, str]) -> LDAPFilter:
    """Return the filter with its placeholders (`{name}`, `{dn}`) replaced in all assertion values."""
    by = {f"{{{name}}}".encode(): value.encode() for name, value in values.items()}

    def put(part: Any) -> Any:
        if isinstance(part, bytes):
            # All at once, because a value may contain the text of another placeholder.
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
    """A value that has been inserted."""


def _split(piece: bytes, mark: bytes, value: bytes) -> Iterable[bytes]:
    if isinstance(piece, _Put):
        return [piece]
    first, *rest = piece.split(mark)
    return [first, *(new for each in rest for new in (_Put(value), each))]


def placeholders(template: LDAPFilter) -> frozenset[str]:
    """Return which of the known placeholders a filter contains."""
    text = str(template)
    return frozenset(name for name in ("name", "dn") if f"{{{name}}}" in text)


def either(filters: list[LDAPFilter]) -> LDAPFilter:
    """Return a filter that matches any of the given ones (at least one)."""
    return filters[0] if len(filters) == 1 else FilterOr(filters)


def equals(attribute: str, value: str) -> LDAPFilter:
    """Return a filter for one value of one attribute."""
    return FilterEquality(attribute, value.encode())
