"""The kind `executables`: programs in a folder, in the order of their names.

    FOLDER/before-submit/*    FOLDER/ready/*    FOLDER/ended/*

A program that others than root and the hub's account can change is refused, because it runs with the hub's rights.
"""

import os
import re
import stat
from pathlib import Path
from typing import Final

from msgspec import Struct

from state.plugins.hooks import HookKind
from state.plugins.options import Say

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ExecutablesOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[hook.executables]`: programs that the controller runs."""

    folder: str
    """The folder with a folder for each event: before-submit, ready, ended. An absolute path."""


def programs(options: ExecutablesOptions, event: str) -> list[tuple[str, ...]]:
    """Return the programs of an event. Raises OSError for a folder or program that cannot be used.

    Files that are not executable, and names such as `.hidden` and `backup~`, are ignored (as by run-parts(8)).
    """
    folder = Path(options.folder) / event
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    found: list[tuple[str, ...]] = []
    for path in entries:
        if NAME.fullmatch(path.name) and path.is_file() and os.access(path, os.X_OK):
            for part in (path.resolve(), folder):
                _only_ours(part)
            found.append((str(path),))
    return found


def _only_ours(path: Path) -> None:
    facts = path.stat()
    if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} can be changed by others than root and the hub's account: chmod go-w it.")


def _check(options: ExecutablesOptions, at: str, say: Say) -> None:
    if not options.folder.startswith("/"):
        say(f"{at}.folder", f"{options.folder!r} is not an absolute path: it must begin with /.")


KIND: Final = HookKind(name="executables", commands=programs, options=ExecutablesOptions, check=_check)
