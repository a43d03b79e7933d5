"""The command line: `towpath serve|gateway|controller|init|check|token|import-jupyterhub|version`.

Owns: arguments, exit codes (0 done, 1 failed, 2 wrong usage or config) and how an error is said: in words, on
stderr, without a traceback. Refuses to know what a command does.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from gateway.commands import UsageError, check, controller, import_jupyterhub, init, serve, token, version
from state.errors import ConfigError, TowpathError


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration (default: ./towpath.toml,"
        " then /etc/towpath/towpath.toml, then the one-machine defaults)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where the hub keeps its data (default: $TOWPATH_DATA_DIR, then $XDG_STATE_HOME/towpath)",
    )


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


_port.__name__ = "port (0 to 65535)"
_count.__name__ = "number of workers (1 to 256)"


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(prog="towpath", description="A notebook hub for HPC.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        _common(sub)
        return sub

    for name, text, run in (
        ("serve", "Run the whole hub on this machine.", serve.serve),
        ("gateway", "Run gateway workers alone (needs a Redis URL).", serve.gateway),
    ):
        sub = add(name, text, run)
        sub.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
        sub.add_argument("--port", type=_port, help="port to listen on; 0: a free one (default: 8000)")
        sub.add_argument("--workers", type=_count, help="worker processes (default: one per core, at most 4)")
    add("controller", "Run the controller alone (needs a Redis URL).", controller.run)
    sub = add("init", "Write a commented configuration.", init.run)
    sub.add_argument("path", type=Path, nargs="?", default=Path("towpath.toml"), metavar="PATH")
    add("check", "Check the configuration, the state store and every cluster.", check.run)
    sub = add("token", "Print a new API token for a user of the running hub.", token.run)
    sub.add_argument("user", metavar="USER")
    sub.add_argument(
        "--scope",
        action="append",
        default=[],
        metavar="S",
        help="what the token may do (repeat it); default: all that USER may do",
    )
    sub.add_argument("--expires-in", type=token.lifetime, metavar="SECONDS", help="default: never")
    sub.add_argument("--note", default="", metavar="TEXT", help="what it is for")
    sub = add(
        "import-jupyterhub", "Carry people, groups, tokens and shares over from a JupyterHub.", import_jupyterhub.run
    )
    sub.add_argument("database", type=Path, metavar="FILE", help="its database: jupyterhub.sqlite")
    sub.add_argument("--apply", action="store_true", help="write it; without this, only say what would be written")
    add("version", "Print the version.", version.run)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = parser().parse_args(arguments)
    try:
        code: int = given.run(given)
    except ConfigError as error:
        for fault in error.faults:
            print(f"towpath: {fault}", file=sys.stderr)
        return 1 if given.command == "check" else 2
    except TowpathError as error:
        print(f"towpath: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left; nobody is there to be told
        return 1
    return code
