"""The kind `local`: processes on the hub's own machine, under the hub's own account."""

from typing import Any, Final

from state.plugins.launchers import LauncherKind


def _always(_: Any) -> bool:
    return True


KIND: Final = LauncherKind(
    name="local",
    open="batch.launchers.local.launcher:open_local",
    endpoints=frozenset({"unix", "tcp"}),
    runs_here=True,
    shared_account=_always,
    cheap_polls=True,
    self_test="batch.launchers.local.port_check:port_fault",
)
