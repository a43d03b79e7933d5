"""The messages for users when a sign-in with a provider fails: what happened, and what to do.

Owns these messages. They contain no secret and no text from the provider.
"""

from typing import Final

from gateway.auth.oidc.errors import InvalidResponseError, ProviderError, UnreachableError
from portal.site.sign_in import RefusedError

AGAIN: Final = "Try again."
TELL: Final = "Try again. If it happens again, tell your admin."

STALE: Final = (
    "This sign-in has expired, was already used, or was started in another browser.",
    "Start again here. Cookies must be allowed for this site.",
)

_ANSWERS: Final[dict[str, tuple[str, str]]] = {
    "access_denied": (
        "{title} refused access: you declined, or a rule there does not allow it.",
        "Try again and accept, or ask the admin of {title} for access.",
    ),
    "consent_required": ("{title} needs your consent first.", "Try again and accept."),
    "login_required": ("You are not signed in at {title}.", AGAIN),
    "interaction_required": ("{title} needs your input first.", AGAIN),
    "account_selection_required": ("{title} needs to know which account to use.", AGAIN),
    "temporarily_unavailable": ("{title} is busy.", "Try again in a few minutes."),
    "server_error": ("{title} reported an internal error.", "Try again in a few minutes."),
}
_SETUP: Final = (
    "The hub's connection to {title} is not set up correctly: {title} answered “{code}”.",
    "Tell your admin. The command `towpath check` shows details.",
)
_CODES: Final = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "invalid_token"),
        *("invalid_redirect_uri", "unauthorized_client", "unsupported_response_type", "unsupported_grant_type"),
        "insufficient_scope",
    }
)
_CLOCKS: Final = (
    "The clocks of {title} and this hub differ too much.",
    "Try again. If it happens again, tell your admin that a clock is wrong.",
)
_CLAIMS: Final[dict[str, tuple[str, str]]] = {
    "exp": _CLOCKS,
    "iat": _CLOCKS,
    "nbf": _CLOCKS,
    "nonce": ("The response of {title} belongs to another sign-in.", "Start again here."),
    "iss": (
        "The response claims to be from {title} but is not.",
        "Start again here, and tell your admin.",
    ),
}
_INVALID: Final = ("The response of {title} is not valid, so you are not signed in.", TELL)
_UNREACHABLE: Final = ("{title} does not answer.", "Try again in a few minutes, or sign in another way.")


def refusal(error: UnreachableError | ProviderError | InvalidResponseError, title: str) -> RefusedError:
    """Return the error to show to the user. `title`: the provider's title."""
    code = ""
    match error:
        case ProviderError():
            message = _ANSWERS.get(error.code, _SETUP)
            code = error.code if error.code in _CODES else "an error"
        case InvalidResponseError():
            message = _CLAIMS.get(error.claim, _INVALID)
        case _:
            message = _UNREACHABLE
    sentence, hint = message
    return RefusedError(sentence.format(title=title, code=code), hint=hint.format(title=title))
