"""Whether a hub is ready: its port responds, a controller leads, and `towpath check` finds no permanent problem."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence

from gateway.serve.errors import ServeError
from gateway.serve.findings import Finding
from state.config.tables import Config
from state.offer.app_ports import listens_on_port
from state.plugins import authenticators
from state.plugins.launchers import kind_of


async def answers(host: str, port: int, path: str) -> bool:
    """Return whether GET `path` is answered with 200."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2)
    except (OSError, TimeoutError):
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        line = await asyncio.wait_for(reader.readline(), 5)
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return line.startswith(b"HTTP/1.1 200")


def part_to_check(config: Config, *, whole: bool) -> str:
    """Return the part of the hub that depends on other services; `""`: none does.

    A process with nothing to check would only make the start slower. The controller checks what is on this host.
    """
    providers = config.auth.provider if config.auth is not None else ()
    gateway = any(authenticators.kind_of(provider).probe for provider in providers)
    ports = any(listens_on_port(profile) and not profile.shared_node_port for profile in config.profile)
    controller = whole and (ports or not all(kind_of(cluster).runs_here for cluster in config.cluster))
    if gateway and controller:
        return "all"
    return "gateway" if gateway else "controller" if controller else ""


async def check(
    part: str, arguments: Sequence[str], environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Run `towpath check` on a part of the hub. Raises ServeError for permanent problems.

    Temporary problems (a scheduler or provider that does not answer) are printed, and the hub starts. `part` `""`:
    there is nothing to check.
    """
    if not part:
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "check", "--json", "--part", part, *arguments),
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = [Finding(**json.loads(line)) for line in out.decode(errors="replace").splitlines()]
    if not found:
        raise ServeError(f"towpath check failed: {err.decode(errors='replace').strip() or 'it said nothing'}")
    bad = [finding for finding in found if not finding.good]
    for finding in bad:
        if finding.passing:
            say(f"{finding.part}: {finding.text}")
    if lasting := [f"{finding.part}: {finding.text}" for finding in bad if not finding.passing]:
        raise ServeError("This hub cannot work:\n" + "\n".join(f"  {line}" for line in lasting))
