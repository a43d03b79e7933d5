"""The command line: `python3 -m deploy.devcluster up|down|status|env`.

Owns: arguments, what is printed, exit codes (0 done, 1 failed, 2 cannot be done as asked). Refuses to know: Slurm.
"""

import argparse
import sys
import time
from pathlib import Path

from deploy.devcluster import cgroups, files
from deploy.devcluster.cluster import Cluster
from deploy.devcluster.errors import DevclusterError, UsageError
from deploy.devcluster.layout import DEFAULT_FOLDER, NUMBERS, Layout
from deploy.devcluster.slurm_conf import Shape


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the answer is the exit code."""
    given = _parser().parse_args(arguments)
    try:
        cluster = _cluster(given)
        if given.command == "up":
            begun = time.monotonic()
            cluster.up(lambda words: print(f"  {words}", flush=True))
            print(f"Slurm is up after {time.monotonic() - begun:.1f} s.")
            _how_to(cluster)
        elif given.command == "down":
            cluster.down(lambda words: print(f"  {words}", flush=True))
        elif given.command == "status":
            for name, daemon in cluster.daemons.items():
                process = daemon.process
                print(f"{name:<12}{'runs, pid ' + str(process.pid) if process and process.alive else 'does not run'}")
        elif given.command == "env":
            for key, value in cluster.layout.environment.items():
                print(f"export {key}={value}")
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except DevclusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _how_to(cluster: Cluster) -> None:
    print(f'eval "$(python3 -m deploy.devcluster env --folder {cluster.layout.folder})"')


def _cluster(given: argparse.Namespace) -> Cluster:
    folder = given.folder.absolute()
    if given.command == "up":
        usable = cgroups.usable() and not given.no_cgroups
        return Cluster(Layout(folder, given.number), Shape(cpus=given.cpus, cgroups=usable))
    if files.is_cluster(folder):
        return Cluster(Layout(folder, files.number_of(folder)), Shape(cgroups=cgroups.usable()))
    return Cluster(Layout(folder))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m deploy.devcluster", description="A real Slurm on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in {
        "up": "start it",
        "down": "end it, and remove all of it",
        "status": "say what runs",
        "env": "print what a shell needs to speak to it",
    }.items():
        command = commands.add_parser(name, help=words)
        command.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help=f"where it is ({DEFAULT_FOLDER})")
        if name == "up":
            command.add_argument("--number", type=int, default=0, choices=NUMBERS, metavar="N", help="0 to 255")
            command.add_argument("--cpus", type=int, default=8, metavar="N", help="of each node, real or not")
            command.add_argument("--no-cgroups", action="store_true", help="do without control groups")
    return parser


if __name__ == "__main__":
    sys.exit(main())
