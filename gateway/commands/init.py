"""`towpath init [PATH]`: writes a commented configuration with every key at its default."""

import argparse
from importlib.resources import files

from state.errors import TowpathError


def run(options: argparse.Namespace) -> int:
    """Write the file. An existing file is not changed. Raises TowpathError if the file cannot be written."""
    text = files("gateway.commands").joinpath("towpath.toml").read_text()
    try:
        with options.path.open("x") as file:
            file.write(text)
    except FileExistsError as error:
        raise TowpathError(f"{options.path} already exists and was not changed. Choose another path.") from error
    except OSError as error:
        raise TowpathError(f"Cannot write {options.path}: {error.strerror}.") from error
    print(f"Wrote {options.path}. Edit it, then run: towpath check --config {options.path}")
    return 0
