"""The fields that a log line about a server has: which server, which attempt, and which job.

Owns their names and order, so that lines can be searched for a user's server and for the scheduler's job id.
"""

from state.names import server_key
from state.records.models import Server


def log_fields(server: Server | None, key: str = "") -> str:
    """Return `server=alice/gpu attempt=0123... job=4711`; the job's id is `-` while there is none.

    `key`: names a server that has no record.
    """
    if server is None:
        return f"server={key} attempt=- job=-"
    job = server.job.native_id if server.job is not None and server.job.native_id else "-"
    return f"server={server_key(server.user, server.name)} attempt={server.attempt} job={job}"
