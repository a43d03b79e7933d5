"""A kind of cluster that another package brings. This module is imported by every process of the hub."""

from msgspec import Struct

from state.plugins.launchers import LauncherKind


class MoonOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.moon]`"""

    crater: str
    """The folder of the jobs."""
    gravity: float = 1.62


def check(options, at, say):
    if not options.crater.startswith("/"):
        say(f"{at}.crater", f"{options.crater!r} is not an absolute path.")


KIND = LauncherKind(
    name="moon",
    open="towpath_moon.launcher:open_moon",
    endpoints=frozenset({"unix"}),
    options=MoonOptions,
    check=check,
    runs_here=True,
    shared_account=lambda options: True,
    cheap_polls=True,
)
