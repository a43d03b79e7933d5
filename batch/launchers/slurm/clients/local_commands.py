"""Slurm's commands on this machine: as the hub's account, or as a user by setuid or sudo.

Owns how a command becomes a user's. Does not know what the commands print.
"""

import logging
import os
from collections.abc import Mapping, Sequence

from batch.contract import LauncherError
from batch.launchers.slurm.clients import commands
from batch.launchers.slurm.clients.commands import ENVIRONMENT, PROGRAMS, Output
from batch.launchers.slurm.identity import Identity, user_of
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.script import PATH

log = logging.getLogger("towpath.slurm")


class LocalCommands:
    """See `commands.CommandRunner`."""

    def __init__(self, config: SlurmConfig) -> None:
        """Finds the programs. Raises LauncherError where one is missing."""
        self.user = user_of(os.geteuid())
        self._seconds = config.timeout
        self._sudo = commands.find("sudo") if config.submit_as == "sudo" else ""
        self._programs = {name: commands.find(name, config.bin_dir) for name in PROGRAMS}
        self._conf = {"SLURM_CONF": config.conf} if config.conf else {}

    async def run(self, program: str, argv: Sequence[str]) -> Output:
        """See the Protocol."""
        environment = {**ENVIRONMENT, **self._conf}
        return await commands.run([self._programs[program], *argv], environment=environment, seconds=self._seconds)

    async def run_as(
        self,
        identity: Identity,
        program: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: str = "",
        once: bool = False,  # noqa: ARG002 - nothing is repeated here
    ) -> Output:
        """See the Protocol."""
        whole = [self._programs[program], *argv]
        become: Identity | None = identity
        if self._sudo:
            become = None
            whole = [self._sudo, "-n", "-u", identity.name, "--", *whole]
            environment = {"PATH": PATH, "LANG": "C.UTF-8"}  # sudo sets the user's own
        environment = {**environment, **self._conf}
        answer = await commands.run(whole, environment=environment, seconds=self._seconds, stdin=stdin, become=become)
        if self._sudo and answer.code != 0 and answer.err.startswith("sudo:"):
            log.error("sudo refused a submit. account=%s stderr=%r", identity.name, answer.err.strip())
            raise LauncherError(
                f"sudo does not allow the hub to submit jobs as {identity.name}.",
                transient=False,
                code="config",
                hint="Tell the hub's admins: deploy/sudoers/towpath lists the allowed users.",
            )
        return answer

    async def close(self) -> None:
        """Nothing is held."""
