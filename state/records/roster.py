"""A course roster: a CSV file with one user per line.

Owns the parser, which reports errors by line. Does not know users, groups or requests. Pure.

The first line names the columns. One of `COLUMNS` has the usernames; all others are ignored. The separator is a comma,
semicolon or tab, as in the first line. Sources: RFC 4180, and the output of spreadsheets (a byte order mark,
semicolons).
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
    """The usernames in order, and errors as (line, message). A roster with errors must not be used."""

    names: tuple[str, ...]
    faults: tuple[tuple[int, str], ...]
    lines: dict[str, int]
    """The line of each name."""


def read(text: str) -> Roster:
    """Parse a roster. Never raises: errors are in `faults`."""
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
            return _refused(1, f"The first line must name the columns, one of them {' or '.join(COLUMNS)}.")
        for row in rows:
            at = rows.line_num
            if not any(cell.strip() for cell in row):
                continue
            if len(lines) >= LINES_MAX:
                return _refused(at, f"The roster has more than {LINES_MAX} users.")
            fault = _take(row, column, at, lines)
            if fault:
                faults.append((at, fault))
    except csv.Error as error:
        return _refused(rows.line_num, f"This cannot be read as CSV: {error}.")
    if not lines and not faults:
        return _refused(1, "The roster is empty.")
    return Roster(tuple(lines), tuple(faults), lines)


def _take(row: list[str], column: int, line: int, lines: dict[str, int]) -> str:
    """Add the row's name to `lines`. Return an error message, or `""`."""
    raw = row[column].strip() if column < len(row) else ""
    if not raw:
        return "This line has no name."
    try:
        name = user_name(raw)
    except NameRuleError as error:
        return f"{raw[:80]!r} is not a valid username. {error}"
    if name in lines:
        return f"{name} was already in line {lines[name]}."
    lines[name] = line
    return ""


def _refused(line: int, message: str) -> Roster:
    return Roster((), ((line, message),), {})
