"""A socket to which the hub tries to connect by SSH, as gateways do (`towpath check`)."""

import os
import socket

from batch.ssh.remote.errors import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = "/tmp/towpath-check-"  # noqa: S108 - made here with mode 0700, or nothing is done


def listen(request: "dict[str, Any]") -> "dict[str, Any]":
    """Wait for one connection to a socket in a new folder with this name, and say whether it came."""
    name = request["name"]
    if not name.isalnum():
        raise RefusedError("folder", "the name of the check is not one")
    folder = FOLDER + name
    path = os.path.join(folder, "s")
    os.mkdir(folder, 0o700)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(request["seconds"])
        try:
            peer = listener.accept()[0]
        except socket.timeout:
            return {"reached": False}
        peer.sendall(b"towpath\n")
        peer.close()
        return {"reached": True}
    finally:
        listener.close()
        try:
            os.unlink(path)
        except OSError:
            pass
        os.rmdir(folder)
