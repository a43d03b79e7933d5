"""The way in for the gateway, in a process of its own: on a port of the node, or by connections to the hub."""

from batch.starter.addresses import NoFreePortError, listen_on_node
from batch.starter.errors import StartError
from batch.starter.helper import Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, Callable


class WayIn:
    """Opened once. The socket is kept here, so that the port stays ours when the process ends."""

    def __init__(
        self, spec: "dict[str, Any]", note: "Callable[[str], None]", become_helper: "Callable[[], None]"
    ) -> None:
        """`note` and `become_helper`: see Helper."""
        self.spec = spec
        self.note = note
        self.listener: "_socket.socket"  # from `open` on
        self.endpoint: "dict[str, Any] | None" = None  # where the gateway finds it
        self.app_endpoint: "dict[str, Any]" = {}
        self.ssh_path = ""
        self.helper = Helper("The way in", self.serve, note, become_helper)

    def open(self, app_endpoint: "dict[str, Any]", ssh_path: str = "") -> None:
        """Listen, and start the process. `ssh_path`: the socket of SSH; `""`: none. Raises StartError."""
        configured = self.spec.get("address") or ""
        ports = self.spec.get("ports") or ()
        try:
            self.listener = listen_on_node(configured, self.spec["hub_urls"], ports)
        except NoFreePortError:
            message = "All of the ports %d to %d, which servers may listen on, are in use on the node."
            raise StartError("ports", message % tuple(ports))
        except OSError as error:
            where = configured or "of its own"
            raise StartError("address", "The node has no address %s to listen on: %s." % (where, error))
        self.app_endpoint = app_endpoint
        self.ssh_path = ssh_path
        why = self.helper.start()
        if why:
            raise StartError("certificate", "The way in cannot be opened: %s." % why)
        host, port = self.listener.getsockname()[:2]
        self.endpoint = {"kind": "tls", "host": host, "port": port}

    def serve(self, lifeline: int, ready: "Callable[[], None]") -> None:
        """In the process: carry bytes."""
        from batch.starter.tls_server import serve

        serve(self.listener, self.spec["passport"], self.app_endpoint, lifeline, ready, ssh_path=self.ssh_path)


class ReverseWayIn(WayIn):
    """See WayIn. Nothing listens: the process connects to the hub, and the gateway uses these connections."""

    def open(self, app_endpoint: "dict[str, Any]", ssh_path: str = "") -> None:
        """Start the process. Raises StartError."""
        self.app_endpoint = app_endpoint
        why = self.helper.start()
        if why:
            raise StartError("certificate", "The way in cannot be opened: %s." % why)
        self.endpoint = {"kind": "reverse"}

    def serve(self, lifeline: int, ready: "Callable[[], None]") -> None:
        """In the process: connect, and carry bytes."""
        from batch.starter.reverse_pool import serve

        serve(self.spec, self.app_endpoint, lifeline, ready, self.note)
