"""Why a request cannot be carried out."""


class RefusedError(Exception):
    """`code` names the reason, `detail` is for the log: the hub has the sentences."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
