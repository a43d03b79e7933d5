"""What can go wrong on the way to a host. The texts are sentences for the user's page."""

from gateway.ways_in.errors import WayInError


class HostError(WayInError):
    """No connection to a host can be made. `renew`: another pass may help, because this one was not accepted.

    `kind`: see `WayInError`.
    """

    def __init__(self, detail: str, message: str, *, renew: bool = False, kind: str = "refused") -> None:
        super().__init__(kind, detail, message)
        self.renew = renew


class DroppedError(HostError):
    """sshd closed the connection before authentication, as MaxStartups makes it do under load."""


class LinkLostError(HostError):
    """A connection that was open has ended. A new one may be possible."""


class LinkFullError(HostError):
    """This connection takes no more streams. Another one may."""
