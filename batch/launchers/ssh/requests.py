"""Requests to the program that runs as a user (`remote`), with typed answers and errors in sentences.

Owns what each request asks, and what its answers and refusals mean. How the program comes to run, over SSH or on this
machine, is for subclasses. Does not know what follows from an answer.
"""

import abc
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from batch.contract import LauncherError, PartReport
from batch.launchers.ssh.answers import Account, HostResources, Scan, Started
from batch.launchers.ssh.kind import SshConfig
from batch.launchers.ssh.native_id import Place
from batch.launchers.ssh.program import read_answer
from batch.launchers.ssh.views import Look
from batch.ssh.output import Output

log = logging.getLogger("towpath.hosts")

TELL_ADMINS: Final = "Tell the hub's admins."

T = TypeVar("T")


class HostRequests(abc.ABC):
    """See the module. Every method may raise LauncherError."""

    def __init__(self, config: SshConfig) -> None:
        self._config = config

    @abc.abstractmethod
    async def run(self, place: Place, verb: str, request: Mapping[str, Any], more: bytes = b"") -> tuple[str, Output]:
        """Run the program for one request: (the mark of its answer, what was printed)."""

    @abc.abstractmethod
    def no_answer(self, place: Place, output: Output) -> LauncherError:
        """Why the program did not answer."""

    @abc.abstractmethod
    def troubles(self) -> list[PartReport]:
        """The hosts that cannot be used now."""

    @abc.abstractmethod
    async def check_hosts(self) -> list[PartReport]:
        """Ask each host what it has, and whether it lacks anything."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close what is open."""

    async def scan(self, host: str) -> Scan:
        """The hub's jobs that run on a host, of all accounts."""
        return await self._ask(self._monitor(host), "probe", {}, Scan)

    async def resources(self, host: str) -> HostResources:
        """The same, and what the host has."""
        return await self._ask(self._monitor(host), "probe", {"resources": True}, HostResources)

    async def account(self, host: str, name: str) -> Account:
        """What the host knows of an account; nothing is done as it."""
        return await self._ask(self._monitor(host), "account", {"name": name}, Account)

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

    def _monitor(self, host: str) -> Place:
        return Place(host=host, account=self._config.monitor_user)

    async def _as(self, place: Place, verb: str, request: Mapping[str, Any], kind: type[T], more: bytes = b"") -> T:
        """Ask as a job's account, which the host checks once more."""
        whole = {
            **request,
            "account": place.account,
            "min_uid": self._config.min_uid,
            "folder": self._config.folder,
            "python": self._config.python,
        }
        return await self._ask(place, verb, whole, kind, more)

    async def _ask(self, place: Place, verb: str, request: Mapping[str, Any], kind: type[T], more: bytes = b"") -> T:
        mark, output = await self.run(place, verb, request, more)
        answer = read_answer(mark, output.out)
        if answer is None:
            log.warning(
                "A host did not answer a request. host=%s account=%s attempt=%s code=%d stderr=%r",
                place.host, place.account, request.get("attempt", "-"), output.code, output.err[-500:],
            )  # fmt: skip
            raise self.no_answer(place, output)
        if "refused" in answer:
            log.warning(
                "A host refused a request. host=%s account=%s attempt=%s code=%s detail=%r",
                *(place.host, place.account, request.get("attempt", "-"), answer["refused"], answer.get("detail", "")),
            )
            raise refusal(place.host, place.account, str(answer["refused"]), str(answer.get("detail", "")))
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise LauncherError(
                f"The answer of {place.host} cannot be read.", transient=True, code="no-answer"
            ) from error


def refusal(host: str, account: str, code: str, detail: str) -> LauncherError:
    """A request that a host does not carry out."""
    table = {
        "system-account": (
            False,
            f"The account {account} on {host} is a system account, which cannot have servers.",
            TELL_ADMINS,
        ),
        "account": (False, f"{host} has no account named {account}.", TELL_ADMINS),
        "home": (False, f"Your home folder does not exist on {host}.", TELL_ADMINS),
        "space": (False, f"Your home folder on {host} is full.", "Remove files there, and start the server again."),
        "folder": (False, f"The folder of the job on {host} cannot be used.", f"{detail}".strip()),
        "starter": (True, f"The hub's program was not completely transferred to {host}.", ""),
        "busy": (True, f"This server is already being started on {host}.", ""),
        "spawn": (False, f"The job cannot be started on {host}.", TELL_ADMINS),
    }
    transient, message, hint = table.get(code, (False, f"{host} refused the request.", TELL_ADMINS))
    return LauncherError(message, transient=transient, code=code, hint=hint)
