"""Distinguished names (RFC 4514): escape values, and compare a name with a base. Pure.

Does not know the matching rules of attributes: names that only a directory would treat as equal are different here. So
an entry is rather left out of a base than included by mistake.
"""

import re
from typing import Final

_SPECIAL: Final = frozenset('"+,;<>\\=')
_COMMA: Final = re.compile(r"(?<!\\)((?:\\\\)*),")
_ESCAPED: Final = re.compile(rb"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


def escaped(value: str) -> str:
    """Escape a value for a name (RFC 4514 section 2.4), so that it cannot end the value or begin another."""
    out = ["\\00" if one == "\0" else f"\\{one}" if one in _SPECIAL else one for one in value]
    if value.startswith((" ", "#")):
        out[0] = f"\\{value[0]}"
    if value.endswith(" "):
        out[-1] = "\\ "
    return "".join(out)


def parts(name: str) -> tuple[str, ...]:
    """Return the relative names, each normalised: lowercase, one way of escaping, no surrounding spaces."""
    split = _COMMA.split(name)
    # The split returns pairs of backslashes before a comma as separate pieces.
    pieces = [split[at] + (split[at + 1] if at + 1 < len(split) else "") for at in range(0, len(split), 2)]
    return tuple(_plain(piece) for piece in pieces) if name.strip() else ()


def _plain(piece: str) -> str:
    attribute, _, value = piece.partition("=")
    bare = _without_spaces_behind(value.lstrip(" "))
    return (
        f"{attribute.strip().casefold()}={_ESCAPED.sub(_unescaped, bare.encode()).decode(errors='replace').casefold()}"
    )


def _without_spaces_behind(value: str) -> str:
    """Strip trailing spaces, but for one that is escaped: it belongs to the value."""
    bare = value.rstrip(" ")
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return value[: len(bare) + 1] if backslashes % 2 else bare


def _unescaped(match: re.Match[bytes]) -> bytes:
    text = match[1]
    return bytes([int(text, 16)]) if len(text) == 2 else text  # noqa: PLR2004 - two hex digits


def under(name: str, base: str) -> bool:
    """Return whether the entry with this name is `base` or below it."""
    whole, end = parts(name), parts(base)
    return bool(whole) and bool(end) and whole[-len(end) :] == end
