"""Converts a raw mapping to typed tables, value by value, so that all errors are reported together."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Struct

from state.settings.kind_tables import options_type, other_tables
from state.settings.renamed_keys import MOVED, new_name

Say = Callable[[str, str], None]
"""Report a fault: key, message."""


def read_struct(kind: type[Struct], raw: Any, at: str, textual: frozenset[str], say: Say) -> Any:
    """Return a Struct of this type from a mapping. Faulty values get their default, so that the rest is checked too.

    None if a key without a default is faulty or missing. A table with a kind has a table named after that kind, which
    becomes its `options`. `textual`: keys whose values are text (from the environment).
    """
    if not isinstance(raw, Mapping):
        say(at, "this must be a table.")
        return None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found, whole = {}, True
    own = options_type(kind, raw)
    if own is not None:
        fields.pop("options")
        found = _options(own, raw, at, textual, say)
    for key, value in raw.items():
        if own is not None and key == raw.get("kind") and key not in fields:
            continue
        where = f"{at}.{key}" if at else str(key)
        if key not in fields:
            say(
                where,
                other_tables(kind, raw, str(key)) or unknown(key, [*fields, *(own or ())]),
            )
            continue
        try:
            found[key] = _value(fields[key].type, value, where, textual, say)
        except _FaultyError:
            whole = whole and not fields[key].required
    for key, field in fields.items():
        if field.required and key not in raw:
            say(f"{at}.{key}" if at else key, "this key is missing. Add it.")
            whole = False
    return kind(**found) if whole else None


def _options(
    own: Mapping[str, type[Struct]], raw: Mapping[str, Any], at: str, textual: frozenset[str], say: Say
) -> dict[str, Any]:
    """Return the options of a table's kind; none if it has none or is unknown, which is reported elsewhere."""
    for key, table in own.items():
        if key in raw or any(field.required for field in msgspec.structs.fields(table)):
            return {"options": read_struct(table, raw.get(key, {}), f"{at}.{key}", textual, say)}
    return {}


class _FaultyError(Exception):
    """A value is wrong, and the error has been reported."""


def _value(kind: Any, raw: Any, at: str, textual: frozenset[str], say: Say) -> Any:
    inner = _inner(kind)
    if isinstance(inner, type) and issubclass(inner, Struct):
        return _whole(read_struct(inner, raw, at, textual, say))
    origin, args = get_origin(inner), get_args(inner)
    if origin is tuple and isinstance(args[0], type) and issubclass(args[0], Struct):
        if not isinstance(raw, list):
            say(at, f"this must be a list of tables: [[{at}]].")
            raise _FaultyError
        items = [read_struct(args[0], item, f"{at}[{number}]", textual, say) for number, item in enumerate(raw, 1)]
        return tuple(item for item in items if item is not None)
    if origin is dict and isinstance(args[1], type) and issubclass(args[1], Struct):
        if not isinstance(raw, Mapping):
            say(at, "this must be a table of tables.")
            raise _FaultyError
        tables = {key: read_struct(args[1], item, f"{at}.{key}", textual, say) for key, item in raw.items()}
        return {key: item for key, item in tables.items() if item is not None}
    if at in textual and origin is tuple:
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    try:
        return msgspec.convert(raw, kind, strict=at not in textual)
    except msgspec.ValidationError as error:
        say(at, f"{_plain(str(error))}.")
        raise _FaultyError from error


def _inner(kind: Any) -> Any:
    """Return the type without `| None`."""
    if isinstance(kind, UnionType) or get_origin(kind) is not None:
        rest = [one for one in get_args(kind) if one is not type(None)]
        if isinstance(kind, UnionType) and len(rest) == 1:
            return rest[0]
    return kind


def _whole(value: Any) -> Any:
    if value is None:
        raise _FaultyError
    return value


def unknown(key: object, known: Iterable[str]) -> str:
    """Return what is wrong with an unknown key, and which one may be meant."""
    known = list(known)
    if new := new_name(key, known):
        return f"this key is now called {new}. Rename it."
    if isinstance(key, str) and key in MOVED:
        return f"this key is now in {MOVED[key]}. Move it there."
    near = difflib.get_close_matches(str(key), known, n=1)
    return f"there is no such key. Did you mean {near[0]}?" if near else "there is no such key."


def _plain(message: str) -> str:
    """Translate a message of msgspec, which uses Python's names of types."""
    names = {
        "`int`": "a whole number",
        "`float`": "a number",
        "`str`": "text",
        "`bool`": "true or false",
        "`array`": "a list",
        "`object`": "a table",
        "`null`": "nothing",
    }
    for type_name, plain in names.items():
        message = message.replace(type_name, plain)
    message = re.sub(r" - at `[^`]*`$", "", message).replace("`", "")
    return message[:1].lower() + message[1:]
