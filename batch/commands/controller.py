"""`python -m batch controller`: lead or stand by until a signal ends it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Final

from batch.commands.opening import embedded_url, open_store, store_url
from batch.contract import Launcher, LauncherContext, Passport
from batch.controller.controller import lead
from batch.controller.homes import claim_homes, home_of, show_homes
from batch.controller.leader import Dependencies
from batch.controller.submits import JobContext
from batch.launchers.opening import open_launcher
from state.errors import TowpathError
from state.plugins.launchers import kind_of, needs_certificates
from state.settings.loader import Settings
from state.signals import ending_signals
from state.store.all import Store

log = logging.getLogger("towpath.controller")

RENEW_SECONDS: Final = 24 * 3600.0


async def control(settings: Settings, holder: str, *, with_gateway: bool = False, take_over: bool = False) -> int:
    """Run a controller until SIGTERM or SIGINT. The lease is released; jobs keep running.

    `with_gateway`: a gateway shares the data directory (`towpath serve`), and its certificates are created here too.
    `take_over`: see `batch.controller.homes.claim_homes`.
    """
    task = asyncio.ensure_future(_control(settings, holder, with_gateway=with_gateway, take_over=take_over))
    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return 0


async def _control(settings: Settings, holder: str, *, with_gateway: bool, take_over: bool) -> None:
    store = await open_store(settings)
    launchers: dict[str, Launcher] = {}
    keepers: list[asyncio.Task[None]] = []
    certificates = needs_certificates(settings.config)
    try:
        if certificates:
            await make_certificates(settings, store, with_gateway=with_gateway)
            keepers.append(asyncio.create_task(_renew(settings, store, with_gateway=with_gateway)))
        kinds = {cluster.name: kind_of(cluster) for cluster in settings.config.cluster}
        here = [name for name, kind in kinds.items() if kind.runs_here or kind.one_machine]
        if here and store_url(settings) != embedded_url(settings):  # an embedded store has no other controllers
            home = home_of(settings.data_dir)
            await claim_homes(store, here, home, take_over=take_over)
            keepers.append(asyncio.create_task(show_homes(store, here, home)))
        context = LauncherContext(data_dir=settings.data_dir, seal_key=lambda: seal_key(settings))
        launchers |= {cluster.name: open_launcher(cluster, context) for cluster in settings.config.cluster}
        job_context = JobContext(
            settings.environment,
            as_root=os.geteuid() == 0,
            hostname=socket.getfqdn(),
            passport=_passports(settings) if certificates else None,
        )
        dependencies = Dependencies(
            store=store,
            config=settings.config,
            launchers=launchers,
            job_context=job_context,
            fault=fault_hook(settings.environment.get("TOWPATH_FAULT", "")),
            joins=settings.data_dir if certificates else None,
        )
        await lead(dependencies, holder)
    finally:
        for keeper in keepers:
            keeper.cancel()
        await store.close()
        for launcher in launchers.values():
            await launcher.close()


def seal_key(settings: Settings) -> bytes:
    """Return the key that job records are sealed with."""
    from batch import authority  # noqa: PLC0415 - 80 ms that the controller of a local cluster saves

    return authority.seal_key(settings.data_dir)


async def make_certificates(settings: Settings, store: Store | None, *, with_gateway: bool) -> list[str]:
    """Create missing certificates of the hub and renew expiring ones; return the files that were created.

    `store`: where the hub's one authority is registered; None: not checked. Raises TowpathError.
    """
    from batch.authority import ensure_authority, ensure_gateway  # noqa: PLC0415 - as above
    from batch.authority.joining import claim  # noqa: PLC0415

    data_dir = settings.data_dir
    made = ensure_authority(data_dir) if store is None else await claim(store.joining, data_dir)
    return [*made, *(ensure_gateway(data_dir, settings.config) if with_gateway else ())]


def _passports(settings: Settings) -> Callable[[str, int], Passport]:
    """Return a function that creates a job's certificate."""
    from batch.authority import Authority  # noqa: PLC0415 - as above

    authority = Authority.load(settings.data_dir)
    return lambda attempt, walltime: authority.passport(attempt, walltime=walltime)


async def _renew(settings: Settings, store: Store, *, with_gateway: bool) -> None:
    """Renew certificates while the hub runs, because they are valid for a year."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await make_certificates(settings, store, with_gateway=with_gateway)
        except (TowpathError, OSError) as error:
            log.error("Certificates not renewed reason=%s", error)  # noqa: TRY400 - a sentence for the admin


def fault_hook(name: str) -> Callable[[str], None]:
    """Return a hook for crash tests that ends the process, as SIGKILL does, at the named point."""

    def hook(point: str) -> None:
        if point == name:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook
