"""`towpath import-jupyterhub FILE [--apply]`: import the users of a JupyterHub into the running hub.

Owns the output. Does not decide what is imported (`gateway.jupyterhub.plan`), and does not write it
(`gateway.jupyterhub.importer`).
"""

import argparse
import asyncio

from gateway.jupyterhub.importer import ImportCounts, import_plan
from gateway.jupyterhub.plan import Plan, plan
from gateway.jupyterhub.source import read
from gateway.serve import valkey
from state.errors import StateUnavailableError, TowpathError, UsageError
from state.rights.roles import Roles
from state.settings.loader import Settings, load
from state.store.all import Store


def run(options: argparse.Namespace) -> int:
    """Read the database, plan, and with --apply write; print what is imported, and what is skipped and why."""
    settings = load(options.config, options.data_dir)
    try:
        found = read(options.database)
    except TowpathError as error:
        raise UsageError(str(error)) from error
    decided = plan(found, Roles.of(settings.config))
    counts = asyncio.run(_import(settings, decided, write=options.apply))
    print("\n".join(report(decided, counts, written=options.apply)))
    return 0


async def _import(settings: Settings, decided: Plan, *, write: bool) -> ImportCounts:
    try:
        store = await Store.open(settings.redis_url or valkey.url(settings.data_dir))
    except StateUnavailableError as error:
        raise TowpathError(
            f"The hub's store does not answer ({settings.data_dir}). If the hub is not running, start it: towpath serve"
        ) from error
    try:
        return await import_plan(store, decided, write=write)
    finally:
        await store.close()


def report(decided: Plan, counts: ImportCounts, *, written: bool) -> list[str]:
    """Return the lines of the output. Pure."""
    lines = ["Imported:" if written else "Would be imported:"]
    admins = sum(user.admin for user in decided.users)
    lines += [
        f"  {len(decided.users)} users: {counts.users} new, {counts.changed} changed; {admins} of them admins",
        f"  {len(decided.groups)} groups: {counts.groups} new",
        f"  {len(decided.tokens)} API tokens: {counts.tokens} new; limited to what their owners may do here",
        f"  {len(decided.shares)} shares: {counts.shares} new",
    ]
    if decided.skipped:
        lines += ["Skipped:", *(f"  {one.entry}: {one.reason}" for one in decided.skipped)]
    if decided.roles:
        lines += [
            "Roles are part of the configuration. Check these tables and add them to it:",
            "",
            decided.roles,
            "",
        ]
    lines.append(
        "Imported users can sign in only if [auth] in the configuration allows it."
        if written
        else "Nothing was written. Repeat with --apply to import."
    )
    return lines
