"""The sealed exchange by which a gateway or a controller joins a hub.

What is exchanged, and why: `state.records.joining`. Where it is stored: `state.store.joining`.
"""

import asyncio
import time
from typing import Final

import msgspec

from state.errors import TowpathError
from state.records.joining import REFUSED, Invitation, JoinAnswer, JoinRequest, JoinToken
from state.sealing.box import Box, SealError
from state.store.joining import Joining

POLL_SECONDS: Final = 0.1
_INVITATIONS: Final = msgspec.json.Decoder(Invitation)
_REQUESTS: Final = msgspec.json.Decoder(JoinRequest)
_ANSWERS: Final = msgspec.json.Decoder(JoinAnswer)


async def ask_to_join(store: Joining, token: JoinToken, request: JoinRequest, *, patience: float) -> JoinAnswer:
    """Request to join and wait up to `patience` seconds for the answer. Raises TowpathError with a message."""
    if await store.invitation(token.id) is None:
        raise TowpathError("The join token has expired or was used before. Create a new one.")
    await store.ask(token.id, Box(token.key).seal(msgspec.json.encode(request), _context("request", token.id)))
    limit = time.monotonic() + patience
    while (sealed := await store.take_answer(token.id)) is None:
        if time.monotonic() > limit:
            raise TowpathError(
                f"No controller answered within {patience:.0f} seconds."
                " Check that the hub's controller is running and uses the same state store."
            )
        await asyncio.sleep(POLL_SECONDS)
    if sealed == REFUSED:
        raise TowpathError("The controller does not know this join token. Create a new one.")
    try:
        answer = _ANSWERS.decode(Box(token.key).open(sealed, _context("answer", token.id)))
    except (SealError, msgspec.DecodeError) as error:
        raise TowpathError("The answer in the store does not belong to this join token. Create a new one.") from error
    if answer.refusal:
        raise TowpathError(answer.refusal)
    return answer


def seal_invitation(invitation: Invitation, token_id: str, *, key: bytes) -> bytes:
    """Seal an invitation with the controllers' own key."""
    return Box(key).seal(msgspec.json.encode(invitation), _context("invitation", token_id))


def open_invitation(sealed: bytes, token_id: str, *, key: bytes) -> Invitation:
    """Open an invitation with the controllers' own key. Raises SealError and msgspec.DecodeError."""
    return _INVITATIONS.decode(Box(key).open(sealed, _context("invitation", token_id)))


def open_request(sealed: bytes, token: JoinToken) -> JoinRequest:
    """Open a request with the token's key. Raises SealError and msgspec.DecodeError."""
    return _REQUESTS.decode(Box(token.key).open(sealed, _context("request", token.id)))


def seal_answer(answer: JoinAnswer, token: JoinToken) -> bytes:
    """Seal an answer with the token's key."""
    return Box(token.key).seal(msgspec.json.encode(answer), _context("answer", token.id))


def _context(kind: str, token_id: str) -> bytes:
    """What sealed content is bound to: it cannot be used for another step or another token."""
    return f"towpath join {kind} {token_id}".encode()
