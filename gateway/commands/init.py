"""`towpath init [PATH]`: a commented configuration to begin with. Every key that there is, at its default."""

import argparse
from importlib.resources import files

from state.errors import TowpathError


def run(given: argparse.Namespace) -> int:
    """Write the file; an existing one is left as it is."""
    text = files("gateway.commands").joinpath("towpath.toml").read_text()
    try:
        with given.path.open("x") as file:
            file.write(text)
    except FileExistsError as error:
        raise TowpathError(f"{given.path} exists already, and is left as it is. Give another path.") from error
    except OSError as error:
        raise TowpathError(f"Cannot write {given.path}: {error.strerror}.") from error
    print(f"Wrote {given.path}. Read it, then: towpath check --config {given.path}")
    return 0
