"""Jobs for the tests of the `ssh` launcher, and what is asked of them again and again."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

from msgspec.structs import replace

from batch.contract import JobSpec, JobView, Resources
from batch.launchers.ssh.launcher import SshLauncher
from state.records.models import JobRef, Server
from tests.batch.apps import app
from tests.batch.launchers.ssh.making import launcher_of
from tests.batch.rig import fresh
from tests.conftest import until
from tests.sshd import Pool


def spec_of(user: str = "alice", *, host: str = "", hub_url: str = "", **more: Any) -> JobSpec:
    """A job of a small web app."""
    server = replace(fresh(user, "lab"), cluster="lab")
    values = {
        "attempt": server.attempt,
        "user": user,
        "server": "lab",
        "command": ("/usr/bin/python3", *app()[1:]),
        "environment": {},
        "directory": "~/",
        "base_path": f"/user/{user}/lab/",
        "hub_urls": (hub_url,) if hub_url else (),
        "report_token": secrets.token_hex(8),
        "secrets": (),
        "start_window": 60.0,
        "record": server,
        "grace": 2.0,
        "resources": Resources(partition=host),
        "again": False,
    }
    return JobSpec(**{**values, **more})


async def placed(launcher: SshLauncher, spec: JobSpec) -> JobSpec:
    """The spec with its place saved in the record, as the controller does it."""
    ref = await launcher.place(spec)
    return replace(spec, record=replace(spec.record, job=ref))


async def start(launcher: SshLauncher, spec: JobSpec) -> tuple[JobSpec, JobRef]:
    """Place and submit, as the controller does."""
    spec = await placed(launcher, spec)
    ref = await launcher.submit(spec)
    return replace(spec, record=replace(spec.record, job=ref)), ref


async def view(launcher: SshLauncher, spec: JobSpec) -> JobView | None:
    """The job as a poll shows it, which is given its record."""
    return (await launcher.poll((spec.record,))).get(spec.attempt)


async def until_view(launcher: SshLauncher, spec: JobSpec, check: Any) -> JobView:
    """Poll until the view passes the check."""

    async def passes() -> JobView | None:
        seen = await view(launcher, spec)
        return seen if seen is not None and check(seen) else None

    found = await until(passes)
    assert isinstance(found, JobView)
    return found


async def end(launcher: SshLauncher, *specs: JobSpec) -> None:
    """Cancel jobs, and wait for their ends."""
    for spec in specs:
        await launcher.cancel(spec.record.job, spec.attempt)

        async def over(spec: JobSpec = spec) -> bool:
            seen = await view(launcher, spec)
            return seen is None or seen.state.final

        await until(over)


@contextlib.asynccontextmanager
async def opened(pool: Pool, *args: Any, **more: Any) -> AsyncIterator[SshLauncher]:
    """A launcher, closed at the end."""
    launcher = launcher_of(pool, *args, **more)
    try:
        yield launcher
    finally:
        await launcher.close()


def known(*specs: JobSpec) -> tuple[Server, ...]:
    """The records of jobs."""
    return tuple(spec.record for spec in specs)


async def together(*work: Any) -> list[Any]:
    """All results, errors among them."""
    return list(await asyncio.gather(*work, return_exceptions=True))
