"""What keeps a hub from being served."""

from state.errors import TowpathError


class ServeError(TowpathError):
    """The hub cannot run. `str` is the message for the terminal."""
