"""The way in for the gateway: the listening socket on the node's address, and the process that serves it."""

import os

from batch.starter.addresses import listen_on_node
from batch.starter.errors import StartError
from batch.starter.files import read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, Callable

RESTART_PAUSE = 1.0  # seconds before a process that ended by itself is started again
RETRY_PAUSE = 30.0  # seconds after one that could not be started


class WayIn:
    """Opened once. The socket is kept here, so that the port stays ours when the process ends."""

    def __init__(
        self, spec: "dict[str, Any]", note: "Callable[[str], None]", become_helper: "Callable[[], None]"
    ) -> None:
        """`note` writes to the log; `become_helper` is called in the forked process."""
        self.spec = spec
        self.note = note
        self.become_helper = become_helper
        self.listener: "_socket.socket"  # from `open` on
        self.endpoint: "dict[str, Any] | None" = None  # where the gateway finds it
        self.app_endpoint: "dict[str, Any]" = {}
        self.pid = 0
        self.restart_at = 0.0
        self.lifeline = -1

    def open(self, app_endpoint: "dict[str, Any]") -> None:
        """Listen, and start the process. Raises StartError."""
        configured = self.spec.get("address") or ""
        try:
            self.listener = listen_on_node(configured, self.spec["hub_urls"])
        except OSError as error:
            where = configured or "of its own"
            raise StartError("address", "The node has no address %s to listen on: %s." % (where, error))
        self.app_endpoint = app_endpoint
        self.start()
        host, port = self.listener.getsockname()[:2]
        self.endpoint = {"kind": "tls", "host": host, "port": port}

    def start(self) -> None:
        """Fork the process. It ends when our end of its lifeline closes, however we end. Raises StartError."""
        held, self.lifeline = os.pipe()
        failure, ready = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self.become_helper()
                os.close(self.lifeline)
                os.close(failure)
                from batch.starter.tls_server import serve

                serve(self.listener, self.spec["passport"], self.app_endpoint, held, ready)
            except BaseException as error:
                os.write(ready, str(error).encode("utf-8", "replace") or b"?")
                self.note("The way in has ended: %s" % error)
            finally:
                os._exit(1)
        os.close(held)
        os.close(ready)
        why = read_all(failure)
        os.close(failure)
        self.pid = pid
        if why:
            raise StartError("certificate", "The way in cannot be opened: %s." % why.decode("utf-8", "replace"))

    def look(self, now: float) -> None:
        """Reap the process; start it again when it has ended by itself."""
        if self.pid > 0 and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = -1
            os.close(self.lifeline)
            self.restart_at = now + RESTART_PAUSE
        if self.restart_at and now >= self.restart_at:
            self.restart_at = 0.0
            try:
                self.start()
            except (StartError, OSError) as error:
                self.note(str(error))
                self.restart_at = now + RETRY_PAUSE

    def close(self) -> None:
        """End the process."""
        if self.pid > 0:
            os.close(self.lifeline)
            os.waitpid(self.pid, 0)
