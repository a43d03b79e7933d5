"""The error that ends a start."""


class StartError(Exception):
    """The app was not started, or did not become ready. `code` is for programs, the text and the hint for the user."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        Exception.__init__(self, message)
        self.code = code
        self.hint = hint
