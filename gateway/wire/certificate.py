"""A server's TLS certificate, in files that are renewed while the server runs.

Owns one `ssl.SSLContext`, and that it holds what the files hold. Files that do not belong together, as in the middle
of a renewal, are never used: the last good ones stay. Does not know who listens.
"""

import asyncio
import logging
import os
import ssl
from pathlib import Path
from typing import Final

log = logging.getLogger("towpath.wire")

LOOK_SECONDS: Final = 10.0

Mark = tuple[tuple[int, int, int], ...]


class CertificateError(Exception):
    """The files cannot be used. The message is a clause about the certificate."""


def load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Load certificate and key (None: in the same file) into a context. Raises CertificateError; blocks.

    Both are read once, and tried in a context of their own first, because OpenSSL replaces the certificate in a context
    before it checks whether the key belongs to it.
    """
    try:
        text = b"\n".join(file.read_bytes() for file in (certificate, key) if file is not None)
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    memory = os.memfd_create("towpath-certificate")
    try:
        os.write(memory, text)
        for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            # Without a password, OpenSSL would ask for one at the terminal.
            each.load_cert_chain(f"/proc/self/fd/{memory}", password="")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise CertificateError(_reason(error, certificate, key, encrypted=b"ENCRYPTED" in text)) from error
    finally:
        os.close(memory)


def _reason(error: Exception, certificate: Path, key: Path | None, *, encrypted: bool) -> str:
    files = f"{certificate} and {key}" if key is not None else str(certificate)
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key or certificate} is not the key of the certificate in {certificate}"
    if encrypted:
        return f"the key in {key or certificate} is encrypted"
    return f"{files} do not hold a certificate with its key in PEM ({reason or error})"


class Certificate:
    """`open` once, then `context` serves; `close` ends the watch."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._files = (certificate, key)
        self._mark: Mark | None = None
        self._watching: asyncio.Task[None] | None = None

    async def open(self, *, look_seconds: float = LOOK_SECONDS) -> None:
        """Load the files, and watch them from now on. Raises CertificateError."""
        self._mark = self._look()
        await asyncio.to_thread(load, self.context, *self._files)
        self._watching = asyncio.create_task(self._watch(look_seconds))

    def close(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()

    def _look(self) -> Mark | None:
        """Return what distinguishes two versions of the files; None: a file is missing."""
        try:
            found = [file.stat() for file in self._files if file is not None]
        except OSError:
            return None
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)

    async def _watch(self, seconds: float) -> None:
        """Load renewed files for new connections. Files that cannot be used are reported once."""
        while True:
            await asyncio.sleep(seconds)
            mark = self._look()
            if mark == self._mark:
                continue
            self._mark = mark
            try:
                await asyncio.to_thread(load, self.context, *self._files)
            except CertificateError as error:
                log.error("The renewed TLS certificate is not used: %s. The old one stays.", error)  # noqa: TRY400
            else:
                log.info("The TLS certificate was renewed (%s)", self._files[0])
