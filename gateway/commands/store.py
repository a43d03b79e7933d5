"""`towpath store check`: whether the hub's store is whole, and what can be repaired."""

import argparse
import asyncio
import contextlib
import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.serve import append_only, valkey
from gateway.serve.supervisor import DataDirLock
from state.errors import StateUnavailableError, TowpathError
from state.settings.loader import Settings, load
from state.store.all import Store
from state.store.survey import survey

START_SECONDS: Final = 60.0
HOW: Final = "Repair what can be repaired with: towpath store check --fix"


def check(options: argparse.Namespace) -> int:
    """Check the embedded Valkey's files, where it is used and does not run, and then every record.

    Exit code 0: all is well, or is now; 1: something is not.
    """
    settings = load(options.config, options.data_dir)
    logging.getLogger("towpath.store").addHandler(logging.NullHandler())  # what it would say is printed here
    logging.getLogger("towpath.store").propagate = False
    if settings.redis_url:
        return asyncio.run(_records(settings.redis_url, fix=options.fix))
    url = valkey.url(settings.data_dir)
    if asyncio.run(_answers(url)):
        print("The hub is running. The files of its store can be checked when it does not.")
        return asyncio.run(_records(url, fix=options.fix))
    lock = DataDirLock(settings.data_dir)
    whole = _files(settings, fix=options.fix)
    if whole:
        with _embedded(settings.data_dir):
            whole = asyncio.run(_records(url, fix=options.fix)) == 0
    del lock
    return 0 if whole else 1


def _files(settings: Settings, *, fix: bool) -> bool:
    """Whether the files are whole, or have been repaired."""
    found = append_only.faults(settings.data_dir)
    for fault in found:
        print(f"{fault.path} {fault.message}.")
    hopeless = [fault for fault in found if fault.lost is None]
    if hopeless:
        print("This cannot be repaired here. Restore the folder valkey/ of the data directory from a backup.")
        return False
    if found and not fix:
        print(f"A copy is kept of the files as they are; what follows the damage is lost. {HOW}")
        return False
    if found:
        aside = append_only.repair(settings.data_dir, found)
        print(f"Repaired. The files as they were are in {aside}.")
        for fault in (fault for fault in found if fault.lost):
            print(f"{fault.path}: the last {fault.lost} bytes are lost.")
    else:
        print("The files of the store are whole.")
    return True


async def _records(url: str, *, fix: bool) -> int:
    """Look at every record, and say which cannot be read."""
    try:
        store = await Store.open(url)
    except StateUnavailableError as error:
        raise TowpathError(f"The store does not answer: {error}") from error
    try:
        found = await survey(store.redis)
        left = 0
        for record in found.bad:
            done = await store.bad_records.repair(record) if fix else ""
            left += not fix or record.newer
            print(f"{record.kind}: {record.place}: {record.reason}" + (f": {done}" if done else ""))
        await store.bad_records.tell()
        await store.bad_records.review()
    finally:
        await store.close()
    print(f"{found.read} records were read; {len(found.bad) or 'none'} of them cannot be read.")
    if left and not fix:
        print(f"A record that cannot be read is set aside, and the hub keeps running without it. {HOW}")
    return 1 if left else 0


async def _answers(url: str) -> bool:
    try:
        store = await Store.open(url)
    except StateUnavailableError:
        return False
    await store.close()
    return True


@contextlib.contextmanager
def _embedded(data_dir: Path) -> Iterator[None]:
    """The embedded Valkey, for as long as this takes. Raises TowpathError."""
    server = subprocess.Popen(valkey.command(data_dir), stdin=subprocess.DEVNULL)  # noqa: S603 - our own command
    try:
        end = time.monotonic() + START_SECONDS
        while not asyncio.run(_answers(valkey.url(data_dir))):
            if server.poll() is not None:
                raise TowpathError(valkey.why_it_ended(data_dir))
            if time.monotonic() > end:
                raise TowpathError(f"The store was not ready within {START_SECONDS:.0f} s.")
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()
