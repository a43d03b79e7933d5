"""Reads a secret for a command from a file or stdin. Arguments are visible to all users of the machine."""

import sys
from getpass import getpass
from pathlib import Path

from state.errors import TowpathError

LONGEST = 4096


def read_token(file: Path | None) -> str:
    """Return the token in the file; None: the first line of stdin, with a prompt on a terminal. Raises TowpathError."""
    try:
        if file is not None:
            text = file.read_text(encoding="utf-8")
        elif sys.stdin.isatty():
            text = getpass("Join token: ")
        else:
            text = sys.stdin.readline(LONGEST)
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise TowpathError(f"The token cannot be read: {error}.") from error
    if not text.strip():
        raise TowpathError("No token was given. Pass it on stdin, or name its file with --token-file.")
    return text.strip()
