"""Rules for services from the configuration and the API: names, URLs and tokens.

Pure. Does not know where services come from.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from state.errors import NameRuleError

SECRET_LEAST: Final = 32
"""Minimum length of a service's token, in characters."""
_ABSOLUTE: Final = re.compile(r"https?://[^/?#@\s]+(/[^#\s]*)?")
_NAME: Final = re.compile(r"[a-z0-9](-?[a-z0-9])*")
_NAME_MAX: Final = 30


def service_name(raw: str) -> str:
    """Check the name of a service, which is part of URLs. Raises NameRuleError."""
    if len(raw) > _NAME_MAX or not _NAME.fullmatch(raw):
        raise NameRuleError(f"A service name has at most {_NAME_MAX} lowercase letters, digits and single dashes.")
    return raw


def is_url(raw: str) -> bool:
    """Return whether this is an http(s) URL without user info and fragment."""
    if not _ABSOLUTE.fullmatch(raw):
        return False
    try:
        return bool(urlsplit(raw).hostname) and urlsplit(raw).port != 0
    except ValueError:
        return False


def is_redirect(raw: str) -> bool:
    """Return whether this can be a redirect URI: a URL, or a path of this hub."""
    if any(ord(character) < 0x21 or character in "#\\" for character in raw):  # noqa: PLR2004 - ASCII
        return False
    return is_url(raw) or (raw.startswith("/") and not raw.startswith("//"))


def is_secret(raw: str) -> bool:
    """Return whether this can be a service's token."""
    return len(raw) >= SECRET_LEAST and raw.isascii() and raw.isprintable()
