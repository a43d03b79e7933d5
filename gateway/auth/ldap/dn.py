"""Distinguished names (RFC 4514): values put into them, and whether one lies under another. Pure.

Refuses to know attributes' matching rules: two names that only a directory would call the same are different here, so
that what is to lie under a base is rather left out than let in.
"""

import re
from typing import Final

_SPECIAL: Final = frozenset('"+,;<>\\=')
_ESCAPED: Final = re.compile(r"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


def escaped(value: str) -> str:
    """A value as it stands in a name (RFC 4514 section 2.4): none can end it or begin another."""
    out = "".join(f"\\{character}" if character in _SPECIAL else character for character in value)
    out = out.replace("\0", "\\00")
    if out.startswith((" ", "#")):
        out = f"\\{out}"
    return f"{out[:-1]}\\ " if out.endswith(" ") and not out.endswith("\\ ") else out


def parts(name: str) -> tuple[str, ...]:
    """The relative names, each in one form: small letters, one way to escape, no spaces around. `""`: none."""
    split = re.split(r"(?<!\\)((?:\\\\)*),", name)
    # re.split keeps the pairs of backslashes before a comma as pieces of their own.
    pieces = [split[at] + (split[at + 1] if at + 1 < len(split) else "") for at in range(0, len(split), 2)]
    return tuple(_plain(piece) for piece in pieces) if name.strip() else ()


def _plain(piece: str) -> str:
    attribute, _, value = piece.partition("=")
    return f"{attribute.strip().casefold()}={_ESCAPED.sub(_unescaped, value.strip()).casefold()}"


def _unescaped(match: re.Match[str]) -> str:
    text = match[1]
    return chr(int(text, 16)) if len(text) == 2 else text  # noqa: PLR2004 - two hex digits


def under(name: str, base: str) -> bool:
    """Whether the entry of this name is `base`, or below it."""
    whole, end = parts(name), parts(base)
    return bool(whole) and bool(end) and whole[-len(end) :] == end
