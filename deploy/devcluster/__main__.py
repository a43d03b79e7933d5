"""The command line: `python3 -m deploy.devcluster up|down|status|env`.

Owns: arguments, what is printed, exit codes (0 done, 1 failed, 2 cannot be done as asked). Refuses to know: Slurm.
"""

import argparse
import sys
import time
from pathlib import Path

from deploy.devcluster import files
from deploy.devcluster.cluster import Cluster, has_cgroups
from deploy.devcluster.errors import DevclusterError, UsageError
from deploy.devcluster.layout import DEFAULT_FOLDER, NUMBERS, Layout
from deploy.devcluster.slurm_conf import Shape


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the answer is the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return int(COMMANDS[given.command](given))
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except (DevclusterError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; what was started has been ended.", file=sys.stderr)
        return 130


def _up(given: argparse.Namespace) -> int:
    folder = given.folder.absolute()
    number = files.number_of(folder)
    if number is not None and Cluster(Layout(folder, number)).whole:
        print(f"It is up already, in {folder}.")
        return 0
    layout = Layout(folder, given.number, given.debian and given.debian.absolute())
    shape = Shape(cpus=given.cpus, cgroups=not given.no_cgroups and has_cgroups(layout))
    cluster = Cluster(layout, shape)
    begun = time.monotonic()
    print(f"Starting Slurm in {folder}", flush=True)
    cluster.up(_say)
    print(f"Slurm is up after {time.monotonic() - begun:.1f} s.")
    if not shape.cgroups:
        print("Without control groups: a job that takes too much memory is found by sampling.")
    option = "" if folder == DEFAULT_FOLDER else f" --folder {folder}"
    print(
        "\nTo speak to it, in a shell of root or of alice, bob or carol (su - alice):\n"
        f'  eval "$(python3 -m deploy.devcluster env{option})"\n'
        "  sinfo\n"
        "  srun --partition=gpu --gres=gpu:a100:1 env | grep CUDA     # as alice\n"
        f"slurmrestd listens at {cluster.layout.restd_url}; `scontrol token username=alice` makes a token for it.\n"
        f"Logs: {cluster.layout.log}\n"
        "To end it and remove all of it: make cluster-down" + (f' ARGS="{option.strip()}"' if option else "")
    )
    return 0


def _down(given: argparse.Namespace) -> int:
    there = files.number_of(given.folder.absolute()) is not None
    _existing(given).down(_say)
    print(f"The cluster in {given.folder} is gone." if there else f"There is no cluster in {given.folder}.")
    return 0


def _status(given: argparse.Namespace) -> int:
    cluster = _existing(given)
    for name, daemon in cluster.daemons.items():
        process = daemon.process
        print(f"{name:<12}{f'runs, process {process.pid}' if process and process.alive else 'does not run'}")
    return 0 if cluster.whole else 1


def _env(given: argparse.Namespace) -> int:
    layout = _existing(given).layout
    print(f"export SLURM_CONF={layout.slurm_conf}")
    if layout.bin.exists():
        print(f'export PATH="{layout.bin}:$PATH"')
    return 0


COMMANDS = {"up": _up, "down": _down, "status": _status, "env": _env}


def _say(words: str) -> None:
    print(f"  {words}", flush=True)


def _existing(given: argparse.Namespace) -> Cluster:
    folder = given.folder.absolute()
    number = files.number_of(folder)
    return Cluster(Layout(folder) if number is None else Layout(folder, number))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m deploy.devcluster", description="A real Slurm on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in {
        "up": "start it",
        "down": "end it, and remove all of it",
        "status": "say what runs; exit code 1 when something does not",
        "env": "print what a shell needs to speak to it",
    }.items():
        command = commands.add_parser(name, help=words)
        command.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help=f"where it is ({DEFAULT_FOLDER})")
        if name == "up":
            command.add_argument("--number", type=int, default=0, choices=NUMBERS, metavar="N", help="0 to 255")
            command.add_argument("--cpus", type=int, default=8, metavar="N", help="of each node, real or not")
            command.add_argument("--debian", type=Path, help="a folder with another Debian's Slurm (another-debian.sh)")
            command.add_argument("--no-cgroups", action="store_true", help="do without control groups")
    return parser


if __name__ == "__main__":
    sys.exit(main())
