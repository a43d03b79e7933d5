"""`towpath version`."""

import argparse
from importlib.metadata import version


def run(_: argparse.Namespace) -> int:
    """Print the distribution's version."""
    print(f"towpath {version('towpath')}")
    return 0
