"""What keeps a hub from being served."""

from state.errors import TowpathError


class ServeError(TowpathError):
    """The hub cannot be served: in words, for the terminal."""
