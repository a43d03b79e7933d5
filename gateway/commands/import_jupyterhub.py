"""`towpath import-jupyterhub FILE [--apply]`: what a JupyterHub knew of people, carried over into the running hub.

Owns: what is said of it. Refuses to decide (`gateway.jupyterhub.plan`) and to write (`gateway.jupyterhub.carry`).
"""

import argparse
import asyncio

from gateway.jupyterhub.carry import Done, carry
from gateway.jupyterhub.plan import Plan, plan
from gateway.jupyterhub.source import read
from gateway.serve import valkey
from state.errors import StateUnavailableError, TowpathError, UsageError
from state.rights.roles import Roles
from state.settings.loader import Settings, load
from state.store.all import Store


def run(given: argparse.Namespace) -> int:
    """Read, decide, and with --apply write; says what was done, and what was left and why."""
    settings = load(given.config, given.data_dir)
    try:
        found = read(given.database)
    except TowpathError as error:
        raise UsageError(str(error)) from error
    decided = plan(found, Roles.of(settings.config))
    done = asyncio.run(_carry(settings, decided, write=given.apply))
    print("\n".join(report(decided, done, written=given.apply)))
    return 0


async def _carry(settings: Settings, decided: Plan, *, write: bool) -> Done:
    try:
        store = await Store.open(settings.redis_url or valkey.url(settings.data_dir))
    except StateUnavailableError as error:
        raise TowpathError(
            f"The hub's store does not answer ({settings.data_dir}). Is the hub running? Start it with: towpath serve"
        ) from error
    try:
        return await carry(store, decided, write=write)
    finally:
        await store.close()


def report(decided: Plan, done: Done, *, written: bool) -> list[str]:
    """What is printed, line by line. Pure."""
    lines = ["Written:" if written else "This would be written:"]
    admins = sum(user.admin for user in decided.users)
    lines += [
        f"  {len(decided.users)} users: {done.users} new, {done.changed} changed; {admins} of them admins",
        f"  {len(decided.groups)} groups: {done.groups} new",
        f"  {len(decided.tokens)} API tokens: {done.tokens} new; with no more than their owners may here",
        f"  {len(decided.shares)} shares: {done.shares} new",
    ]
    if decided.left:
        lines += ["Left:", *(f"  {one.what}: {one.why}" for one in decided.left)]
    if decided.roles:
        lines += [
            "Roles are part of the configuration here. Look these over, and put them there:",
            "",
            decided.roles,
            "",
        ]
    lines.append(
        "Who may sign in is up to [auth] in the configuration: importing somebody lets nobody in."
        if written
        else "Nothing is written yet: repeat this with --apply."
    )
    return lines
