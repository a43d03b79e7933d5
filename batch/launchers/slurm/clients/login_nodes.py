"""Slurm's commands on login nodes, over SSH: queries as the monitor's account, a user's as the user.

Owns which node is used, and what is done again on the next one when a node fails. Neither root, nor munge, nor the
users' accounts are needed on the hub's machine. Does not know what the commands print.

A node that fails is left alone for a while (`batch.ssh.connections`). Nothing is ever run twice that must not be: a
command that may have reached a node is not sent to another one.
"""

import asyncio
import base64
import logging
import zlib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from batch.contract import LauncherError, PartReport
from batch.launchers.slurm.clients.commands import ENVIRONMENT, PLACES, PROGRAMS, Output, late
from batch.launchers.slurm.clients.login_node_errors import NodeError, of_connection, of_output, of_refusal, the_failure
from batch.launchers.slurm.clients.login_node_groups import FoundGroups
from batch.launchers.slurm.identity import Identity, the_one
from batch.launchers.slurm.kind import SlurmConfig
from batch.ssh.connections import Connections
from batch.ssh.door import MAX_OUTPUT
from batch.ssh.errors import HostKeyError, SshError
from batch.ssh.host_advice import trouble_text
from batch.ssh.programs import assembled, command, read_answer, started_line, write_request

log = logging.getLogger("towpath.slurm")

MAX_TEXT: Final = 256 * 1024 * 1024
"""Maximum bytes of a command's output: a queue of some hundred thousand jobs."""
MARGIN: Final = 5.0
"""Seconds in which a node says that a command took too long, before the node itself counts as silent."""

T = TypeVar("T")


@cache
def program() -> bytes:
    """The text of the program that runs on login nodes."""
    return assembled("batch.launchers.slurm.remote", Path(__file__).parents[1] / "remote")


class Ran(Struct):
    """What a node says of a command. `out`: what it printed, compressed, in base64; `late`: it took too long."""

    code: int = -1
    out: str = ""
    err: str = ""
    late: bool = False


class FoundAccounts(Struct):
    """The accounts that a name may stand for."""

    accounts: list[Identity]


class MissingPrograms(Struct):
    """Slurm's programs that a node does not have."""

    missing: list[str]


def output_of(ran: Ran, seconds: float) -> Output:
    """What the command printed. Raises LauncherError for one that took too long, or printed too much. Pure."""
    if ran.late:
        raise late(seconds)
    try:
        unpacking = zlib.decompressobj()
        out = unpacking.decompress(base64.b64decode(ran.out, validate=True), MAX_TEXT)
        whole = unpacking.eof
    except (ValueError, zlib.error):
        whole, out = False, b""
    if not whole:
        raise LauncherError("The answer of Slurm's command cannot be read.", transient=True, code="no-answer")
    return Output(code=ran.code, out=out.decode(errors="replace"), err=ran.err)


