"""What the door is given, as interfaces, and how it refuses a request."""

from typing import Protocol

from gateway.wire import Request
from portal.refusals.pages import Answer
from state.rights.identity import Identity


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """The request goes no further. `sign_in`: a user could sign in and try again."""

    def __init__(self, status: int, message: str, *, sign_in: bool = False, user: str = "") -> None:
        """`user`: who asked, for the log."""
        super().__init__(message)
        self.status = status
        self.user = user
        self.sign_in = sign_in


class Answers(Protocol):
    """The responses in place of an app's: pages for browsers, JSON for programs."""

    def refuse(self, status: int, message: str, *, page: bool) -> Answer:
        """Return an error. `message` is a sentence."""

    def sign_in(self, target: str, *, page: bool) -> Answer:
        """Return the way to the sign-in page and back to `target`, or JSON 403."""

    async def not_running(self, target: str, identity: Identity, user: str, segment: str, *, page: bool) -> Answer:
        """Return the page of a server without a route (start, or pending), or JSON 424."""

    async def no_answer(self, target: str, user: str, name: str, status: int, message: str, *, itself: bool) -> Answer:
        """Return the page of a server whose app or node did not answer. `itself`: its own user asks."""


class Portal(Protocol):
    """The hub's own pages and API."""

    def handle(self, request: Request, identity: Identity | None) -> None:
        """Answer a request of `identity` (None: nobody is signed in)."""


class Visits(Protocol):
    """Notes who uses, or tries to use, another user's server. Must not wait."""

    def __call__(self, request: Request, identity: Identity, user: str, name: str, *, refused: bool) -> None:
        """`name`: of `user`'s server, as far as it is known."""
