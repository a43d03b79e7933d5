"""Requests to the hosts of a pool, with typed answers and errors in sentences.

Owns which request goes by which account: what only looks at load and processes by the monitor's, everything about a job
by its own. Does not know what follows from an answer.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from batch.contract import LauncherError, PartReport
from batch.launchers.ssh.advice import summary, trouble_text
from batch.launchers.ssh.answers import Account, HostResources, Scan, Started, gpu_of
from batch.launchers.ssh.kind import SshConfig, SshHostConfig
from batch.launchers.ssh.native_id import Place
from batch.launchers.ssh.program import command, read_answer, write_request
from batch.launchers.ssh.views import Look
from batch.ssh.connections import Connections
from batch.ssh.door import Output
from batch.ssh.errors import AccessDeniedError, CredentialsError, HostKeyError, SshError

log = logging.getLogger("towpath.ssh")

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a shell that cannot run a program (POSIX, Shell Command Language 2.8.2)."""
TELL_ADMINS: Final = "Tell the hub's admins."

T = TypeVar("T")


class Hosts:
    """See the module. Every method may raise LauncherError."""

    def __init__(self, config: SshConfig, connections: Connections, *, authority: str = "") -> None:
        """`authority`: the public key of the hub's own SSH authority, where it has one."""
        self._config = config
        self._connections = connections
        self._authority = authority
        self._command = command(config.python)

    async def scan(self, host: str) -> Scan:
        """The hub's jobs that run on a host, of all accounts."""
        return await self._ask(host, self._config.monitor_user, "probe", {}, Scan)

    async def resources(self, host: str) -> HostResources:
        """The same, and what the host has."""
        return await self._ask(host, self._config.monitor_user, "probe", {"resources": True}, HostResources)

    async def account(self, host: str, name: str) -> Account:
        """What the host knows of an account; nothing is done as it."""
        return await self._ask(host, self._config.monitor_user, "account", {"name": name}, Account)

    async def look(self, host: str, account: str, attempts: Sequence[str]) -> Look:
        """The state of jobs of one account."""
        return await self._as(Place(host=host, account=account), "look", {"attempts": list(attempts)}, Look)

    async def stop(self, place: Place, attempt: str, grace: float) -> None:
        """Ask for the end of a job; what is left after the grace is killed by a later call."""
        await self._as(place, "stop", {"attempt": attempt, "grace": grace}, dict[str, Any])

    async def start(self, place: Place, request: Mapping[str, Any], starter: bytes = b"") -> Started:
        """Start a job, unless there is one. `starter`: its text, where the host was found not to have it."""
        size = {"starter_size": len(starter)} if starter else {}
        return await self._as(place, "start", {**request, **size, "host": place.host}, Started, starter)

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
        return PartReport(part=part, text=text, doubt=doubt)

    def _advice(self, host: SshHostConfig, error: Exception) -> str:
        return trouble_text(error, host, self._config, authority=self._authority, account=self._config.monitor_user)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _as(self, place: Place, verb: str, request: Mapping[str, Any], kind: type[T], more: bytes = b"") -> T:
        """Ask as a job's account, which the host checks once more."""
        whole = {
            **request,
            "account": place.account,
            "min_uid": self._config.min_uid,
            "folder": self._config.folder,
            "python": self._config.python,
        }
        return await self._ask(place.host, place.account, verb, whole, kind, more)

    async def _ask(  # noqa: PLR0917 - whom, as whom, what
        self, host: str, account: str, verb: str, request: Mapping[str, Any], kind: type[T], more: bytes = b""
    ) -> T:
        mark, given = write_request(verb, request, more)
        try:
            output = await self._connections.run(host, account, self._command, given, seconds=self._config.timeout)
        except SshError as error:
            raise connection_error(host, account, error) from error
        answer = read_answer(mark, output.out)
        if answer is None:
            raise self._no_answer(host, account, output, str(request.get("attempt", "-")))
        if "refused" in answer:
            log.warning(
                "A host refused a request. host=%s account=%s attempt=%s code=%s detail=%r",
                *(host, account, request.get("attempt", "-"), answer["refused"], answer.get("detail", "")),
            )
            raise refusal(host, account, str(answer["refused"]), str(answer.get("detail", "")))
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise LauncherError(f"The answer of {host} cannot be read.", transient=True, code="no-answer") from error

    def _no_answer(self, host: str, account: str, output: Output, attempt: str) -> LauncherError:
        """Why the program did not come to answer: no interpreter, or a login shell that does not run commands."""
        log.warning(
            "A host did not answer a request. host=%s account=%s attempt=%s code=%d stderr=%r",
            host, account, attempt, output.code, output.err[-500:],
        )  # fmt: skip
        if output.code in (NOT_FOUND, NOT_EXECUTABLE):
            return LauncherError(
                f"{host} has no Python at {self._config.python}.", transient=False, code="no-python", hint=TELL_ADMINS
            )
        return LauncherError(
            f"The login shell of {account} on {host} did not run the hub's command (exit code {output.code}).",
            transient=False,
            code="login-shell",
            hint=f"Check that `ssh {host} true` works for this account, without a question.",
        )


def connection_error(host: str, account: str, error: SshError) -> LauncherError:
    """A failure on the way to a host."""
    if isinstance(error, HostKeyError):
        words = (
            f"{host} did not prove its identity, so the hub does not use it."
            if error.changed
            else f"The hub does not know the host key of {host}, so it does not use it."
        )
        return LauncherError(words, transient=True, code="host-key", hint=TELL_ADMINS)
    if isinstance(error, AccessDeniedError):
        return LauncherError(str(error), transient=False, code="access-denied", hint=TELL_ADMINS)
    if isinstance(error, CredentialsError):
        words = f"The hub cannot log in to {host} as {account}."
        return LauncherError(words, transient=error.transient, code="credentials", hint=TELL_ADMINS)
    return LauncherError(str(error), transient=True, code="host-silent")


def refusal(host: str, account: str, code: str, detail: str) -> LauncherError:
    """A request that a host does not carry out."""
    table = {
        "system-account": (False, f"The account {account} on {host} is one of the system's.", TELL_ADMINS),
        "account": (False, f"{host} has no account named {account}.", TELL_ADMINS),
        "home": (False, f"Your home folder is not there on {host}.", TELL_ADMINS),
        "space": (False, f"Your home folder on {host} is full.", "Remove files there, and start the server again."),
        "folder": (False, f"The folder of the job on {host} cannot be used.", f"{detail}".strip()),
        "starter": (True, f"The hub's program did not reach {host} whole.", ""),
        "busy": (True, f"Another start of this server is under way on {host}.", ""),
        "spawn": (False, f"The job cannot be started on {host}.", TELL_ADMINS),
    }
    transient, words, hint = table.get(code, (False, f"{host} refused the request.", TELL_ADMINS))
    return LauncherError(words, transient=transient, code=code, hint=hint)
