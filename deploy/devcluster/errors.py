"""The exceptions of the development cluster. Their messages are for users of the command line."""


class DevclusterError(Exception):
    """A step failed; the message says what happened and what to do. Exit code 1."""


class UsageError(DevclusterError):
    """The request is invalid, or this user may not make it. Exit code 2."""
