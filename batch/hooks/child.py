"""A hook in Python, in its own process: `python -m batch.hooks.child KIND`, with options and event on stdin.

What the hook prints goes to stderr, so that it cannot be taken for the answer.
"""

import os
import sys
from importlib import import_module
from typing import Any

import msgspec
from msgspec import Struct

from batch.hooks.contract import HookChanges, HookEvent
from state.plugins.hooks import find_kind


class Call(Struct, frozen=True, kw_only=True):
    """What the process reads."""

    options: msgspec.Raw
    event: HookEvent


def main() -> int:
    """Run the hook; the exit code is 0 if it returned."""
    answer = os.dup(1)
    os.dup2(2, 1)
    kind = find_kind(sys.argv[1])
    assert kind is not None  # the controller has found it
    call = msgspec.json.decode(sys.stdin.buffer.read(), type=Call)
    module, _, name = kind.run.partition(":")
    function: Any = getattr(import_module(module), name)
    changes = function(msgspec.json.decode(call.options, type=kind.options), call.event)
    if changes is not None:
        if not isinstance(changes, HookChanges):
            raise TypeError(f"{kind.run} returned {type(changes).__name__}, not HookChanges or None")
        with os.fdopen(answer, "wb") as file:
            file.write(msgspec.json.encode(changes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
