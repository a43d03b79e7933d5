"""`towpath controller [invite|join]`: executes the command of `batch`, which the gateway never imports."""

import argparse
import os
import sys

from state.settings.loader import load


def run(options: argparse.Namespace) -> int:
    """Replace this process with the command.

    The configuration is loaded first, so that its errors are reported here.
    """
    settings = load(options.config, options.data_dir)
    arguments = ["--data-dir", str(settings.data_dir)]
    if settings.config_path is not None:
        arguments += ["--config", str(settings.config_path)]
    match options.action:
        case None:
            arguments += ["--take-over"] if options.take_over else []
        case "invite":
            arguments += ["--role", options.role, "--expires-in", str(options.expires_in)]
        case "join":
            arguments += ["--replace"] if options.replace else []
            arguments += ["--token-file", str(options.token_file)] if options.token_file else []
    command = options.action or "controller"
    os.execv(sys.executable, [sys.executable, "-m", "batch", command, *arguments])  # noqa: S606
