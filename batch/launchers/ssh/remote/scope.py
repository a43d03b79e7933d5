"""A systemd scope for a job, where the host has one for its account: memory and CPU are limited by its cgroup."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

PATH = "/usr/bin:/bin"
LINGER = "/var/lib/systemd/linger"


def scope_prefix(request: "dict[str, Any]", account: "pwd.struct_passwd") -> "tuple[list[str], bool]":
    """What stands before the job's command, `[]` without a scope; and whether the account's user manager stays."""
    return [], False
