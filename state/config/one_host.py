"""What one host name for the hub and the servers of all users means for sharing."""

from typing import Final

from state.config.tables import Config

WHY: Final = (
    "The hub and all servers have one host name, so a page of a server can act on the hub as the user who opens it."
)
REFUSED: Final = (
    f"Servers of this hub cannot be shared. {WHY} An admin can give each user a host name ([gateway] user_domain)."
)
ACCEPTED: Final = (
    f"share_on_one_host is set. {WHY} To prevent that, give each user a host name ([gateway] user_domain)."
)


def on_one_host(config: Config) -> bool:
    """Return whether the servers of several users have the origin of the hub and of each other."""
    return config.auth is not None and not config.gateway.user_domain


def may_share(config: Config) -> bool:
    """Return whether users may share servers with each other at all."""
    return not on_one_host(config) or config.gateway.share_on_one_host
