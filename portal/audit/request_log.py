"""The log of refused requests: who was refused what, from where, and why.

Owns the line's form. Paths are written without their query, which can contain a token, and with everything escaped that
could end a line or hide text (CWE-117).
"""

import logging
from typing import Final
from urllib.parse import quote

log = logging.getLogger("towpath.requests")

LOGGED: Final = frozenset({401, 403, 421, 429})
"""Statuses that say that a caller was refused. Others are mistakes of a client, or faults of the hub."""
PATH_MAX: Final = 200


def log_refusal(*, status: int, method: str, path: str, user: str, address: str, why: str) -> None:
    """Write a line. `path`: with or without its query. `user`: `""` if nobody is signed in."""
    shown = quote(path.partition("?")[0][:PATH_MAX], safe="/:@!$&'()*+,;=~%")
    log.info(
        "Request refused. status=%d method=%s path=%s user=%s address=%s why=%s",
        *(status, quote(method[:20]), shown, quote(user[:PATH_MAX], safe=":/@") or "-", address or "-", why),
    )
