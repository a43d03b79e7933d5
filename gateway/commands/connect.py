"""`towpath connect`: the client for SSH into jobs, which users otherwise install by itself."""

import argparse

from portal.client.towpath_connect import main


def run(options: argparse.Namespace) -> int:
    """Run it with its own arguments."""
    return main(options.arguments)
