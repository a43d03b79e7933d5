"""The TLS identity of the gateway towards nodes: mutual TLS with the hub's own authority.

Owns the client context, which is created again when its files change. Does not trust the machine's authorities: only
the hub's own can issue certificates for nodes.
"""

import asyncio
import logging
import os
import ssl
import time
from pathlib import Path
from typing import Final

from gateway.ways_in.errors import WayInError
from state.records.connect import SSH_PROTOCOL

log = logging.getLogger("towpath.ways_in")

LOOK_EVERY: Final = 1.0
"""Maximum seconds between two checks of the files."""

Mark = tuple[tuple[int, int, int], ...]


class GatewayIdentity:
    """The files `authority.pem` and `gateway.pem` (certificate and key) of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._files = (folder / "authority.pem", folder / "gateway.pem")
        self._context: ssl.SSLContext | None = None
        self._context_for_ssh: ssl.SSLContext | None = None
        self._mark: Mark | None = None
        self._looked = -LOOK_EVERY
        self._fault = ""
        self._looking = asyncio.Lock()

    async def context(self, *, ssh: bool = False) -> ssl.SSLContext:
        """Return the context for a connection to a node. Raises WayInError("identity") without usable files.

        `ssh`: for one that leads to SSH in place of the app.
        """
        if self._due():
            async with self._looking:  # a page opens many connections at once: all wait for the first check
                if self._due():
                    fault = await asyncio.to_thread(self._look)
                    if fault and fault != self._fault:
                        log.error("The gateway's certificate cannot be used. reason=%r", fault)
                    self._fault = fault
                    self._looked = time.monotonic()
        context = self._context_for_ssh if ssh else self._context
        if context is None:
            raise WayInError("identity", self._fault)
        return context

    def _due(self) -> bool:
        return time.monotonic() - self._looked >= LOOK_EVERY

    def _look(self) -> str:
        """Load the files if they changed, and return what is wrong with them. The last valid ones stay in use."""
        try:
            facts = [path.stat() for path in self._files]
            mark = tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in facts)
            if mark == self._mark:
                return ""
            if facts[1].st_mode & 0o077 or facts[1].st_uid not in {0, os.geteuid()}:
                return f"{self._files[1]} must be the hub's own and have mode 0600: it holds the gateway's key."
            self._context = client_context(*self._files)
            self._context_for_ssh = client_context(*self._files)
            self._context_for_ssh.set_alpn_protocols([SSH_PROTOCOL])
        except FileNotFoundError as error:
            return f"This gateway has no certificate ({error.filename}). To get one: towpath gateway join."
        except OSError as error:  # ssl.SSLError is one
            return f"The gateway's certificate cannot be used ({self._files[1]}): {error.strerror or error}."
        self._mark = mark
        return ""


def client_context(authority: Path, own: Path) -> ssl.SSLContext:
    """Create a context with TLS 1.2 or newer and the gateway's certificate, for servers certified by the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks name and certificate
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authority)
    context.load_cert_chain(own)
    return context
