"""What can go wrong on the way to a host. Each error's text is a sentence for the log and the user's page."""


class SshError(Exception):
    """The base of these errors. `started`: the command may have been started, and may have read its input."""

    started: bool = False


class HostUnreachableError(SshError):
    """The host does not answer, or the connection could not be established in time."""


class ConnectionDroppedError(SshError):
    """sshd closed the connection before authentication, as MaxStartups makes it do under load."""


class HostKeyError(SshError):
    """The host did not prove who it is. It showed `public_key` (TYPE BASE64), whose fingerprint is `fingerprint`.

    `changed`: another key is known for this host; otherwise no key is known.
    """

    def __init__(self, message: str, *, fingerprint: str = "", public_key: str = "", changed: bool = False) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint
        self.public_key = public_key
        self.changed = changed


class AccessDeniedError(SshError):
    """The host does not let the account in with the credentials that we have."""


class CredentialsError(SshError):
    """The hub has no usable credentials of its own. `transient`: they may come by themselves."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class SessionRefusedError(SshError):
    """sshd does not open another session on this connection (MaxSessions)."""


class ConnectionLostError(SshError):
    """The connection ended, or the answer took too long.

    `started` False: before the command could have read its input.
    """

    def __init__(self, message: str, *, started: bool = True) -> None:
        super().__init__(message)
        self.started = started


class OutputLimitError(SshError):
    """The command printed more than it may; it was ended."""

    started = True
