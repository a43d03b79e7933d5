"""What goes wrong on the way to a login node, or on it, as errors of the launcher. Pure."""

import logging
import time
from collections.abc import Sequence
from typing import Final

from batch.contract import LauncherError
from batch.ssh.errors import AccessDeniedError, CredentialsError, HostKeyError, SshError
from batch.ssh.output import Output

log = logging.getLogger("towpath.slurm")

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell that cannot run a program (POSIX, Shell Command Language 2.8.2)."""
TELL_ADMINS: Final = "Tell the hub's admins."


class NodeError(LauncherError):
    """A node cannot do it; another one may. `started`: the command may have been run there.

    `since`: when it was first noticed, in seconds since the epoch.
    """

    def __init__(self, message: str, node: str, *, transient: bool, code: str, hint: str = "") -> None:
        super().__init__(message, transient=transient, code=code, hint=hint)
        self.node = node
        self.started = False
        self.since = time.time()


def of_connection(node: str, account: str, error: SshError) -> LauncherError:
    """The error for a failure on the way to a node."""
    if isinstance(error, CredentialsError):
        message = f"The hub cannot log in to the cluster's login nodes as {account}."
        return LauncherError(message, transient=error.transient, code="credentials", hint=TELL_ADMINS)
    if isinstance(error, HostKeyError):
        message = f"{node} did not prove its identity, so the hub does not use it."
        return NodeError(message, node, transient=True, code="host-key", hint=TELL_ADMINS)
    if isinstance(error, AccessDeniedError):
        return NodeError(str(error), node, transient=False, code="access-denied", hint=TELL_ADMINS)
    found = NodeError(str(error), node, transient=True, code="no-answer")
    found.started = error.started
    return found


def of_output(node: str, account: str, output: Output, python: str, *, started: bool) -> NodeError:
    """The error for a node that gave no answer. `started`: the hub's program had begun to run the command."""
    log.warning(
        "A login node did not answer a request. host=%s account=%s code=%d stderr=%r",
        node, account, output.code, output.err[-500:],
    )  # fmt: skip
    if started:
        found = NodeError(
            f"{node}: the connection ended before the result of the command arrived.",
            node,
            transient=True,
            code="no-answer",
        )
        found.started = True
        return found
    if output.code in (NOT_FOUND, NOT_EXECUTABLE):
        message = f"{node} has no Python at {python}."
        return NodeError(message, node, transient=False, code="no-python", hint=TELL_ADMINS)
    return NodeError(
        f"The login shell of {account} on {node} did not run the hub's command (exit code {output.code}).",
        node,
        transient=False,
        code="login-shell",
        hint=f"Check that `ssh {node} true` works for this account without a prompt.",
    )


def of_refusal(node: str, account: str, code: str, detail: str) -> LauncherError:
    """The error for a request that a node does not carry out."""
    log.warning("A login node refused a request. host=%s account=%s code=%s detail=%r", node, account, code, detail)
    if code == "program":
        message = f"Slurm's program {detail} was not found on {node}."
        hint = f"{TELL_ADMINS} They can set bin_dir in [cluster.slurm]."
        return NodeError(message, node, transient=False, code="config", hint=hint)
    if code == "system-account":
        message = f"The account {account} on {node} is a system account, which cannot have servers."
        return LauncherError(message, transient=False, code="no-account", hint=TELL_ADMINS)
    if code == "account":
        message = f"{node} has no account named {account}."
        return NodeError(message, node, transient=False, code="no-account", hint=TELL_ADMINS)
    return NodeError(f"{node} cannot run Slurm's commands right now.", node, transient=True, code="no-answer")


def the_failure(failures: Sequence[NodeError]) -> LauncherError:
    """The error for a request that no node could do: transient, if one of them may do it later."""
    passing = [failure for failure in failures if failure.transient]
    if len(failures) == 1 or not passing:
        return failures[0]
    message = " ".join(dict.fromkeys(str(failure) for failure in passing))
    found = LauncherError(f"No login node can be used. {message}", transient=True, code="no-answer")
    found.__cause__ = passing[0]
    return found
