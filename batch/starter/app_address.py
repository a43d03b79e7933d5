"""Where the app listens, and where it is reached."""

import os

from batch.starter.command import environment_for, fill_in, wants_socket
from batch.starter.processes import environment_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from batch.starter.helper import Helper
    from batch.starter.isolation import Isolation
    from batch.starter.job_folder import JobFolder
    from batch.starter.ssh_server import SshServer
    from batch.starter.way_in import WayIn


class AppAddress:
    """The app's own 0600 unix socket, or the socket of the bridge to its port in a network namespace.

    If the profile says so (`shared_node_port`), a port of the node's loopback.
    """

    def __init__(
        self,
        spec: "dict[str, Any]",
        folder: "JobFolder",
        note: "Callable[[str], None]",
        become_helper: "Callable[[], None]",
    ) -> None:
        """`note` and `become_helper`: see Helper."""
        self.spec = spec
        self.folder = folder
        self.note = note
        self.become_helper = become_helper
        self.endpoint: "dict[str, Any]" = {}  # where the app is reached
        self.listens: "dict[str, Any]" = {}  # where the app must listen
        self.isolation: "Isolation | None" = None

    def choose(self) -> None:
        """Choose both addresses. Raises StartError and OSError."""
        if wants_socket(self.spec["command"]):
            self.endpoint = self.listens = {"kind": "unix", "path": self.folder.socket_path()}
        elif self.spec.get("shared_node_port"):
            from batch.starter.ports import free_port

            self.endpoint = self.listens = {"kind": "tcp", "host": "127.0.0.1", "port": free_port()}
        else:
            from batch.starter.isolation import Isolation

            self.isolation = Isolation(self.spec, self.note, self.become_helper)
            self.endpoint = {"kind": "unix", "path": self.folder.socket_path()}
            self.isolation.open(self.endpoint["path"])
            self.listens = {"kind": "tcp", "host": "127.0.0.1", "port": self.isolation.port}

    def adopt(self, app: int) -> None:
        """Find both addresses of a running app in its environment. Raises StartError and OSError."""
        environment = environment_of(app)
        if "TOWPATH_SOCKET" in environment:
            self.endpoint = self.listens = {"kind": "unix", "path": environment["TOWPATH_SOCKET"]}
            return
        port = int(environment.get("TOWPATH_PORT", "0"))
        self.listens = {"kind": "tcp", "host": "127.0.0.1", "port": port}
        if self.spec.get("shared_node_port"):
            self.endpoint = self.listens
            return
        from batch.starter.isolation import Isolation

        self.isolation = Isolation(self.spec, self.note, self.become_helper)
        self.endpoint = {"kind": "unix", "path": self.folder.socket_path()}
        self.isolation.adopt(self.endpoint["path"], app, port, environment)

    def is_served(self) -> bool:
        """Whether gateways connect to this node. Otherwise they reach the app's socket without our help."""
        return bool(self.spec.get("passport")) and self.spec.get("way_in") != "ssh"

    def for_gateways(self, way_in: "WayIn | None", ssh: "SshServer | None") -> "dict[str, Any]":
        """Where gateways find the app, and SSH beside it, if the job serves it."""
        if way_in is not None and way_in.endpoint is not None:
            endpoint = way_in.endpoint
        elif self.spec.get("way_in") == "ssh" and self.endpoint["kind"] == "unix":
            endpoint = {"kind": "ssh-socket", "path": self.endpoint["path"]}
        else:
            endpoint = self.endpoint
        return dict(endpoint, **ssh.describe()) if ssh else endpoint

    def command(self) -> "list[str]":
        """Return the app's command."""
        return fill_in(self.spec["command"], self.listens.get("path", ""), self.listens.get("port", 0))

    def environment(self) -> "dict[str, str]":
        """Return the app's environment."""
        environment = environment_for(self.spec, self.listens)
        if self.isolation is not None:
            environment.update(self.isolation.way_out.environment)
        return environment

    def enter(self) -> "Callable[[], None] | None":
        """Return what the process that becomes the app calls first; None: nothing."""
        return None if self.isolation is None else self.isolation.enter

    def helpers(self) -> "list[Helper]":
        """Return the processes that serve the app."""
        return [] if self.isolation is None else self.isolation.helpers()

    def is_lost(self) -> bool:
        """Return whether another process has taken the app's port. The app has ended."""
        if self.endpoint["kind"] != "tcp":
            return False
        from batch.starter.ports import is_taken

        return is_taken(self.endpoint["port"])

    def is_ours(self) -> bool:
        """Return whether our own user answers there. A socket is made private."""
        if self.endpoint["kind"] == "unix":
            os.chmod(self.endpoint["path"], 0o600)
            return True
        from batch.starter.ports import is_listener_ours

        return is_listener_ours(self.endpoint["port"])
