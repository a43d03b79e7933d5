"""Which apps listen on a port, and the risk if a profile shares that port with the node. Pure."""

from typing import Final

from state.config.tables import Config, ProfileConfig

SHARED_PORT_NOTE: Final = (
    "Other users of the same node can open this app while it runs, and do in it what you can do. Do not use it for"
    " anything that others must not see or change."
)
"""For users, on the form."""


def listens_on_port(profile: ProfileConfig) -> bool:
    """Return whether the app of a profile listens on a port, and not on a unix socket."""
    if not profile.command or any("{socket}" in part for part in profile.command):
        return False
    return any("{port}" in part for part in profile.command) or not gets_socket_options(profile)


def gets_socket_options(profile: ProfileConfig) -> bool:
    """Return whether the hub appends the options for a socket to the command, as JupyterHub appends its own options.

    It does so for commands of JupyterHub's single-user server without a placeholder, which JupyterHub runs unchanged.
    If the profile shares its port with the node, the server listens on the address in JUPYTERHUB_SERVICE_URL.
    """
    named = any(name in part for part in profile.command for name in ("{socket}", "{port}"))
    return profile.app == "jupyterhub" and bool(profile.command) and not named and not profile.shared_node_port


def shares_port(profile: ProfileConfig) -> bool:
    """Return whether other users of the node can open the app."""
    return profile.shared_node_port and listens_on_port(profile)


def sharing_port(config: Config) -> list[ProfileConfig]:
    """Return the profiles whose apps other users of the node can open."""
    return [profile for profile in config.profile if shares_port(profile)]


def isolated_on(config: Config, cluster: str) -> list[ProfileConfig]:
    """Return the profiles of a cluster whose apps need a network of their own on the node."""
    return [
        profile
        for profile in config.profile
        if cluster in profile.clusters and listens_on_port(profile) and not profile.shared_node_port
    ]


def shared_port_warning(profile: ProfileConfig) -> str:
    """Return the warning about a shared port, for admins."""
    return (
        f"shared_node_port is set: while an app of {profile.name} runs, every user of its node can open it, and act in"
        " it as its owner. Remove the key to give the app a network of its own."
    )
