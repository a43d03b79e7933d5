"""Opens the state store for the commands of the batch side."""

import asyncio
import logging
from typing import Final

from state.errors import StateUnavailableError
from state.settings.loader import Settings
from state.store.all import Store

log = logging.getLogger("towpath.controller")

RETRY_SECONDS: Final = 0.5
SAY_SECONDS: Final = 30.0


def store_url(settings: Settings) -> str:
    """Return the store's URL: the configured one, or that of the Valkey which `towpath serve` starts."""
    return settings.redis_url or embedded_url(settings)


def embedded_url(settings: Settings) -> str:
    """Return the URL of the Valkey that `towpath serve` starts in this data directory."""
    return f"unix://{settings.data_dir / 'valkey.sock'}"


async def open_store(settings: Settings) -> Store:
    """Open the store, waiting as long as it takes; log that from time to time."""
    loop = asyncio.get_running_loop()
    say_at = loop.time()
    while True:
        try:
            return await Store.open(store_url(settings))
        except StateUnavailableError as error:
            if loop.time() >= say_at:
                log.warning("Waiting for the state store reason=%s", error)
                say_at = loop.time() + SAY_SECONDS
            await asyncio.sleep(RETRY_SECONDS)
