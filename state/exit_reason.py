"""Why a supervised process exited: the process leaves a message, and its supervisor reads it.

The supervisor names a file in the environment. Without a supervisor, nothing is written.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "TOWPATH_EXIT_REASON"
LONGEST: Final = 2000


def leave_reason(reason: str, environment: Mapping[str, str] = os.environ) -> None:
    """Leave a message for the supervisor, if there is one. Never raises."""
    path = environment.get(VARIABLE)
    if path:
        with contextlib.suppress(OSError):
            Path(path).write_text(reason.strip()[:LONGEST], encoding="utf-8")


def take_reason(path: Path) -> str:
    """Return the message of the last process and remove it; `""` if there is none."""
    try:
        reason = path.read_text(encoding="utf-8", errors="replace")
        path.unlink()
    except OSError:
        return ""
    return reason
