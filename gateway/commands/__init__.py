"""What each command of `towpath` does; `gateway.cli` reads the arguments and prints the errors."""

from state.errors import TowpathError


class UsageError(TowpathError):
    """The command cannot be run as it was given: exit code 2."""
