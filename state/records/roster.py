"""A course roster: a CSV file with one person a line.

Owns: how it is read, and what is wrong with it, line by line. Refuses to know users, groups and requests. Pure.

The first line names the columns; one of `COLUMNS` holds the hub's names, all others are left alone. Commas, semicolons
and tabs separate (what the first line uses). Sources: RFC 4180; spreadsheets' habits (a byte order mark, semicolons).
"""

import csv
import io
from typing import Final

from msgspec import Struct

from state.errors import NameRuleError
from state.names import user_name

COLUMNS: Final = ("user", "username", "login", "name")
LINES_MAX: Final = 20_000
_SEPARATORS: Final = ",;\t"


class Roster(Struct, frozen=True):
    """Who is in it, in order, and what is wrong as (line, sentence). With a fault it is not to be used."""

    names: tuple[str, ...]
    faults: tuple[tuple[int, str], ...]
    lines: dict[str, int]
    """At which line each name stands."""


def read(text: str) -> Roster:
    """A roster from its text. Never raises: what is wrong is in `faults`."""
    text = text.removeprefix("\ufeff")
    head = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    faults: list[tuple[int, str]] = []
    lines: dict[str, int] = {}
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        column = next((header.index(name) for name in COLUMNS if name in header), None)
        if column is None:
            return _refused(1, f"The first line names the columns, and one of them is {' or '.join(COLUMNS)}.")
        for row in rows:
            at = rows.line_num
            if not any(cell.strip() for cell in row):
                continue
            if len(lines) >= LINES_MAX:
                return _refused(at, f"More than {LINES_MAX} people.")
            fault = _take(row, column, at, lines)
            if fault:
                faults.append((at, fault))
    except csv.Error as error:
        return _refused(rows.line_num, f"This cannot be read as CSV: {error}.")
    if not lines and not faults:
        return _refused(1, "There is nobody in it.")
    return Roster(tuple(lines), tuple(faults), lines)


def _take(row: list[str], column: int, at: int, lines: dict[str, int]) -> str:
    """Put the row's name into `lines`; what is wrong with it, or nothing."""
    raw = row[column].strip() if column < len(row) else ""
    if not raw:
        return "There is no name in this line."
    try:
        name = user_name(raw)
    except NameRuleError as error:
        return f"{raw[:80]!r} cannot be a user. {error}"
    if name in lines:
        return f"{name} is there twice: first in line {lines[name]}."
    lines[name] = at
    return ""


def _refused(line: int, words: str) -> Roster:
    return Roster((), ((line, words),), {})
