"""`towpath controller`: hands over to the batch side, which the web side never imports."""

import argparse
import os
import sys

from state.settings.loader import load


def run(given: argparse.Namespace) -> int:
    """Become `python -m batch controller`. The configuration is checked first, so that faults are said here."""
    settings = load(given.config, given.data_dir)
    arguments = ["--data-dir", str(settings.data_dir)]
    if settings.config_path is not None:
        arguments += ["--config", str(settings.config_path)]
    os.execv(sys.executable, [sys.executable, "-m", "batch", "controller", *arguments])  # noqa: S606