class LoginNodes:
    """See `commands.CommandRunner`, and the module."""

    def __init__(self, config: SlurmConfig, connections: Connections, *, authority: str = "") -> None:
        """`authority`: the public key of the hub's own SSH authority, where it has one."""
        self._config = config
        self._connections = connections
        self._authority = authority
        self._command = command(config.ssh.python)
        self._nodes = [node.name for node in config.ssh.login_node]
        self._failing: dict[str, NodeError] = {}  # of those that answer, but cannot be used
        self._probes: dict[str, asyncio.Task[None]] = {}
        self.user = config.ssh.monitor_user

    # --- commands

    async def run(self, program: str, argv: Sequence[str]) -> Output:
        """See the Protocol. Nodes that failed are tried again beside it, so that nobody waits for them."""
        request = self._command_request(program, argv, ENVIRONMENT)
        answer = output_of(await self._on_any(self.user, "run", request, Ran), self._config.timeout)
        self._probe()
        return answer

    async def run_as(
        self,
        identity: Identity,
        program: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: str = "",
        once: bool = False,
    ) -> Output:
        """See the Protocol. The node checks once more whose account it is."""
        request = self._command_request(program, argv, environment)
        request |= {"account": identity.name, "min_uid": self._config.min_uid}
        ran = await self._on_any(identity.name, "run", request, Ran, stdin=stdin.encode(), once=once)
        return output_of(ran, self._config.timeout)

    def _command_request(self, program: str, argv: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
        conf = {"SLURM_CONF": self._config.conf} if self._config.conf else {}
        return {
            "program": program,
            "path": self._config.bin_dir or PLACES,
            "argv": list(argv),
            "environment": {**environment, **conf},
            "seconds": self._config.timeout,
        }

    # --- accounts

    async def identity(self, user: str) -> Identity:
        """The account of a hub's user. Raises LauncherError, as `identity_of` does."""
        found = await self._on_any(self.user, "accounts", {"name": user}, FoundAccounts)
        identity = the_one(user, found.accounts, min_uid=self._config.min_uid)
        if identity.name == self.user:
            raise LauncherError(
                f"The account {user!r} belongs to the hub and cannot have servers.",
                transient=False,
                code="no-account",
                hint="Ask the cluster's admins.",
            )
        return identity

    async def groups(self, names: Collection[str], users: Collection[str]) -> FoundGroups:
        """Groups, and the own groups of these accounts."""
        return await self._on_any(self.user, "groups", {"names": sorted(names), "users": sorted(users)}, FoundGroups)

    # --- which node

    async def _on_any(
        self,
        account: str,
        verb: str,
        request: Mapping[str, Any],
        kind: type[T],
        *,
        stdin: bytes = b"",
        once: bool = False,
    ) -> T:
        """Ask the first node that answers. Raises LauncherError."""
        failures: list[NodeError] = []
        for node in self._in_order():
            try:
                return await self._ask(node, account, verb, request, kind, stdin=stdin, once=once)
            except NodeError as error:
                if once and error.started:
                    raise
                failures.append(error)
        raise the_failure(failures)

    def _in_order(self) -> list[str]:
        """The nodes as configured, those that failed last."""
        return sorted(self._nodes, key=lambda node: self._trouble(node) is not None)

    def _trouble(self, node: str) -> tuple[Exception, float] | None:
        """(why a node is not used, since when)."""
        if node in self._failing:
            return self._failing[node], self._failing[node].since
        return self._connections.trouble(node, self.user)

    async def _ask(
        self,
        node: str,
        account: str,
        verb: str,
        request: Mapping[str, Any],
        kind: type[T],
        *,
        stdin: bytes = b"",
        once: bool = False,
    ) -> T:
        """Ask one node. Raises NodeError when another node may do it, else LauncherError."""
        mark, text = write_request(program(), verb, {**request, "stdin_size": len(stdin)}, stdin)
        try:
            output = await self._connections.run(
                node,
                account,
                self._command,
                text,
                seconds=self._config.timeout + MARGIN,
                once=once,
                max_output=max(MAX_OUTPUT, MAX_TEXT // 4),
            )
        except SshError as error:
            raise of_connection(node, account, error) from error
        answer = read_answer(mark, output.out)
        if answer is None:
            started = started_line(mark) in output.out
            raise self._note(of_output(node, account, output, self._config.ssh.python, started=started), account)
        if "refused" in answer:
            raise self._note(of_refusal(node, account, str(answer["refused"]), str(answer.get("detail", ""))), account)
        if account == self.user:
            self._failing.pop(node, None)
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise LauncherError(f"The answer of {node} cannot be read.", transient=True, code="no-answer") from error

    def _note(self, error: LauncherError, account: str) -> LauncherError:
        """Remember that a node answers but cannot be used. What a user's account lacks is no fault of the node."""
        if isinstance(error, NodeError) and account == self.user:
            before = self._failing.get(error.node)
            if before is None:
                log.warning("The login node cannot be used. host=%s reason=%r", error.node, str(error))
            else:
                error.since = before.since
            self._failing[error.node] = error
        return error

    def _probe(self) -> None:
        """Try the nodes that failed again, in the background: one that is back is used again, in its old place."""
        for node in self._nodes:
            if self._trouble(node) is not None and node not in self._probes:
                self._probes[node] = asyncio.ensure_future(self._probe_node(node))

    async def _probe_node(self, node: str) -> None:
        try:
            await self._missing(node)
            log.info("The login node is used again. host=%s", node)
        except LauncherError:
            pass  # it is known already, and reported
        finally:
            del self._probes[node]

    async def _missing(self, node: str) -> list[str]:
        names = {"names": list(PROGRAMS), "path": self._config.bin_dir or PLACES}
        return (await self._ask(node, self.user, "programs", names, MissingPrograms)).missing

    # --- reports

    async def check(self) -> list[PartReport]:
        """Ask each node whether it can be used."""
        return list(await asyncio.gather(*map(self._check_node, self._nodes)))

    async def _check_node(self, node: str) -> PartReport:
        part = f"login node {node}"
        try:
            missing = await self._missing(node)
        except LauncherError as error:
            cause = error.__cause__ if isinstance(error.__cause__, SshError) else error
            return PartReport(part=part, good=False, text=self._advice(node, cause))
        if missing:
            where = self._config.bin_dir or "the usual folders"
            text = f"{', '.join(missing)} not found in {where}. Set bin_dir in [cluster.slurm]."
            return PartReport(part=part, good=False, text=text)
        return PartReport(part=part, text=f"answers, as {self.user}.")

    def troubles(self) -> list[PartReport]:
        """The nodes that are not used now."""
        found = []
        for node in self._nodes:
            trouble = self._trouble(node)
            if trouble is not None:
                error, since = trouble
                urgent = isinstance(error, HostKeyError)
                text = self._advice(node, error)
                found.append(PartReport(part=f"login node {node}", good=False, text=text, since=since, urgent=urgent))
        return found

    def _advice(self, node: str, error: Exception) -> str:
        host = next(one for one in self._config.ssh.login_node if one.name == node)
        if isinstance(error, LauncherError):
            return f"{error} {error.hint}".strip()
        return trouble_text(error, host, self._config.ssh, authority=self._authority, account=self.user)

    async def close(self) -> None:
        """Close the connections."""
        probes = list(self._probes.values())
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        await self._connections.close()
