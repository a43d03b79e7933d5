"""The commands of the batch side: `python -m batch controller|check|tls|invite|join`.

Exit codes: 0 success, 1 failure, 2 invalid usage or configuration.
"""

import argparse
import asyncio
import logging
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from state.errors import ConfigError, TowpathError
from state.exit_reason import leave_reason
from state.records.joining import INVITATION_SECONDS
from state.settings.loader import load


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m batch", description="Towpath's batch side.")
    commands = top.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", default=None, metavar="FILE")
    common.add_argument("--data-dir", default=None, metavar="DIR")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=text)

    with_gateway = "also create the certificates of a gateway on this data directory"
    sub = add("controller", "run a controller: lead or stand by")
    sub.add_argument("--holder", default="", help="name of the lease's holder; the same name takes over immediately")
    sub.add_argument("--with-gateway", action="store_true", help=with_gateway)
    sub.add_argument("--take-over", action="store_true", help="take over a cluster from a machine that is gone")
    add("check", "check every cluster; print one JSON object per line")
    sub = add("tls", "create the hub's certificates and renew expiring ones")
    sub.add_argument("--with-gateway", action="store_true", help=with_gateway)
    sub = add("invite", "print a one-time token for a gateway or controller to join")
    sub.add_argument("--role", choices=("gateway", "controller"), default="gateway")
    sub.add_argument("--expires-in", type=float, default=INVITATION_SECONDS, metavar="SECONDS")
    sub = add("join", "join the hub with a token")
    sub.add_argument("--token-file", type=Path, default=None, metavar="FILE")
    sub.add_argument("--replace", action="store_true")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        return asyncio.run(_run(arguments))
    except ConfigError as error:
        leave_reason(str(error))
        sys.stderr.write(f"{error}\n")
        return 2
    except TowpathError as error:
        leave_reason(str(error))
        sys.stderr.write(f"{error}\n")
        return 1
    except Exception as error:
        leave_reason(f"{type(error).__name__}: {error}")
        raise
    except KeyboardInterrupt:
        return 0


async def _run(options: argparse.Namespace) -> int:
    """Run the command. Each one imports only what it needs."""
    settings = load(options.config, options.data_dir)
    match options.command:
        case "controller":
            from batch.commands.controller import control  # noqa: PLC0415

            holder = options.holder or f"{socket.gethostname()}-{secrets.token_hex(4)}"
            return await control(settings, holder, with_gateway=options.with_gateway, take_over=options.take_over)
        case "check":
            from batch.commands.check import check  # noqa: PLC0415

            return await check(settings)
        case "tls":
            from batch.commands.certificates import tls  # noqa: PLC0415

            return await tls(settings, with_gateway=options.with_gateway)
        case "invite":
            from batch.commands.certificates import invite  # noqa: PLC0415

            return await invite(settings, options.role, lifetime=options.expires_in)
        case _:
            from batch.commands.certificates import join  # noqa: PLC0415

            return await join(settings, options.token_file, replace=options.replace)


if __name__ == "__main__":
    sys.exit(main())
