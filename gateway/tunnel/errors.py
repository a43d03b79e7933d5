"""Errors between the gateway and the app.

Owns `UpstreamError` and its kinds. Does not know how an error is shown: the caller makes a page or JSON of it.
"""

from typing import Final

from state.errors import TowpathError

_KINDS: dict[str, tuple[int, str]] = {
    "refused": (503, "No connection could be made to the server."),
    "identity": (503, "The hub cannot prove itself to the server's node. Tell the hub's admins."),
    "busy": (503, "The server has too many open requests. Try again in a moment."),
    "too-many": (429, "You have too many open requests to this server. Try again in a moment."),
    "before-headers": (502, "The server closed the connection before it answered."),
    "bad-response": (502, "The server's answer is not valid HTTP."),
    "timeout": (504, "The server took too long to answer."),
    "bad-request": (400, "The request cannot be passed on: its head is not valid."),
}
_SILENT: Final = frozenset({"refused", "before-headers", "bad-response", "timeout"})


class UpstreamError(TowpathError):
    """Nothing was sent to the client yet: respond with `status` and this message.

    `kind`: a key of `_KINDS`. `detail` is for the log. `message`: what to say to the user, if more is known.
    """

    def __init__(self, kind: str, detail: str = "", message: str = "") -> None:
        self.status, sentence = _KINDS[kind]
        super().__init__(message or sentence)
        self.kind = kind
        self.detail = detail

    @property
    def silent(self) -> bool:
        """Whether the app, or its node, gave no answer that can be used."""
        return self.kind in _SILENT


class TruncatedError(Exception):
    """The app's response ended before its body was complete. Never leaves the tunnel."""


class StaleConnectionError(Exception):
    """A persistent connection ended without a response. Never leaves the tunnel."""
