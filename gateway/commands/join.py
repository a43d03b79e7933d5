"""`towpath gateway join`: get this gateway's certificates from the hub's controller."""

import argparse
import asyncio

from gateway.joining.certificates import join
from state.errors import StateUnavailableError, TowpathError, UsageError
from state.plugins.launchers import needs_certificates
from state.records.joining import JoinToken
from state.settings.loader import Settings, load
from state.settings.tokens import read_token
from state.store.all import Store


def run(options: argparse.Namespace) -> int:
    """Join with a one-time token."""
    settings = load(options.config, options.data_dir)
    if not settings.redis_url:
        raise UsageError("A gateway joins through the hub's state store: set redis_url under [state].")
    if not needs_certificates(settings.config):
        print("No cluster of this hub needs certificates: this gateway starts without joining.")
        return 0
    asyncio.run(_join(settings, JoinToken.parse(read_token(options.token_file))))
    print(f"This gateway has joined: its certificates are in {settings.data_dir / 'tls'}.")
    return 0


async def _join(settings: Settings, token: JoinToken) -> None:
    try:
        store = await Store.open(settings.redis_url)
    except StateUnavailableError as error:
        raise TowpathError(f"The hub's state store does not answer: {error}") from error
    try:
        await join(store.joining, token, settings.config, settings.data_dir)
    finally:
        await store.close()
