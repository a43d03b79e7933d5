"""`towpath init [PATH]`: writes a commented configuration with every key at its default."""

import argparse
from importlib.resources import files

from state.errors import TowpathError


def run(given: argparse.Namespace) -> int:
    """Write the file. An existing file is not changed. Raises TowpathError if the file cannot be written."""
    text = files("gateway.commands").joinpath("towpath.toml").read_text()
    try:
        with given.path.open("x") as file:
            file.write(text)
    except FileExistsError as error:
        raise TowpathError(f"{given.path} already exists and was not changed. Choose another path.") from error
    except OSError as error:
        raise TowpathError(f"Cannot write {given.path}: {error.strerror}.") from error
    print(f"Wrote {given.path}. Edit it, then run: towpath check --config {given.path}")
    return 0
