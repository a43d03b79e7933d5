"""Checks whether jobs can open WebSockets at the hub's address, as they do with `way_in = "reverse"`."""

import base64
import contextlib
import http.client
import secrets
import socket
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from batch.contract import PartReport
from batch.jobs.job_builder import report_urls
from state.config.tables import Config

PART: Final = "connections from nodes"
SECONDS: Final = 5.0
NO_TOKEN: Final = 401
"""The answer of the hub itself: a job would send a token."""
FIX: Final = "Let the proxy in front of the hub pass WebSockets on at this address, or set internal_url to another one."


def check(config: Config, authority: Path) -> PartReport:
    """Open a WebSocket without a token, which the hub refuses in its own way. Blocks.

    `authority`: the file with the certificate of the hub's authority; it may be missing.
    """
    url = report_urls(config, elsewhere=True, hostname=socket.getfqdn())[0].rpartition("/")[0] + "/reverse"
    try:
        status = _answer(url, authority)
    except ssl.SSLError as error:
        return PartReport(part=PART, good=False, text=f"{url}: the certificate cannot be used ({error.reason}).")
    except (OSError, http.client.HTTPException):
        return PartReport(part=PART, text=f"not checked: nothing answers at {url} just now.")
    if status == NO_TOKEN:
        return PartReport(part=PART, text=f"jobs can connect to {url}")
    return PartReport(part=PART, good=False, text=f"{url} does not open WebSockets (status {status}). {FIX}")


def _answer(url: str, authority: Path) -> int:
    """Return the status of the answer. Raises OSError and HTTPException."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        with contextlib.suppress(FileNotFoundError):
            context.load_verify_locations(authority)
        connection = http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
    with contextlib.closing(connection):
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        connection.request("GET", parts.path, headers={**fields, "Sec-WebSocket-Key": key})
        return connection.getresponse().status
