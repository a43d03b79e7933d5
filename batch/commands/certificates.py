"""`python -m batch tls|invite|join`: the hub's certificates, and joining.

A token is printed alone on stdout, so that it can be piped. It is read from stdin or a file.
"""

import socket
import sys
import time
from pathlib import Path
from typing import Final

from batch.commands.controller import make_certificates
from batch.commands.opening import store_url
from state.errors import StateUnavailableError, TowpathError
from state.plugins.launchers import needs_certificates
from state.records.audit import Act, Entry
from state.records.joining import JoinRequest, JoinToken, Role
from state.settings.loader import Settings
from state.settings.tokens import read_token
from state.store.all import Store

PATIENCE_SECONDS: Final = 60.0


async def tls(settings: Settings, *, with_gateway: bool) -> int:
    """Create missing certificates of the hub and renew expiring ones; print what was created."""
    store = await _open(settings) if settings.redis_url else None
    try:
        made = await make_certificates(settings, store, with_gateway=with_gateway)
    finally:
        if store is not None:
            await store.close()
    if made:
        sys.stdout.write(f"Created in {settings.data_dir}: {', '.join(made)}.\n")
    return 0


async def invite(settings: Settings, role: Role, *, lifetime: float) -> int:
    """Print a token with which one gateway or controller can join."""
    if not needs_certificates(settings.config):
        raise TowpathError("No cluster of this hub needs certificates, so gateways start without joining.")
    from batch.authority import joining  # noqa: PLC0415 - 80 ms

    store = await _open(settings)
    try:
        token = await joining.invite(store.joining, settings.data_dir, role, lifetime=lifetime)
        what = f"join token {token.id} for a {role}"
        await store.audit.note(Entry(time=time.time(), act=Act.HUB, by="command line", what=what))
    finally:
        await store.close()
    sys.stdout.write(f"{token.text()}\n")
    sys.stderr.write(
        f"This token lets one {role} join, within {lifetime / 60:.0f} minutes. On its host, run: towpath {role} join\n"
    )
    return 0


async def join(settings: Settings, token_file: Path | None, *, replace: bool) -> int:
    """Get the hub's authority from the controller that has it."""
    from batch.authority import joining  # noqa: PLC0415 - 80 ms
    from state.joining import ask_to_join  # noqa: PLC0415 - as above

    token = JoinToken.parse(read_token(token_file))
    store = await _open(settings)
    try:
        request = JoinRequest(role="controller", host=socket.gethostname())
        joined = await ask_to_join(store.joining, token, request, patience=PATIENCE_SECONDS)
    finally:
        await store.close()
    joining.adopt(settings.data_dir, joined, replace=replace)
    sys.stdout.write(f"This controller has joined: the hub's authority is in {settings.data_dir / 'authority'}.\n")
    return 0


async def _open(settings: Settings) -> Store:
    try:
        return await Store.open(store_url(settings))
    except StateUnavailableError as error:
        raise TowpathError(f"The hub's state store does not answer. Is the hub running? {error}") from error
