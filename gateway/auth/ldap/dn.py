"""Distinguished names (RFC 4514): values put into them, and whether one lies under another. Pure.

Refuses to know attributes' matching rules: two names that only a directory would call the same are different here, so
that what is to lie under a base is rather left out than let in.
"""

import re
from typing import Final

_SPECIAL: Final = frozenset('"+,;<>\\=')
_COMMA: Final = re.compile(r"(?<!\\)((?:\\\\)*),")
_ESCAPED: Final = re.compile(rb"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


def escaped(value: str) -> str:
    """A value as it stands in a name (RFC 4514 section 2.4): none can end it or begin another."""
    out = ["\\00" if one == "\0" else f"\\{one}" if one in _SPECIAL else one for one in value]
    if value.startswith((" ", "#")):
        out[0] = f"\\{value[0]}"
    if value.endswith(" "):
        out[-1] = "\\ "
    return "".join(out)


def parts(name: str) -> tuple[str, ...]:
    """The relative names, each in one form: small letters, one way to escape, no spaces around. `""`: none."""
    split = _COMMA.split(name)
    # The pairs of backslashes before a comma come as pieces of their own.
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
    """Whether the entry of this name is `base`, or below it."""
    whole, end = parts(name), parts(base)
    return bool(whole) and bool(end) and whole[-len(end) :] == end
