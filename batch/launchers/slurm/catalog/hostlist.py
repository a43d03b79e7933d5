"""Slurm's hostlist expressions, such as `cn[01-03,7],gpu1`, as names of nodes.

Owns their grammar (scontrol(1), `show hostnames`). Pure. What is not understood has no names.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

NAMES_MAX: Final = 100_000
_PART: Final = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_PIECE: Final = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", re.ASCII)


def nodes_in(expression: str) -> frozenset[str]:
    """Return the names. An expression with too many is as one that is not understood."""
    found: set[str] = set()
    for part in _PART.findall(expression):
        pieces = [_numbers(numbers) if numbers else [text] for numbers, text in _PIECE.findall(part)]
        size = 1
        for piece in pieces:
            size *= len(piece)
        if len(found) + size > NAMES_MAX:
            return frozenset()
        found.update(map("".join, product(*pieces)))
    return frozenset(found)


def _numbers(text: str) -> list[str]:
    """Return the numbers of a bracket: `01-03,7` are `01`, `02`, `03` and `7`. Nothing, if one cannot be read."""
    found: list[str] = []
    for one in text.split(","):
        read = _RANGE.fullmatch(one.strip())
        if read is None or (read[2] and int(read[2]) - int(read[1]) >= NAMES_MAX):
            return []
        found.extend(_counted(read[1], read[2] or read[1]))
    return found


def _counted(first: str, last: str) -> Iterator[str]:
    return (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
