"""Errors between the hub and a provider: three kinds, which are handled differently.

Owns these kinds, and that their text cannot break a log line: it can contain text from the provider, or from anyone who
sends a browser back in its name. The messages for users are in `gateway.auth.oidc.messages`.
"""

from typing import Final

from state.records.audit import plain

LONGEST: Final = 600
OTHERS_MAX: Final = 300


class _LoggedError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(plain(text, LONGEST))


class UnreachableError(_LoggedError):
    """No usable response: the network, TLS, a 5xx, invalid JSON. It says nothing about the user."""


class ProviderError(_LoggedError):
    """The provider answered with an error of OAuth 2 (RFC 6749 sections 4.1.2.1 and 5.2), such as `invalid_grant`."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code


class InvalidResponseError(_LoggedError):
    """The response is not valid. `str` is the reason, for the log; `claim`: the claim that is wrong."""

    def __init__(self, reason: str, *, claim: str = "") -> None:
        super().__init__(reason)
        self.claim = claim


def in_a_line(error: Exception) -> str:
    """Return a library's error in one line: its class and the first line of its text, which contains no secret."""
    text = str(error).splitlines()[0][:OTHERS_MAX] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
