"""Gives a user's files that a Jupyter server displays their own origin in the browser.

Owns these paths, and the header line. Does not know the caller. Jupyter adds the same policy itself where
it is new and configured so (nbconvert's stored XSS was where it was not); of two policies both hold.

Source: Content Security Policy Level 3, section 6.3.2 (`sandbox`); jupyter_server's FilesHandler, NbconvertFileHandler.
"""

from typing import Final
from urllib.parse import unquote_to_bytes

LINE: Final = b"content-security-policy: sandbox allow-scripts\r\n"
_PLACES: Final = (b"files", b"nbconvert")


def confined(target: bytes, slashes: int) -> bool:
    """Return whether the response shows a file unchanged. `slashes`: how many the server's prefix has. Pure."""
    if b"files" not in target and b"nbconvert" not in target and b"%" not in target:
        return False
    parts = target.partition(b"?")[0].split(b"/", slashes)
    if len(parts) <= slashes:
        return False
    first = parts[slashes].lstrip(b"/").partition(b"/")[0]
    return (unquote_to_bytes(first) if b"%" in first else first) in _PLACES
