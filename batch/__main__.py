"""The batch side's commands: `python -m batch controller`, `python -m batch check` and `python -m batch tls`.

Owns: the command line, the log, signals, exit codes (0 done, 1 failed, 2 wrong usage or config). Refuses to know what a
controller does.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from batch.contract import Launcher, LauncherError, Passport
from batch.controller.controller import lead
from batch.controller.executor import Place
from batch.controller.leader import Means
from batch.launchers import open_launcher
from state.errors import ConfigError, StateUnavailableError, TowpathError
from state.settings.loader import Settings, load
from state.store.all import Store

RETRY_SECONDS: Final = 0.5
CHECK_SECONDS: Final = 30.0
RENEW_SECONDS: Final = 24 * 3600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m batch", description="Towpath's batch side.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", default=None, metavar="FILE")
    common.add_argument("--data-dir", default=None, metavar="DIR")
    controller = commands.add_parser("controller", parents=[common], help="lead, or stand by")
    controller.add_argument("--holder", default="", help="who takes the lease; the same name takes over at once")
    commands.add_parser("check", parents=[common], help="probe every cluster; one JSON object per line")
    commands.add_parser("tls", parents=[common], help="make the hub's own certificates, or those that grow old anew")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        settings = load(arguments.config, arguments.data_dir)
        if arguments.command == "check":
            return asyncio.run(check(settings))
        if arguments.command == "tls":
            return make_certificates(settings)
        holder = arguments.holder or f"{socket.gethostname()}-{secrets.token_hex(4)}"
        return asyncio.run(control(settings, holder))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except TowpathError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 0


async def control(settings: Settings, holder: str) -> int:
    """Be a controller until SIGTERM or SIGINT. The lease is released, the jobs run on."""
    _prepare(settings)
    launchers = {cluster.name: open_launcher(cluster, settings.data_dir) for cluster in settings.config.cluster}
    task = asyncio.ensure_future(_control(settings, holder, launchers))
    keeper = asyncio.ensure_future(_renew(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    keeper.cancel()
    return 0


async def _control(settings: Settings, holder: str, launchers: dict[str, Launcher]) -> None:
    store = await _open_store(settings)
    try:
        place = Place(
            settings.environment,
            as_root=os.geteuid() == 0,
            hostname=socket.getfqdn(),
            passport=_passports(settings) if _elsewhere(settings) else None,
        )
        fault = fault_hook(settings.environment.get("TOWPATH_FAULT", ""))
        means = Means(store=store, config=settings.config, launchers=launchers, place=place, fault=fault)
        await lead(means, holder)
    finally:
        await store.close()
        for launcher in launchers.values():
            await launcher.close()


def _elsewhere(settings: Settings) -> bool:
    """Whether there are clusters whose jobs run on other machines."""
    return any(cluster.kind != "local" for cluster in settings.config.cluster)


def _prepare(settings: Settings) -> None:
    """Make the hub's own certificates and its seal, where they are needed and not there yet; check what only we can."""
    if _elsewhere(settings):
        from batch.authority import ensure  # noqa: PLC0415 - 80 ms that the controller of a local cluster saves
        from batch.launchers.slurm.factory import option_faults  # noqa: PLC0415

        if faults := option_faults(settings.config):
            raise ConfigError(faults)
        ensure(settings.data_dir, settings.config)


def _passports(settings: Settings) -> Callable[[str, int], Passport]:
    """What makes a job's certificate."""
    from batch.authority import Authority  # noqa: PLC0415 - as above

    authority = Authority.load(settings.data_dir)
    return lambda attempt, walltime: authority.passport(attempt, walltime=walltime)


async def _renew(settings: Settings) -> None:
    """Make certificates anew while the hub runs, too: they live a year, and so may a hub."""
    while _elsewhere(settings):
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await asyncio.to_thread(make_certificates, settings)
        except (TowpathError, OSError) as error:
            logging.getLogger("towpath.controller").error("%s", error)  # noqa: TRY400 - a sentence for the admin


async def _open_store(settings: Settings) -> Store:
    url = settings.redis_url or f"unix://{settings.data_dir / 'valkey.sock'}"
    while True:
        try:
            return await Store.open(url)
        except StateUnavailableError as error:
            logging.getLogger("towpath.controller").warning("%s", error)
            await asyncio.sleep(RETRY_SECONDS)


async def check(settings: Settings) -> int:
    """Probe every cluster; 1 when one does not answer."""
    failed = False
    _prepare(settings)
    for cluster in settings.config.cluster:
        line: dict[str, object] = {"cluster": cluster.name, "kind": cluster.kind, "ok": True}
        try:
            launcher = open_launcher(cluster, settings.data_dir)
            async with asyncio.timeout(CHECK_SECONDS):
                line["catalog"] = msgspec.to_builtins((await launcher.catalog()).catalog)
                line["jobs"] = len(await launcher.poll())
            await launcher.close()
            line["message"] = "answers"
        except (LauncherError, ConfigError) as error:
            line |= {"ok": False, "message": str(error)}
        except TimeoutError:
            line |= {"ok": False, "message": f"No answer within {CHECK_SECONDS:.0f} seconds."}
        failed = failed or not line["ok"]
        sys.stdout.write(json.dumps(line) + "\n")
    return int(failed)


def make_certificates(settings: Settings) -> int:
    """Make what is missing of the hub's own certificates; says what was made."""
    from batch.authority import ensure  # noqa: PLC0415 - 80 ms that the controller of a local cluster has no use for

    made = ensure(settings.data_dir, settings.config)
    if made:
        sys.stdout.write(f"Made in {settings.data_dir / 'tls'}: {', '.join(made)}.\n")
    return 0


def fault_hook(name: str) -> Callable[[str], None]:
    """For tests of crashes: end the process, as SIGKILL does, at the point of that name."""

    def hook(point: str) -> None:
        if point == name:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


if __name__ == "__main__":
    sys.exit(main())
