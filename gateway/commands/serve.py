"""`towpath serve` and `towpath gateway`: reads the settings, runs the processes, prints the ready line."""

import argparse
import asyncio
import ipaddress
import logging
import os
import sys
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace as with_changes
from typing import Any

from msgspec.structs import replace

from gateway.auth.account import local_user
from gateway.serve.child import say
from gateway.serve.problems import ProblemReporter
from gateway.serve.readiness import part_to_check
from gateway.serve.supervisor import DataDirLock, Supervisor, pick_port
from state.account import account_name
from state.config.addresses import public_url
from state.config.tables import GatewayConfig
from state.errors import TowpathError, UsageError
from state.mirror.health import HealthWatch
from state.plugins.authenticators import without_password
from state.plugins.launchers import needs_certificates, no_isolation, without_isolation
from state.records.models import User
from state.settings.auth_checks import exposed
from state.settings.loader import Settings, load
from state.store.all import Store

LINK_LIFETIME = 24 * 3600.0
WORKERS_MOST = 4


def serve(options: argparse.Namespace) -> int:
    """Run the whole hub until a signal ends it."""
    return asyncio.run(_run(_settings(options), with_controller=True, take_over=options.take_over))


def gateway(options: argparse.Namespace) -> int:
    """Run the gateway's workers only. Raises UsageError without `redis_url`."""
    settings = _settings(options)
    if not settings.redis_url:
        raise UsageError(
            "towpath gateway needs the controller's state store: set redis_url in [state],"
            " or run the whole hub with: towpath serve"
        )
    return asyncio.run(_run(settings, with_controller=False))


def _settings(options: argparse.Namespace) -> Settings:
    """Load the settings. Host, port and workers of the command line replace the configuration's."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = load(options.config, options.data_dir)
    door = settings.config.gateway
    changes = {key: value for key in ("host", "port", "workers") if (value := getattr(options, key)) is not None}
    door = replace(door, **changes)
    if door.workers == 0:
        door = replace(door, workers=min(os.cpu_count() or 1, WORKERS_MOST))
    if settings.config.auth is None and not _is_loopback(door.host):
        raise UsageError(
            f"Without [auth], the hub is for one user on this machine and cannot listen on {door.host}."
            " Configure sign-in in [auth], or omit --host to listen on 127.0.0.1."
        )
    config = replace(settings.config, gateway=door)
    if without_password(config) and (faults := exposed(config)):
        raise UsageError(faults[0])
    return with_changes(settings, config=config)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _run(settings: Settings, *, with_controller: bool, take_over: bool = False) -> int:
    door = settings.config.gateway
    host = "127.0.0.1" if door.host == "localhost" else door.host
    lock = DataDirLock(settings.data_dir) if with_controller else None
    port = pick_port(host, door.port)
    _check_own_tls(door)
    supervisor = _supervisor(settings, host, port, with_controller=with_controller, take_over=take_over)
    supervisor.end_on_signals()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(supervisor.end)
        store = await supervisor.start_state()
        stack.push_async_callback(store.close)
        tasks = TaskKeeper()
        stack.push_async_callback(tasks.cancel)
        if not await _certificates(settings, supervisor, store, tasks, with_controller=with_controller):
            return 0
        await supervisor.start_rest()
        part = part_to_check(settings.config, whole=with_controller)
        await supervisor.wait_ready(store, host, port, f"{door.base_path}hub/health", part=part)
        await _print_ready(settings, store, host, port, with_controller=with_controller)
        watch = HealthWatch(store.health, loud=True)
        watch.start()
        stack.push_async_callback(watch.stop)
        tasks.start(ProblemReporter(store.health, lambda: supervisor.children).run())
        await supervisor.wait()
    del lock
    return 0


def _check_own_tls(door: GatewayConfig) -> None:
    """Raise TowpathError if the workers could not listen with TLS: they would be restarted forever."""
    if not door.tls_certificate:
        return
    from gateway.door.tls_listener import certificate_fault, everywhere  # noqa: PLC0415 - only hubs without an edge

    if fault := certificate_fault(door):
        raise TowpathError(fault)
    for port in filter(None, (door.tls_port, door.redirect_port)):
        pick_port(door.tls_host or everywhere(), port)


def _supervisor(settings: Settings, host: str, port: int, *, with_controller: bool, take_over: bool) -> Supervisor:
    arguments = ["--data-dir", str(settings.data_dir)]
    if settings.config_path is not None:
        arguments += ["--config", str(settings.config_path)]
    return Supervisor(
        data_dir=settings.data_dir,
        redis_url=settings.redis_url,
        workers=settings.config.gateway.workers,
        arguments=arguments,
        environment={
            **settings.environment,
            "TOWPATH_GATEWAY_HOST": host,
            "TOWPATH_GATEWAY_PORT": str(port),
            "TOWPATH_GATEWAY_WORKERS": str(settings.config.gateway.workers),
        },
        with_controller=with_controller,
        take_over=take_over,
    )


async def _certificates(
    settings: Settings, supervisor: Supervisor, store: Store, tasks: "TaskKeeper", *, with_controller: bool
) -> bool:
    """Issue the gateway's certificates or wait for them. Returns False if a signal came first."""
    if not needs_certificates(settings.config):
        return True
    if with_controller:
        await supervisor.make_certificates()
        return True
    from gateway.joining.certificates import (  # noqa: PLC0415 - only gateways of their own join
        CertificateKeeper,
        wait_for_certificates,
    )

    if not await wait_for_certificates(settings.data_dir, say, supervisor.ending):
        return False
    tasks.start(CertificateKeeper(store.joining, settings.config, settings.data_dir).run())
    return True


async def _print_ready(settings: Settings, store: Store, host: str, port: int, *, with_controller: bool) -> None:
    """Print that the hub is ready, how to sign in, and the warnings."""
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}{settings.config.gateway.base_path}"
    print(f"Towpath is ready at {url}", flush=True)
    if settings.config.gateway.tls_certificate:
        print(f"Browsers reach it at {public_url(settings.config)}{settings.config.gateway.base_path}", flush=True)
    if with_controller and settings.config.auth is None:
        print(f"Sign in once with: {url}hub/login?token={await _link(store)}", flush=True)
    if without_password(settings.config):
        print(
            "WARNING: test sign-in is on. Anyone on this machine can sign in as any user without a password.",
            flush=True,
        )
    for cluster in without_isolation(settings.config):
        say(f"WARNING: {no_isolation(cluster)}")


class TaskKeeper:
    """Background tasks that end with the command."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a background task."""
        self._tasks.append(asyncio.create_task(work))

    async def cancel(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _link(store: Store) -> str:
    """Return the secret of a one-time sign-in link for the user who runs the hub."""
    name = local_user(account_name())
    user = await store.users.get(name)
    if user is None:
        await store.users.add(User(name=name, admin=True, created=time.time()))
    elif not user.admin:  # after a loss of the store, a running job has restored only the user's name
        await store.users.save(replace(user, admin=True))
    return await store.links.issue(name, lifetime=LINK_LIFETIME)
