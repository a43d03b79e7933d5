"""What Slurm on the dev cluster printed and answered, kept as files: input for the parsers' tests.

Here that of 22.05.8; in folders that of 24.11.5 (by REST 0.0.42) and 26.05.5 (0.0.45), of a cluster in the same state.
Of the accounting's JSON the steps are cut to what is read of them.
"""

import json
from pathlib import Path
from typing import Any

VERSIONS = ("22.05", "24.11", "26.05")


def text(name: str, version: str = VERSIONS[0]) -> str:
    """Return a file's content."""
    folder = Path(__file__).parent
    return (folder / name if version == VERSIONS[0] else folder / version / name).read_text()


def answer(name: str, version: str = VERSIONS[0]) -> Any:
    """Return the value of a JSON file."""
    return json.loads(text(name, version))
