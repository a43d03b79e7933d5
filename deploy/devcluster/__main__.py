"""The command line: `python3 -m deploy.devcluster up|down|status|env`.

Owns the arguments, the output and the exit codes (0 done, 1 failed, 2 wrong usage). Does not know about Slurm.
"""

import argparse
import sys
import time
from pathlib import Path

from deploy.devcluster import files, hub
from deploy.devcluster.cluster import Cluster, has_cgroups
from deploy.devcluster.errors import DevclusterError, UsageError
from deploy.devcluster.layout import DEFAULT_FOLDER, NUMBERS, Layout
from deploy.devcluster.slurm_conf import Shape


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(COMMANDS[options.command](options))
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except (DevclusterError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Everything that was started has been stopped.", file=sys.stderr)
        return 130


def _up(options: argparse.Namespace) -> int:
    layout = _start_slurm(options)
    if options.hub:
        _start_hub(layout, program=options.hub, apps=options.apps, port=options.port)
    return 0


def _start_slurm(options: argparse.Namespace) -> Layout:
    """Start the cluster unless it is running, and return its layout."""
    folder = options.folder.absolute()
    number = files.number_of(folder)
    if number is not None and Cluster(Layout(folder, number)).running:
        print(f"Slurm is already running in {folder}.")
        return Layout(folder, number)
    layout = Layout(folder, options.number, options.debian and options.debian.absolute())
    shape = Shape(cpus=options.cpus, cgroups=not options.no_cgroups and has_cgroups(layout))
    cluster = Cluster(layout, shape)
    begun = time.monotonic()
    print(f"Starting Slurm in {folder}", flush=True)
    cluster.up(_report)
    print(f"Slurm is running after {time.monotonic() - begun:.1f} s.")
    if not shape.cgroups:
        print("This machine has no usable control groups: Slurm finds jobs that use too much memory by sampling.")
    option = "" if folder == DEFAULT_FOLDER else f" --folder {folder}"
    print(
        "\nTo use it, in a shell of root, alice, bob or carol (su - alice):\n"
        f'  eval "$(python3 -m deploy.devcluster env{option})"\n'
        "  sinfo\n"
        "  srun --partition=gpu --gres=gpu:a100:1 env | grep CUDA     # as alice\n"
        f"slurmrestd listens at {cluster.layout.restd_url}; `scontrol token username=alice` creates a token for it.\n"
        f"Logs: {cluster.layout.log}\n"
        "To stop and remove it: make cluster-down" + (f' ARGS="{option.strip()}"' if option else "")
    )
    return layout


def _down(options: argparse.Namespace) -> int:
    exists = files.number_of(options.folder.absolute()) is not None
    _existing(options).down(_report)
    print(f"The cluster in {options.folder} was removed." if exists else f"There is no cluster in {options.folder}.")
    return 0


def _status(options: argparse.Namespace) -> int:
    cluster = _existing(options)
    for name, daemon in cluster.daemons.items():
        process = daemon.process
        print(f"{name:<12}{f'running, process {process.pid}' if process and process.alive else 'not running'}")
    return 0 if cluster.running else 1


def _env(options: argparse.Namespace) -> int:
    layout = _existing(options).layout
    print(f"export SLURM_CONF={layout.slurm_conf}")
    if layout.bin.exists():
        print(f'export PATH="{layout.bin}:$PATH"')
    return 0


def _start_hub(layout: Layout, *, program: Path, apps: Path, port: int) -> None:
    """Start the hub unless it is running."""
    daemon = hub.daemon(layout, program=program.absolute(), port=port)
    begun = time.monotonic()
    if not daemon.alive:
        print("\nStarting the hub", flush=True)
        hub.write(layout, apps=apps.absolute(), port=port)
        daemon.start()
        print(f"The hub is running after {time.monotonic() - begun:.1f} s.")
    print(
        f"\nTowpath is ready at http://127.0.0.1:{port}/\n"
        "Sign in as alice, bob or carol (an admin), without a password, from this machine only.\n"
        f"Configuration and data: {hub.folder(layout)}. Log: {daemon.output}"
    )


COMMANDS = {"up": _up, "down": _down, "status": _status, "env": _env}


def _report(step: str) -> None:
    print(f"  {step}", flush=True)


def _existing(options: argparse.Namespace) -> Cluster:
    folder = options.folder.absolute()
    number = files.number_of(folder)
    return Cluster(Layout(folder) if number is None else Layout(folder, number))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m deploy.devcluster", description="A real Slurm on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, description in {
        "up": "start the cluster",
        "down": "stop the cluster and remove everything that it created",
        "status": "list the daemons; exit code 1 if one is not running",
        "env": "print the environment variables that a shell needs",
    }.items():
        command = commands.add_parser(name, help=description)
        command.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help=f"its folder ({DEFAULT_FOLDER})")
        if name == "up":
            command.add_argument("--number", type=int, default=0, choices=NUMBERS, metavar="N", help="0 to 255")
            command.add_argument("--cpus", type=int, default=8, metavar="N", help="CPUs of each node, real or not")
            command.add_argument("--debian", type=Path, help="a folder filled by another-debian.sh")
            command.add_argument("--hub", type=Path, metavar="TOWPATH", help="also start a hub, with this program")
            command.add_argument("--apps", type=Path, default=hub.APPS, help=f"folder of apps/install.sh ({hub.APPS})")
            command.add_argument("--port", type=int, default=hub.PORT, help=f"port of the hub ({hub.PORT})")
            command.add_argument("--no-cgroups", action="store_true", help="do not use control groups")
    return parser


if __name__ == "__main__":
    sys.exit(main())
