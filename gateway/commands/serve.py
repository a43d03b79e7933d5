"""`towpath serve` and `towpath gateway`: the settings, the supervised processes, the ready line."""

import argparse
import asyncio
import getpass
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
from gateway.door.tls_listener import certificate_fault, everywhere
from gateway.joining.certificates import CertificateKeeper, wait_for_certificates
from gateway.serve.child import say
from gateway.serve.problems import ProblemReporter
from gateway.serve.readiness import part_to_check
from gateway.serve.supervisor import DataDirLock, Supervisor, pick_port
from state.config.addresses import public_url
from state.config.clusters import needs_certificates
from state.config.tables import Config, GatewayConfig
from state.errors import TowpathError, UsageError
from state.mirror.health import HealthWatch
from state.records.models import User
from state.settings.auth_checks import exposed
from state.settings.cluster_checks import no_isolation, without_isolation
from state.settings.loader import Settings, load
from state.store.all import Store

LINK_LIFETIME = 24 * 3600.0
WORKERS_MOST = 4


def serve(given: argparse.Namespace) -> int:
    """Run all of the hub. Returns when a signal has ended it."""
    return asyncio.run(_run(_settings(given), whole=True, take_over=given.take_over))


def gateway(given: argparse.Namespace) -> int:
    """The workers alone."""
    settings = _settings(given)
    if not settings.redis_url:
        raise UsageError(
            "towpath gateway needs the state store that the controller uses too:"
            " set redis_url under [state], or run everything with: towpath serve"
        )
    return asyncio.run(_run(settings, whole=False))


def _settings(given: argparse.Namespace) -> Settings:
    """The settings with the command line's host, port and workers over the configuration's."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = load(given.config, given.data_dir)
    door = settings.config.gateway
    changes = {key: value for key in ("host", "port", "workers") if (value := getattr(given, key)) is not None}
    door = replace(door, **changes)
    if door.workers == 0:
        door = replace(door, workers=min(os.cpu_count() or 1, WORKERS_MOST))
    if settings.config.auth is None and not _is_loopback(door.host):
        raise UsageError(
            f"Without [auth] in the configuration the hub is for the one person at this machine, and listens on"
            f" 127.0.0.1 only; it refuses {door.host}. Describe in [auth] who may enter, or leave --host away."
        )
    config = replace(settings.config, gateway=door)
    if _is_test(config) and (faults := exposed(config)):
        raise UsageError(faults[0])
    return with_changes(settings, config=config)


def _is_test(config: Config) -> bool:
    return config.auth is not None and any(provider.kind == "test" for provider in config.auth.provider)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _run(settings: Settings, *, whole: bool, take_over: bool = False) -> int:
    door = settings.config.gateway
    host = "127.0.0.1" if door.host == "localhost" else door.host
    lock = DataDirLock(settings.data_dir) if whole else None
    port = pick_port(host, door.port)
    _check_own_tls(door)
    supervisor = _supervisor(settings, host, port, whole=whole, take_over=take_over)
    supervisor.end_on_signals()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(supervisor.end)
        store = await supervisor.start_state()
        stack.push_async_callback(store.close)
        tasks = TaskKeeper()
        stack.push_async_callback(tasks.cancel)
        if not await _certificates(settings, supervisor, store, tasks, whole=whole):
            return 0
        await supervisor.start_rest()
        part = part_to_check(settings.config, whole=whole)
        await supervisor.wait_ready(store, host, port, f"{door.base_path}hub/health", part=part)
        await _tell(settings, store, host, port, whole=whole)
        watch = HealthWatch(store.health, loud=True)
        watch.start()
        stack.push_async_callback(watch.stop)
        tasks.start(ProblemReporter(store.health, lambda: supervisor.children).run())
        await supervisor.wait()
    del lock
    return 0


def _check_own_tls(door: GatewayConfig) -> None:
    """Raises TowpathError where workers could not listen with TLS: they would be started again and again."""
    if not door.tls_certificate:
        return
    if fault := certificate_fault(door):
        raise TowpathError(fault)
    for port in filter(None, (door.tls_port, door.redirect_port)):
        pick_port(door.tls_host or everywhere(), port)


def _supervisor(settings: Settings, host: str, port: int, *, whole: bool, take_over: bool) -> Supervisor:
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
        with_controller=whole,
        take_over=take_over,
    )


async def _certificates(
    settings: Settings, supervisor: Supervisor, store: Store, tasks: "TaskKeeper", *, whole: bool
) -> bool:
    """Have the gateway's certificates made, or wait for them; False when a signal came first."""
    if not needs_certificates(settings.config):
        return True
    if whole:
        await supervisor.make_certificates()
        return True
    if not await wait_for_certificates(settings.data_dir, say, supervisor.ending):
        return False
    tasks.start(CertificateKeeper(store.joining, settings.config, settings.data_dir).run())
    return True


async def _tell(settings: Settings, store: Store, host: str, port: int, *, whole: bool) -> None:
    """Say that the hub is ready, and what whoever runs it should know."""
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}{settings.config.gateway.base_path}"
    print(f"Towpath is ready at {url}", flush=True)
    if settings.config.gateway.tls_certificate:
        print(f"Browsers reach it at {public_url(settings.config)}{settings.config.gateway.base_path}", flush=True)
    if whole and settings.config.auth is None:
        print(f"Sign in once with: {url}hub/login?token={await _link(store)}", flush=True)
    if _is_test(settings.config):
        print("Test sign-in: anybody on this machine may sign in as anybody, without a password.", flush=True)
    for cluster in without_isolation(settings.config):
        say(f"WARNING: {no_isolation(cluster)}")


class TaskKeeper:
    """Tasks in the background that end with the command."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this in the background."""
        self._tasks.append(asyncio.create_task(work))

    async def cancel(self) -> None:
        """End all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _link(store: Store) -> str:
    """A one-time sign-in link's secret for the person who runs the hub."""
    name = local_user(getpass.getuser())
    user = await store.users.get(name)
    if user is None:
        await store.users.add(User(name=name, admin=True, created=time.time()))
    elif not user.admin:  # a store that was lost: of the person, a running job had no more than the name
        await store.users.save(replace(user, admin=True))
    return await store.links.issue(name, lifetime=LINK_LIFETIME)
