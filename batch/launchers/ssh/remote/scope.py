"""A systemd scope for a job, if the host has user managers: its cgroup limits memory, CPU and processes.

A scope belongs to the account's user manager, which ends with the last login, together with its processes, unless the
account lingers. So an account that may not linger gets no scope.
"""

import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from typing import Any

SECONDS = 10
LINGER = "/var/lib/systemd/linger"
MAX_TASKS = 8192
READ_LIMITS = 'cd "/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)" && cat memory.max cpu.max'
"""Prints the limits of the cgroup that it runs in: a number of bytes or `max`, then a quota or `max`, and a period."""


class Scope:
    """Return the arguments before a job's command, and what they limit."""

    def __init__(self, prefix: "list[str]", *, memory: bool = False, cores: bool = False) -> None:
        self.prefix = prefix
        self.memory = memory
        self.cores = cores


def open_scope(request: "dict[str, Any]", account: "pwd.struct_passwd", variables: "dict[str, str]") -> Scope:
    """Return the scope for this job, after trying it once. Without one its prefix is empty.

    `variables` receives what systemd-run needs.
    """
    if not os.path.isdir("/run/systemd/system"):
        return Scope([])
    runtime = "/run/user/%d" % account.pw_uid
    if not lingers(account.pw_name) or not os.path.exists(runtime + "/bus"):
        return Scope([])
    variables["XDG_RUNTIME_DIR"] = runtime
    variables["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=" + runtime + "/bus"
    share = request.get("share") or {}
    prefix = ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--property=TasksMax=%d" % MAX_TASKS]
    if share.get("memory"):
        prefix += ["--property=MemoryMax=%d" % share["memory"], "--property=MemorySwapMax=0"]
    if share.get("cores"):
        prefix.append("--property=CPUQuota=%d%%" % (100 * share["cores"]))
    printed = output([*prefix, "--", "/bin/sh", "-c", READ_LIMITS], variables)
    if printed is None:
        return Scope([])
    limits = printed.split()
    memory = bool(share.get("memory")) and len(limits) > 0 and limits[0].isdigit()
    cores = bool(share.get("cores")) and len(limits) > 1 and limits[1].isdigit()
    unit = "--unit=towpath-%s" % request["attempt"]
    return Scope([*prefix, unit, "--"], memory=memory, cores=cores)


def lingers(name: str) -> bool:
    """Return whether the account's user manager stays without a login; request it if not."""
    path = os.path.join(LINGER, name)
    if not os.path.exists(path):
        output(["loginctl", "enable-linger"], dict(os.environ))
    return os.path.exists(path)


def output(argv: "list[str]", variables: "dict[str, str]") -> "str | None":
    """Return the output of a command; None: it failed."""
    try:
        done = subprocess.run(
            argv, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
