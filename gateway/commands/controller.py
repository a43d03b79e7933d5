"""`towpath controller [invite|join]`: executes the command of `batch`, which the gateway never imports."""

import argparse
import os
import sys

from state.settings.loader import load


def run(given: argparse.Namespace) -> int:
    """Replace this process with the command.

    The configuration is loaded first, so that its errors are reported here.
    """
    settings = load(given.config, given.data_dir)
    arguments = ["--data-dir", str(settings.data_dir)]
    if settings.config_path is not None:
        arguments += ["--config", str(settings.config_path)]
    match given.action:
        case None:
            arguments += ["--take-over"] if given.take_over else []
        case "invite":
            arguments += ["--role", given.role, "--expires-in", str(given.expires_in)]
        case "join":
            arguments += ["--replace"] if given.replace else []
            arguments += ["--token-file", str(given.token_file)] if given.token_file else []
    command = given.action or "controller"
    os.execv(sys.executable, [sys.executable, "-m", "batch", command, *arguments])  # noqa: S606
