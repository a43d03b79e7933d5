"""The errors that cross package boundaries.

`str(error)` is a message for the user; `__cause__` has the details for the log. Does not know which transport or store
an error came from.
"""


class TowpathError(Exception):
    """The base class. Its text is a message for the user."""


class StateUnavailableError(TowpathError):
    """Redis does not answer, or cannot serve requests. Transient: the caller may retry."""


class ConflictError(TowpathError):
    """A compare-and-set failed because the record has another revision. Read it again and decide again."""


class FencedError(TowpathError):
    """The writer's fencing token is outdated. It is no longer the leader and must stop."""


class NotFoundError(TowpathError):
    """The record does not exist."""


class BadRecordError(TowpathError):
    """A record in the store cannot be read. It is set aside: nothing acts on it until an admin has looked at it."""


class NotAllowedError(TowpathError):
    """The caller may not do this, whatever their scopes are."""


class InvalidError(TowpathError):
    """The request has a value that is not valid, or it makes no sense for the record as it is."""


class LimitError(TowpathError):
    """Adding one more would exceed a limit of the configuration (`[limits]`)."""


class NotAUserError(TowpathError):
    """A service's credential was used where only a user's makes sense."""


class TransitionError(TowpathError):
    """The lifecycle table has no such transition."""


class NameRuleError(TowpathError):
    """The name of a user, server or group is invalid."""


class UsageError(TowpathError):
    """A command was called with invalid arguments: exit code 2."""


class ConfigError(TowpathError):
    """The configuration has errors. `faults` has all of them."""

    def __init__(self, faults: "list[Fault]") -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class Fault:
    """An error in a configuration: where it is, and what to do."""

    __slots__ = ("file", "key", "message")

    def __init__(self, file: str, key: str, message: str) -> None:
        self.file = file
        self.key = key
        self.message = message

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.message}"


class ChoicesError(TowpathError):
    """The options chosen for a start are not on offer. `fields` maps the name of an option to what is wrong with it."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in fields.items()))
        self.fields = fields
