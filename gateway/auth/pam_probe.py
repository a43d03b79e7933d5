"""Checks for `towpath check` whether the hub can use PAM. No user's password is tried."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Final

from gateway.auth.contract import Probed
from gateway.auth.kinds.pam import PamConfig
from gateway.auth.pam import command
from state.account import account_name
from state.config.tables import AuthConfig, ProviderConfig

PAM_FOLDERS: Final = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
SUDO_SECONDS: Final = 10


async def probe(provider: ProviderConfig, auth: AuthConfig, hub_url: str) -> list[Probed]:
    """Look for the service, and whether the helper has the rights that it needs."""
    del auth, hub_url
    return [await asyncio.to_thread(_look, provider.options or PamConfig())]


def _look(config: PamConfig) -> Probed:
    if not any((folder / config.service).is_file() for folder in PAM_FOLDERS):
        where = " or ".join(str(folder / config.service) for folder in PAM_FOLDERS)
        return Probed(good=False, text=f"{where} does not exist: PAM would use its service `other`")
    text = f"PAM, service {config.service}"
    if config.sudo:
        argv = command(config)
        return Probed(good=_may_sudo(argv), text=f"{text}, with: {' '.join(argv)}")
    if os.geteuid() != 0:
        mine = f"without root, PAM checks only the password of {account_name()}: set sudo = true (docs/sign-in.md)"
        return Probed(good=True, doubt=True, text=f"{text}; {mine}")
    return Probed(good=True, text=text)


def _may_sudo(argv: tuple[str, ...]) -> bool:
    """Return whether sudo would run the command without a password (sudo(8), `-l`)."""
    listing = [argv[0], "-n", "-l", *argv[3:]]
    try:
        done = subprocess.run(  # noqa: S603 - `sudo -l` with the helper's own argv
            listing, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SUDO_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
