"""The leader's task for gateways and controllers that join, and for the renewal of gateways' certificates.

`batch.authority.joining` decides; it is imported only when needed.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final

from state.errors import StateUnavailableError, TowpathError
from state.store.joining import Joining

log = logging.getLogger("towpath.controller")

WAIT_SECONDS: Final = 30.0
RENEW_SECONDS: Final = 3600.0
OUTAGE_PAUSE: Final = 1.0
TOKEN_ID_LENGTH: Final = 16


async def answer_joins(store: Joining, data_dir: Path) -> None:
    """Answer requests as they arrive and renew certificates every hour, until cancelled."""
    loop = asyncio.get_running_loop()
    position, renew_at = "0", loop.time()
    while True:
        try:
            if loop.time() >= renew_at:
                await _renew(store, data_dir, None)
                renew_at = loop.time() + RENEW_SECONDS
            position, pending = await store.work(position, timeout=WAIT_SECONDS)
            for one in pending:
                await _look(store, data_dir, one)
        except StateUnavailableError:
            await asyncio.sleep(OUTAGE_PAUSE)


async def _look(store: Joining, data_dir: Path, token_id: str) -> None:
    """`token_id`: the id of a token or of a gateway."""
    if len(token_id) != TOKEN_ID_LENGTH:
        await _renew(store, data_dir, {token_id})
        return
    if await store.request(token_id) is None:  # answered already
        return
    from batch.authority import joining  # noqa: PLC0415 - 80 ms that most controllers never need

    try:
        await joining.answer(store, data_dir, token_id)
    except StateUnavailableError:
        raise
    except (TowpathError, OSError) as error:
        log.error("Join not answered token=%s reason=%s", token_id, error)  # noqa: TRY400 - a sentence for the admin


async def _renew(store: Joining, data_dir: Path, gateway_ids: set[str] | None) -> None:
    if not await store.joined():
        return
    from batch.authority import joining  # noqa: PLC0415 - as above

    try:
        await joining.renew(store, data_dir, gateway_ids)
    except StateUnavailableError:
        raise
    except (TowpathError, OSError) as error:
        log.error("Gateway certificates not renewed reason=%s", error)  # noqa: TRY400 - as above
