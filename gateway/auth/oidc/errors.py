"""What can go wrong between the hub and a provider: three kinds, for three consequences.

Owns: the kinds. Refuses to know sentences for people (`gateway.auth.oidc.words`).
"""


class AwayError(Exception):
    """No usable answer: the network, TLS, a 5xx, something that is no JSON. It proves nothing about anybody."""


class ProviderError(Exception):
    """The provider answered with an error of OAuth 2 (RFC 6749 sections 4.1.2.1 and 5.2), such as `invalid_grant`."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


class UnbelievableError(Exception):
    """The answer came, and is not to be believed. `str` says why, for the log; `claim`: the claim that is wrong."""

    def __init__(self, why: str, *, claim: str = "") -> None:
        super().__init__(why)
        self.claim = claim
