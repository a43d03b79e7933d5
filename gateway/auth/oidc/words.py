"""What people are told when a sign-in by a provider does not work out: what happened, and what to do.

Owns: the sentences. Refuses to know how it was found out. No secret and no text of the provider's own is in them.
"""

from typing import Final

from gateway.auth.oidc.errors import AwayError, ProviderError, UnbelievableError
from portal.site.sign_in import RefusedError

AGAIN: Final = "Try again."
TELL: Final = "Try again; if it stays, tell the people who run this hub."

STALE: Final = (
    "This sign-in was begun too long ago, was finished already, or was begun in another browser.",
    "Begin again here. Cookies must be allowed for this site.",
)

_ANSWERS: Final[dict[str, tuple[str, str]]] = {
    "access_denied": (
        "{title} did not let this hub know who you are: you, or a rule there, refused.",
        "Try again and agree, or ask there whether you may use this hub.",
    ),
    "consent_required": ("{title} asks you to agree first, and you have not.", "Try again and agree."),
    "login_required": ("You are not signed in at {title}.", AGAIN),
    "interaction_required": ("{title} has to ask you something first.", AGAIN),
    "account_selection_required": ("{title} has to know which account you mean.", AGAIN),
    "temporarily_unavailable": ("{title} is busy just now.", "Try again in a few minutes."),
    "server_error": ("{title} made a mistake.", "Try again in a few minutes."),
}
_SETUP: Final = (
    "{title} and this hub do not understand each other: it answered “{code}”.",
    "Tell the people who run this hub: `towpath check` shows more.",
)
_CODES: Final = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "invalid_token"),
        *("invalid_redirect_uri", "unauthorized_client", "unsupported_response_type", "unsupported_grant_type"),
        "insufficient_scope",
    }
)
_CLOCKS: Final = (
    "The clocks of {title} and of this hub differ, so its answer cannot be believed.",
    "Try again; if it stays, tell the people who run this hub that a clock is wrong.",
)
_CLAIMS: Final[dict[str, tuple[str, str]]] = {
    "exp": _CLOCKS,
    "iat": _CLOCKS,
    "nbf": _CLOCKS,
    "nonce": ("The answer of {title} belongs to another sign-in.", "Begin again here."),
    "iss": (
        "The answer is not from {title}, though it says so.",
        "Begin again here, and tell the people who run this hub.",
    ),
}
_UNBELIEVABLE: Final = ("The answer of {title} cannot be believed, so nobody is signed in.", TELL)
_AWAY: Final = ("{title} does not answer just now.", "Try again in a few minutes, or sign in another way.")


def refusal(error: AwayError | ProviderError | UnbelievableError, title: str) -> RefusedError:
    """The sentence for an error. `title`: what the provider is called here."""
    code = ""
    match error:
        case ProviderError():
            said = _ANSWERS.get(error.code, _SETUP)
            code = error.code if error.code in _CODES else "an error"
        case UnbelievableError():
            said = _CLAIMS.get(error.claim, _UNBELIEVABLE)
        case _:
            said = _AWAY
    sentence, hint = said
    return RefusedError(sentence.format(title=title, code=code), hint=hint)
