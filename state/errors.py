"""Every error that crosses a room's boundary. Few and flat, each for two readers.

`str(error)` is a sentence that a user may read; `__cause__` holds what the log wants.
Owns nothing. Refuses to know which transport or store an error came from.
"""


class TowpathError(Exception):
    """The root of all: a sentence for the user."""


class StateUnavailableError(TowpathError):
    """Redis did not answer, or answered that it cannot serve. Transient: the caller may try again."""


class ConflictError(TowpathError):
    """A compare-and-set lost: the record's revision is not the expected one. Read again and decide again."""


class FencedError(TowpathError):
    """The writer's fencing token is older than one already seen: it is no longer the leader and must stop."""


class NotFoundError(TowpathError):
    """There is no such record."""


class NotAPersonError(TowpathError):
    """A service's credential was used where only a person's makes sense."""


class TransitionError(TowpathError):
    """The lifecycle table has no such transition."""


class NameRuleError(TowpathError):
    """A user's or server's name breaks the name rules."""


class UsageError(TowpathError):
    """A command cannot be run as it was given: exit code 2."""


class ConfigError(TowpathError):
    """The configuration has faults. `faults` holds all of them."""

    def __init__(self, faults: "list[Fault]") -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class Fault:
    """One fault of a configuration: where it stands and what to do about it."""

    __slots__ = ("file", "key", "message")

    def __init__(self, file: str, key: str, message: str) -> None:
        self.file = file
        self.key = key
        self.message = message

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.message}"


class ChoicesError(TowpathError):
    """What was picked for a start is not on offer. `fields` maps an option's name to what is wrong with it."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in fields.items()))
        self.fields = fields
