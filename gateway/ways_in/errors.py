"""The error of a way in.

Owns `WayInError`. Does not know how an error is shown, or with which status.
"""

from state.errors import TowpathError


class WayInError(TowpathError):
    """No stream can be opened. The text is for the user; `""`: there is nothing to add to the usual sentence.

    `kind`: "identity" (this gateway and the node do not trust each other: only an admin can change that) or "refused".
    `detail` is for the log.
    """

    def __init__(self, kind: str, detail: str, message: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.detail = detail
