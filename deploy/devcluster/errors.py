"""What can go wrong, as sentences for people.

Owns: the exceptions. Refuses to know: who prints them.
"""


class DevclusterError(Exception):
    """Something that was expected to work did not; the message says what, and what to do. Exit code 1."""


class UsageError(DevclusterError):
    """It cannot be done as it was asked for, or by whom: exit code 2."""
