"""Sign-in with the password of an account on the hub's machine, by PAM.

Owns: the helper processes (one a sign-in, so many at a time), and what their word means here.
Refuses to know libpam: that is the helper's (`pam_helper`), where a module that hangs or crashes costs one sign-in.
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
from gateway.auth.proof import GoneError, Proven, UnsureError
from gateway.auth.throttle import WRONG
from gateway.auth.turns import Turns
from portal.site.sign_in import Provider, RefusedError, UnansweredError
from state.config.tables import PamConfig
from state.records.models import Standing

HELPER: Final = Path(pam_helper.__file__)
AT_ONCE: Final = 8
"""Helpers of one worker that run at the same time; the others wait, `WAITING` in all."""
WAITING: Final = 64
AGAIN_AT_ONCE: Final = 2
"""Those that are asked about people who are in already: they keep nobody waiting who signs in."""
GRACE: Final = 2.0
"""Seconds after its own time-out after which a helper is taken for dead."""
OVER: Final = (pam_helper.PERM_DENIED, pam_helper.USER_UNKNOWN, pam_helper.ACCOUNT_EXPIRED)
"""Codes of the account phase by which somebody is out. A machine that lets nobody in for an hour is none of them."""
ANSWER_MAX: Final = 256 * 1024
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def command(config: PamConfig) -> tuple[str, ...]:
    """The helper's argv. Who signs in, and how, it is told by pipe."""
    helper = (sys.executable, "-I", "-S", str(HELPER), config.service)
    return ("sudo", "-n", "--", *helper) if config.sudo else helper


class PamProof:
    """The provider of kind `pam` (`gateway.auth.proof.Proof`)."""

    def __init__(self, shown: Provider, config: PamConfig, name_of: Callable[[str], str]) -> None:
        """`name_of`: from an account to the hub's name. Raises RefusedError."""
        self.shown = shown
        self._config = config
        self._name_of = name_of
        self._turns = Turns(AT_ONCE, WAITING)
        self._again = Turns(AGAIN_AT_ONCE, WAITING)

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:
        """The account of this name and password. Raises RefusedError and UnansweredError."""
        asked = {
            "name": fields.get("name", ""),
            "password": fields.get("password", ""),
            "address": request.scope["state"]["address"],
            "seconds": self._config.timeout,
        }
        async with self._turns:
            told = await ask(command(self._config), asked)
        return self._named(judged(told, self._config))

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """See `gateway.auth.proof.Asked`: what the account phase says now, and the groups as they are."""
        asked = {"name": standing.sealed, "again": True, "address": "", "seconds": self._config.timeout}
        async with self._again:
            told = await ask(command(self._config), asked)
        if told["verdict"] == "stays":
            told = {**told, "verdict": "yes"}
        elif told.get("code") not in OVER:
            raise UnsureError(str(told.get("why", "")))
        try:
            return self._named(judged(told, self._config)), standing.sealed
        except RefusedError as error:
            raise GoneError(str(error)) from error

    async def forget(self, standing: Standing) -> None:
        """See `gateway.auth.proof.Asked`: nothing was kept but the account's name."""

    def _named(self, proven: Proven) -> Proven:
        """Raises RefusedError."""
        name = self._name_of(proven.name)
        return replace(proven, name=name, shown=proven.name, asks=True, kept=proven.name)


def judged(told: Mapping[str, Any], config: PamConfig) -> Proven:
    """What the helper's word means; `name` is the account's. Raises RefusedError and UnansweredError."""
    match told["verdict"]:
        case "yes" if told["uid"] < config.least_uid:
            raise RefusedError("This is an account of the system, which is nobody's to sign in with here.")
        case "yes":
            return Proven(name=told["name"], groups=tuple(told["groups"]) if config.groups else None)
        case "no":
            raise RefusedError(WRONG)
        case "closed":
            raise RefusedError(str(told["why"]))
        case _:
            raise UnansweredError(str(told["why"]))


async def ask(argv: tuple[str, ...], asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Start a helper, tell it, hear it. It ends with this, whatever happens."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_ENVIRONMENT, cwd="/", limit=ANSWER_MAX
        )
    except OSError as error:
        return {"verdict": "fault", "why": f"The helper for PAM does not start: {error.strerror}."}
    try:
        async with asyncio.timeout(asked["seconds"] + GRACE):
            return await _converse(process, asked)
    except (TimeoutError, OSError, ValueError):
        return {"verdict": "fault", "why": "PAM did not answer in time."}
    finally:
        await _end(process)


async def _converse(process: Process, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line:
        return {"verdict": "fault", "why": "The helper for PAM ended without a word."}
    told: Mapping[str, Any] = json.loads(line)
    return told


async def _end(process: Process) -> None:
    """Its standard input ends, so that it ends its child and itself. A helper under sudo is not ours to kill."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            process.kill()
