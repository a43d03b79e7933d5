"""Errors that prevent a hub from starting or running."""

from state.errors import TowpathError


class ServeError(TowpathError):
    """The hub cannot run. `str` is the message for the terminal."""
