"""Sign-in with PAM: the password of an account on the hub's machine.

Owns the helper processes (one per sign-in, a limited number at a time), and the meaning of their answers. Does not use
libpam itself: the helper does (`pam_helper`), so that a module that hangs or crashes affects only one sign-in.
"""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from gateway.auth import pam_helper
from gateway.auth.kinds.pam import PamConfig
from gateway.auth.portal_request import PortalRequest
from gateway.auth.proof import GoneError, ProofContext, Proven, UnsureError
from gateway.auth.throttle import WRONG
from gateway.auth.turns import Turns
from portal.site.sign_in import Provider, RefusedError, UnansweredError
from state.config.tables import ProviderConfig
from state.records.models import Standing

HELPER: Final = Path(pam_helper.__file__)
AT_ONCE: Final = 8
"""Helpers of one worker that run at the same time. Others wait, `WAITING` in all."""
WAITING: Final = 64
CHECKS_AT_ONCE: Final = 2
"""Helpers that check signed-in users. They have their own limit, so that they do not delay sign-ins."""
GRACE: Final = 2.0
"""Seconds after its own time limit after which a helper counts as dead."""
ENDING_CODES: Final = (pam_helper.PERM_DENIED, pam_helper.USER_UNKNOWN, pam_helper.ACCOUNT_EXPIRED)
"""Codes of the account phase that end a session. A temporary block of all sign-ins has another code."""
ANSWER_MAX: Final = 256 * 1024
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def command(config: PamConfig) -> tuple[str, ...]:
    """Return the helper's argv. Name and password go through a pipe."""
    helper = (sys.executable, "-I", "-S", str(HELPER), config.service)
    return ("sudo", "-n", "--", *helper) if config.sudo else helper


class PamProof:
    """The provider of kind `pam` (`gateway.auth.proof.Proof`)."""

    def __init__(self, shown: Provider, config: PamConfig, name_of: Callable[[str], str]) -> None:
        """`name_of`: from an account's name to the hub's name; raises RefusedError."""
        self.shown = shown
        self._config = config
        self._name_of = name_of
        self._turns = Turns(AT_ONCE, WAITING)
        self._again = Turns(CHECKS_AT_ONCE, WAITING)

    async def prove(self, fields: Mapping[str, str], request: PortalRequest) -> Proven:
        """Return the account with this name and password. Raises RefusedError and UnansweredError."""
        payload = {
            "name": fields.get("username", ""),
            "password": fields.get("password", ""),
            "address": request.scope["state"]["address"],
            "seconds": self._config.timeout,
        }
        async with self._turns:
            answer = await run_helper(command(self._config), payload)
        return self._named(interpret(answer, self._config))

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """See `gateway.auth.proof.RecheckableProof`: run the account phase, and read the groups, as they are now."""
        payload = {"name": standing.sealed, "again": True, "address": "", "seconds": self._config.timeout}
        async with self._again:
            answer = await run_helper(command(self._config), payload)
        if answer["verdict"] == "stays":
            answer = {**answer, "verdict": "yes"}
        elif answer.get("code") not in ENDING_CODES:
            raise UnsureError(str(answer.get("why", "")))
        try:
            return self._named(interpret(answer, self._config)), standing.sealed
        except RefusedError as error:
            raise GoneError(str(error)) from error

    async def forget(self, standing: Standing) -> None:
        """See `gateway.auth.proof.RecheckableProof`. Only the account's name was kept, so there is nothing to do."""

    def _named(self, proven: Proven) -> Proven:
        """Add the name on the hub. Raises RefusedError."""
        name = self._name_of(proven.name)
        return replace(proven, name=name, shown=proven.name, asks=True, kept=proven.name)


def open_pam(provider: ProviderConfig, context: ProofContext) -> PamProof:
    """Return the provider."""
    return PamProof(context.shown, provider.options or PamConfig(), context.name_of)


def interpret(answer: Mapping[str, Any], config: PamConfig) -> Proven:
    """Convert the helper's answer; `name` is the account's. Raises RefusedError and UnansweredError."""
    match answer["verdict"]:
        case "yes" if answer["uid"] < config.min_uid:
            raise RefusedError("This is a system account. Sign in with your own account.")
        case "yes":
            return Proven(name=answer["name"], groups=tuple(answer["groups"]) if config.groups else None)
        case "no":
            raise RefusedError(WRONG)
        case "closed":
            raise RefusedError(str(answer["why"]))
        case _:
            raise UnansweredError(str(answer["why"]))


async def run_helper(argv: tuple[str, ...], payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run a helper with one request and return its answer. The helper has ended when this returns or raises."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_ENVIRONMENT, cwd="/", limit=ANSWER_MAX
        )
    except OSError as error:
        return {"verdict": "fault", "why": f"The helper for PAM cannot be started: {error.strerror}."}
    try:
        async with asyncio.timeout(payload["seconds"] + GRACE):
            return await _exchange(process, payload)
    except (TimeoutError, OSError, ValueError):
        return {"verdict": "fault", "why": "PAM did not answer in time."}
    finally:
        await _stop(process)


async def _exchange(process: Process, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(payload).encode() + b"\n")
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line:
        return {"verdict": "fault", "why": "The helper for PAM ended without an answer."}
    answer: Mapping[str, Any] = json.loads(line)
    return answer


async def _stop(process: Process) -> None:
    """Close its standard input, so that it ends its child and itself.

    A helper under sudo cannot be killed from here.
    """
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            process.kill()
