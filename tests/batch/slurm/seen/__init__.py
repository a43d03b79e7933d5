"""What Slurm 22.05.8 of the dev cluster printed, kept as files: input for the parsers' tests."""

import json
from pathlib import Path


def text(name: str) -> str:
    """A file as it is."""
    return (Path(__file__).parent / name).read_text()


def answer(name: str) -> dict:
    """A file of JSON."""
    return json.loads(text(name))
