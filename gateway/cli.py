"""The command line: `towpath serve|gateway|controller|init|check|store|edge|token|connect|import-jupyterhub|version`.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. An error is a sentence on stderr, without a traceback.
A command's module is imported when the command runs, so that none loads what it does not use.
"""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from state.errors import ConfigError, TowpathError, UsageError

INVITATION_SECONDS: Final = 3600
SECONDS_MOST: Final = 100 * 365 * 24 * 3600


def _port(raw: str) -> int:
    port = int(raw)
    if not 0 <= port <= 65535:  # noqa: PLR2004 - the range of a port
        raise ValueError
    return port


def _count(raw: str) -> int:
    count = int(raw)
    if not 1 <= count <= 256:  # noqa: PLR2004 - as in the configuration
        raise ValueError
    return count


def _seconds(raw: str) -> int:
    seconds = int(raw)
    if not 1 <= seconds <= SECONDS_MOST:
        raise ValueError
    return seconds


_port.__name__ = "port (0 to 65535)"
_count.__name__ = "number of workers (1 to 256)"
_seconds.__name__ = "number of seconds (1 or more)"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(prog="towpath", description="A notebook hub for HPC.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add = _adder(commands)
    for name, text in (
        ("serve", "Run the whole hub on this machine."),
        ("gateway", "Run only gateway workers (needs a Redis URL)."),
    ):
        sub = add(name, text, f"serve:{name}")
        sub.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
        sub.add_argument("--port", type=_port, help="port to listen on; 0: a free one (default: 8000)")
        sub.add_argument("--workers", type=_count, help="worker processes (default: one per core, at most 4)")
        if name == "gateway":
            _gateway_actions(sub)
        else:
            _take_over(sub)
    sub = add("controller", "Run only the controller (needs a Redis URL).", "controller:run")
    _take_over(sub)
    _controller_actions(sub)
    sub = add("init", "Write a commented configuration.", "init:run")
    sub.add_argument("path", type=Path, nargs="?", default=Path("towpath.toml"), metavar="PATH")
    sub = add("check", "Check the configuration, the state store and every cluster.", "check:run")
    sub.add_argument("--part", choices=("all", "gateway", "controller", "edge"), default="all", help="what to check")
    sub.add_argument("--json", action="store_true", help="one JSON object per line")
    _store_actions(commands)
    _edge_arguments(add("edge", "Print a ready configuration for the proxy in front of the hub.", "edge:run"))
    sub = add("token", "Print a new API token for a user of the running hub.", "token:run")
    sub.add_argument("user", metavar="USER")
    sub.add_argument(
        "--scope",
        action="append",
        default=[],
        metavar="S",
        help="a scope of the token (may be repeated); default: all scopes of USER",
    )
    sub.add_argument("--expires-in", type=_seconds, metavar="SECONDS", help="default: never")
    sub.add_argument("--note", default="", metavar="TEXT", help="a note that says what the token is for")
    sub = add(
        "import-jupyterhub",
        "Copy users, groups, tokens and shares from a JupyterHub database.",
        "import_jupyterhub:run",
    )
    sub.add_argument("database", type=Path, metavar="FILE", help="its database: jupyterhub.sqlite")
    sub.add_argument(
        "--apply", action="store_true", help="write to the store; without this, only print what would be imported"
    )
    text = "SSH into the jobs of a hub, from your own computer: the same as towpath-connect."
    sub = commands.add_parser("connect", help=text, description=text, add_help=False)
    sub.set_defaults(run="connect:run")
    sub.add_argument("arguments", nargs=argparse.REMAINDER)
    add("version", "Print the version.", "version:run")
    return top


def _adder(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> Callable[..., argparse.ArgumentParser]:
    """Return a function that adds a command. Its `run` is the `MODULE:FUNCTION` in `gateway.commands`.

    `nested`: a subcommand of a command. Options that were given before its name keep their values.
    """

    def add(name: str, text: str, run: str, *, nested: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        unset = argparse.SUPPRESS if nested else None
        sub.add_argument(
            "--config",
            type=Path,
            default=unset,
            metavar="FILE",
            help="the configuration (default: ./towpath.toml,"
            " then /etc/towpath/towpath.toml, then the one-machine defaults)",
        )
        sub.add_argument(
            "--data-dir",
            type=Path,
            default=unset,
            metavar="DIR",
            help="where the hub keeps its data (default: $TOWPATH_DATA_DIR, then $XDG_STATE_HOME/towpath)",
        )
        return sub

    return add


def _edge_arguments(edge: argparse.ArgumentParser) -> None:
    edge.add_argument("edge", metavar="NAME", help="the proxy, such as nginx, caddy, haproxy, apache or envoy")
    edge.add_argument("--certificate", default="", metavar="FILE", help="the TLS certificate with its chain (PEM)")
    edge.add_argument("--key", default="", metavar="FILE", help="its key (PEM)")
    edge.add_argument("--address", default="", metavar="IP", help="address to listen on (default: all)")
    edge.add_argument(
        "--redirect-port",
        type=_port,
        default=80,
        metavar="PORT",
        help="port of plain HTTP, which redirects to HTTPS; 0: none (default: 80)",
    )
    edge.add_argument(
        "--gateway",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="where the edge reaches a gateway (may be repeated); default: as configured in [gateway]",
    )


def _gateway_actions(gateway: argparse.ArgumentParser) -> None:
    add = _adder(gateway.add_subparsers(dest="action", metavar="ACTION", required=False))
    sub = add("join", "Get this gateway's certificates from the hub's controller.", "join:run", nested=True)
    _token_file(sub)


def _controller_actions(controller: argparse.ArgumentParser) -> None:
    add = _adder(controller.add_subparsers(dest="action", metavar="ACTION", required=False))
    sub = add(
        "invite", "Print a one-time token with which a gateway or a controller joins.", "controller:run", nested=True
    )
    sub.add_argument("--role", choices=("gateway", "controller"), default="gateway", help="what joins with it")
    sub.add_argument(
        "--expires-in", type=_seconds, default=INVITATION_SECONDS, metavar="SECONDS", help="default: an hour"
    )
    sub = add("join", "Get the hub's authority from the controller that has it.", "controller:run", nested=True)
    _token_file(sub)
    sub.add_argument("--replace", action="store_true", help="replace an existing authority")


def _take_over(sub: argparse.ArgumentParser) -> None:
    text = "take over a local cluster from a machine that no longer exists; its servers count as lost"
    sub.add_argument("--take-over", action="store_true", help=text)


def _store_actions(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "Look after the state store."
    store = commands.add_parser("store", help=text, description=text)
    add = _adder(store.add_subparsers(dest="action", metavar="ACTION", required=True))
    sub = add("check", "Check the store's files and every record in it.", "store:check")
    sub.add_argument("--fix", action="store_true", help="repair what can be repaired; what is taken out is kept")


def _token_file(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--token-file", type=Path, metavar="FILE", help="the file with the token (default: stdin)")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    module, _, function = options.run.partition(":")
    try:
        run = cast(
            "Callable[[argparse.Namespace], int]", getattr(import_module(f"gateway.commands.{module}"), function)
        )
        return run(options)
    except ConfigError as error:
        for fault in error.faults:
            print(f"towpath: {fault}", file=sys.stderr)
        return 1 if options.command == "check" else 2
    except TowpathError as error:
        print(f"towpath: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output has ended
        return 1
