"""Requests to this machine, as its users' accounts.

Owns which requests are answered by the controller itself (what runs here, what is free, which accounts there are: only
/proc and the account database are read), and which by a process of the job's account: everything in a user's folder.
"""

import asyncio
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final

import msgspec

from batch.contract import LauncherError, PartReport
from batch.launchers.local.become import HELPER, Become, converse, open_to_all, rule_of
from batch.launchers.local.kind import LocalConfig
from batch.launchers.local.limits import FILES, Limits
from batch.launchers.ssh.advice import machine_text
from batch.launchers.ssh.answers import Account, HostResources, Scan, gpu_of
from batch.launchers.ssh.kind import SshConfig
from batch.launchers.ssh.native_id import Place
from batch.launchers.ssh.program import write_request
from batch.launchers.ssh.remote import probe
from batch.launchers.ssh.requests import HostRequests
from batch.ssh.output import Output
from batch.ssh.remote import accounts

PART: Final = "this machine"


class AccountHosts(HostRequests):
    """See the module."""

    def __init__(self, local: LocalConfig, pool: SshConfig) -> None:
        """`pool`: this machine, as a pool of one host."""
        super().__init__(pool)
        self._local = local
        self._become = Become(local, pool.host[0].name)
        self.limits = Limits(local, self._become)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="proc")

    async def run(self, place: Place, verb: str, request: Mapping[str, Any], more: bytes = b"") -> tuple[str, Output]:
        """See the base: a process as the job's account."""
        if verb == "start":
            with self.limits.starting(request["attempt"]):
                return await self._start(place, request, more)
        return await self._tell(await self._become.start(place.account), verb, request, more)

    async def _start(self, place: Place, request: Mapping[str, Any], more: bytes) -> tuple[str, Output]:
        share = request["share"]
        process, limited = await self.limits.start(
            place.account, request["attempt"], memory=share["memory"], cores=share["cores"]
        )
        if self.limits.own:
            request = {**request, "limits": {name: name in limited for name in ("memory", "cores")}}
        return await self._tell(process, "start", request, more)

    async def _tell(self, process: Process, verb: str, request: Mapping[str, Any], more: bytes) -> tuple[str, Output]:
        mark, given = write_request(verb, request, more)
        return mark, await converse(process, given, seconds=self._config.timeout)

    def no_answer(self, place: Place, output: Output) -> LauncherError:
        """See the base."""
        return self._become.refusal(place.account, output)

    async def scan(self, host: str) -> Scan:  # noqa: ARG002 - there is one
        """See the base."""
        return msgspec.convert(await self._here(probe.probe, {}, self._reader), Scan)

    async def resources(self, host: str) -> HostResources:  # noqa: ARG002 - as above
        """See the base."""
        return msgspec.convert(await self._here(probe.probe, {"resources": True}, self._reader), HostResources)

    async def account(self, host: str, name: str) -> Account:  # noqa: ARG002 - as above
        """See the base."""
        return msgspec.convert(await self._here(accounts.find, name), Account)

    def troubles(self) -> list[PartReport]:
        """See the base: there is no way to this machine that could fail."""
        return []

    async def check_hosts(self) -> list[PartReport]:
        """See the base."""
        found = await self.resources(self._config.host[0].name)
        types = Counter(gpu_of(raw).type for raw in found.gpus)
        gpus = [f"{count} {kind} GPU{'s' * (count > 1)}" for kind, count in types.items()]
        if not open_to_all(self._local.python):
            text = f"Users cannot run {self._local.python}. Set python in [cluster.local] to one that they can run."
            return [PartReport(part=PART, good=False, text=text)]
        if self._local.become == "sudo" and not open_to_all(str(HELPER), rights=0o004):
            text = f"Users cannot read {HELPER}, which sudo runs as them. Install the hub where they can read it."
            return [PartReport(part=PART, good=False, text=text)]
        texts = [machine_text(found, gpus), self._how(), self.limits.text()]
        if not found.sees_all:
            texts.append("The hub's account cannot see processes of other accounts (hidepid in /proc).")
        doubt = not found.sees_all or len(self.limits.enforced) < len(FILES)
        return [PartReport(part=PART, text=" ".join(texts), doubt=doubt)]

    def _how(self) -> str:
        if self._local.become == "setuid":
            return "Servers run as their users."
        return f"Servers run as their users through sudo, which must allow: {rule_of(self._become.command('-'))}."

    async def close(self) -> None:
        """See the base: nothing is open."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def _here(self, function: Any, argument: Any, executor: Executor | None = None) -> Any:
        """Call a function of the program in this process. Raises LauncherError.

        A user can make a read of /proc hang. `executor`: a thread of its own, so that others are not used up.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._config.timeout):
                return await loop.run_in_executor(executor, function, argument)
        except TimeoutError as error:
            message = (
                f"/proc or the accounts of this machine cannot be read: no answer in {self._config.timeout:.0f} s."
            )
            raise LauncherError(message, transient=True, code="no-answer") from error
        except OSError as error:
            raise LauncherError(
                f"The state of this machine cannot be read: {error.strerror}.", transient=True
            ) from error
