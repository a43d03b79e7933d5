"""The log line of a server that failed: whose it was, which job it was, and why. For both sides, which see ends."""

import logging

from state.records.models import Server, Status

log = logging.getLogger("towpath.servers")


def log_failure(server: Server) -> None:
    """Write a line if the server failed. Servers that were stopped are no failures."""
    reason = server.reason
    if server.status is not Status.FAILED or reason is None:
        return
    log.warning(
        "A server failed. user=%s server=%s profile=%s cluster=%s job=%s node=%s attempt=%s code=%s exit=%s why=%s",
        *(server.user, server.name or "-", server.profile, server.cluster),
        *(server.job.native_id if server.job is not None and server.job.native_id else "-", server.node or "-"),
        *(server.attempt, reason.code, "-" if reason.exit_code is None else reason.exit_code, reason.message),
    )
