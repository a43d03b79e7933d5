"""What can go wrong between the hub and a provider: three kinds, for three consequences.

Owns: the kinds, and that none of their texts can end a line of a log: what a provider, or whoever sends a browser back
in its name, has written is in them. Refuses to know sentences for people (`gateway.auth.oidc.words`).
"""

from typing import Final

from state.records.audit import plain

LONGEST: Final = 600
OTHERS_MAX: Final = 300


class _SaidError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(plain(text, LONGEST))


class AwayError(_SaidError):
    """No usable answer: the network, TLS, a 5xx, something that is no JSON. It proves nothing about anybody."""


class ProviderError(_SaidError):
    """The provider answered with an error of OAuth 2 (RFC 6749 sections 4.1.2.1 and 5.2), such as `invalid_grant`."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code


class UnbelievableError(_SaidError):
    """The answer came, and is not to be believed. `str` says why, for the log; `claim`: the claim that is wrong."""

    def __init__(self, why: str, *, claim: str = "") -> None:
        super().__init__(why)
        self.claim = claim


def in_a_line(error: Exception) -> str:
    """A library's error: its kind and the first line of its text. None of those libraries puts a secret there."""
    text = str(error).splitlines()[0][:OTHERS_MAX] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
