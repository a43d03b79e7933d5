"""Requests to the hosts of a pool, over SSH.

Owns how the program comes to run on a host, and what keeps it from that. Does not know what follows from an answer.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from batch.contract import LauncherError, PartReport
from batch.launchers.ssh.advice import no_forwarding, summary
from batch.launchers.ssh.answers import gpu_of
from batch.launchers.ssh.kind import SshConfig, SshHostConfig
from batch.launchers.ssh.native_id import Place
from batch.launchers.ssh.program import command, write_request
from batch.launchers.ssh.requests import TELL_ADMINS, HostRequests
from batch.ssh.connections import Connections
from batch.ssh.errors import AccessDeniedError, CredentialsError, HostKeyError, SshError
from batch.ssh.host_advice import trouble_text
from batch.ssh.output import Output

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell that cannot run a program (POSIX, Shell Command Language 2.8.2)."""

REACH_SECONDS: Final = 5.0
REACH_PAUSE: Final = 0.1
CHECK_FOLDER: Final = "/tmp/towpath-check-"  # noqa: S108 - of `remote.listen`, which makes it private


class Hosts(HostRequests):
    """See the module. What only looks at load and processes is asked as the monitor, all else as a job's account."""

    def __init__(
        self, config: SshConfig, connections: Connections, *, authority: str = "", by_ssh: bool = False
    ) -> None:
        """`authority`: the public key of the hub's own SSH authority, where it has one.

        `by_ssh`: gateways reach apps by SSH, which `check` tries.
        """
        super().__init__(config)
        self._by_ssh = by_ssh
        self._connections = connections
        self._authority = authority
        self._command = command(config.python)

    async def run(self, place: Place, verb: str, request: Mapping[str, Any], more: bytes = b"") -> tuple[str, Output]:
        """See the base."""
        mark, given = write_request(verb, request, more)
        try:
            output = await self._connections.run(
                place.host, place.account, self._command, given, seconds=self._config.timeout
            )
        except SshError as error:
            raise connection_error(place.host, place.account, error) from error
        return mark, output

    def no_answer(self, place: Place, output: Output) -> LauncherError:
        """Why the program did not come to answer: no interpreter, or a login shell that does not run commands."""
        host, account = place.host, place.account
        if output.code in (NOT_FOUND, NOT_EXECUTABLE):
            return LauncherError(
                f"{host} has no Python at {self._config.python}.", transient=False, code="no-python", hint=TELL_ADMINS
            )
        return LauncherError(
            f"The login shell of {account} on {host} did not run the hub's command (exit code {output.code}).",
            transient=False,
            code="login-shell",
            hint=f"Check that `ssh {host} true` works for this account without a prompt.",
        )

    def troubles(self) -> list[PartReport]:
        """The hosts that the monitor's account cannot be connected to now."""
        found = []
        for host in self._config.host:
            trouble = self._connections.trouble(host.name, self._config.monitor_user)
            if trouble is not None:
                error, since = trouble
                urgent = isinstance(error, HostKeyError)
                text = self._advice(host, error)
                found.append(PartReport(part=f"host {host.name}", good=False, text=text, since=since, urgent=urgent))
        return found

    async def check_hosts(self) -> list[PartReport]:
        """See the base."""
        return list(await asyncio.gather(*(self.check(host) for host in self._config.host)))

    async def check(self, host: SshHostConfig) -> PartReport:
        """Ask one host what it has, and whether it lacks anything."""
        part = f"host {host.name}"
        try:
            found = await self.resources(host.name)
        except LauncherError as error:
            cause = error.__cause__ if isinstance(error.__cause__, SshError) else error
            return PartReport(part=part, good=False, text=self._advice(host, cause))
        types = Counter(gpu_of(raw).type for raw in found.gpus)
        text, doubt = summary(found, [f"{count} {kind} GPU{'s' * (count > 1)}" for kind, count in types.items()])
        if self._by_ssh and (why := await self._no_forwarding(host)):
            return PartReport(part=part, good=False, text=f"{text} {why}")
        return PartReport(part=part, text=text, doubt=doubt)

    async def _no_forwarding(self, host: SshHostConfig) -> str:
        """Try the way in ssh as gateways use it, with a socket of the monitor's; return what is wrong, or `""`."""
        name, account = secrets.token_hex(8), self._config.monitor_user
        waiting = asyncio.ensure_future(
            self._ask(self._monitor(host.name), "listen", {"name": name, "seconds": REACH_SECONDS}, dict[str, Any])
        )
        try:
            async with self._connections.forwarding(host.name, account) as connection:
                while not waiting.done() and not await connection.greet(f"{CHECK_FOLDER}{name}/s", b"towpath\n"):  # noqa: ASYNC110
                    await asyncio.sleep(REACH_PAUSE)
            reached = (await waiting).get("reached") is True
        except (SshError, LauncherError) as error:
            return self._advice(host, error)
        finally:
            waiting.cancel()
        return "" if reached else no_forwarding(host)

    def _advice(self, host: SshHostConfig, error: Exception) -> str:
        return trouble_text(error, host, self._config, authority=self._authority, account=self._config.monitor_user)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()


def connection_error(host: str, account: str, error: SshError) -> LauncherError:
    """A failure on the way to a host."""
    if isinstance(error, HostKeyError):
        message = (
            f"{host} did not prove its identity, so the hub does not use it."
            if error.changed
            else f"The hub does not know the host key of {host}, so it does not use it."
        )
        return LauncherError(message, transient=True, code="host-key", hint=TELL_ADMINS)
    if isinstance(error, AccessDeniedError):
        return LauncherError(str(error), transient=False, code="access-denied", hint=TELL_ADMINS)
    if isinstance(error, CredentialsError):
        message = f"The hub cannot log in to {host} as {account}."
        return LauncherError(message, transient=error.transient, code="credentials", hint=TELL_ADMINS)
    return LauncherError(str(error), transient=True, code="host-silent")
