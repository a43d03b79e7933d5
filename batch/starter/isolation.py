"""Isolates an app that listens on a port from the node's other users.

Every user of the node can open a port of its loopback. So the app runs in a network namespace of its own, where it
listens on 127.0.0.1, and the bridge, a process inside the namespace, forwards bytes between that port and the 0600
socket in the job's folder. Everything else is as for an app that listens on a socket.
"""

import _socket
import errno
import os
import sys
import time

from batch.starter.errors import StartError
from batch.starter.helper import Helper
from batch.starter.namespaces import join, leave_network, open_namespaces
from batch.starter.ports import free_port
from batch.starter.relay import Loop, Relay, connect
from batch.starter.sockets import allow_many_descriptors
from batch.starter.way_out import WayOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

BACKLOG = 1024
PORT_PATIENCE = 5.0  # seconds
MESSAGE_BYTES = 64
FORBIDDEN = (
    "This node does not let you run an app in a network of its own (%s). Without that, other users of the node could"
    " open the app."
)
NOT_AGAIN = "The app's own network cannot be entered again (%s)."
HINT = "Tell the hub's admins: the node must allow user namespaces, or the profile must be changed."
LOCALHOST = ((_socket.AF_INET, "127.0.0.1"), (_socket.AF_INET6, "::1"))


class Isolation:
    """The namespace and its bridge, opened once, before the app is started.

    The socket belongs to this process, so that it stays when the bridge is started again.
    """

    def __init__(
        self, spec: "dict[str, Any]", note: "Callable[[str], None]", become_helper: "Callable[[], None]"
    ) -> None:
        """`note` and `become_helper`: see Helper."""
        self.listener: "_socket.socket"  # from `open` on
        self.channel: "_socket.socket | None" = None  # through which the bridge reports what it has made
        self.namespaces: "list[tuple[int, int]]" = []
        self.port = 0
        self.proxy_port = 0  # the port of an app that runs already; 0: any
        self.bridge = Helper("The bridge to the app's port", self.serve, note, become_helper)
        self.way_out = WayOut(spec["environment"], note, become_helper)

    def open(self, path: str) -> None:
        """Make the namespace, the bridge and the app's way out. Raises StartError if that is forbidden."""
        self.listener = listen_on_path(path)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.channel = theirs
        why = self.bridge.start()
        theirs.close()
        self.channel = None
        if why:
            raise StartError("isolation", FORBIDDEN % why, HINT)
        self.port, proxy = receive(ours)
        ours.close()
        try:
            self.namespaces = open_namespaces(self.bridge.pid)
        except OSError as error:
            raise StartError("isolation", FORBIDDEN % error, HINT) from None
        self.way_out.open(self.namespaces, proxy, self.bridge.pid)

    def adopt(self, path: str, app: int, port: int, environment: "Mapping[str, str]") -> None:
        """Serve an app that runs in such a network already, with this environment. Raises StartError."""
        self.listener = listen_on_path(path)
        try:
            self.namespaces = open_namespaces(app)
        except OSError as error:
            raise StartError("isolation", NOT_AGAIN % error) from None
        self.port = port
        self.proxy_port = int(environment.get("http_proxy", "").rpartition(":")[2].strip("/") or 0)
        ours, self.channel = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        why = self.bridge.start()
        self.channel.close()
        self.channel = None
        if why:
            raise StartError("isolation", NOT_AGAIN % why)
        self.port, proxy = receive(ours)
        ours.close()
        self.way_out.open(self.namespaces, proxy, app)

    def enter(self) -> None:
        """Move the calling process, which becomes the app, into the namespace."""
        join(self.namespaces)

    def serve(self, lifeline: int, ready: "Callable[[], None]") -> None:
        """Run the bridge: make the namespace, or join the existing one, and forward bytes."""
        if self.namespaces:
            join(self.namespaces)
        else:
            leave_network()
            self.port = free_port()
        if self.channel is not None:
            proxy = listen_on_port(self.proxy_port)
            send(self.channel, self.port, proxy.fileno())
            self.channel.close()
            proxy.close()
        allow_many_descriptors()
        loop = Loop(lifeline)
        loop.serve(self.listener, lambda sock: bridge(loop, sock, self.port))
        ready()
        loop.run()

    def helpers(self) -> "list[Helper]":
        """Return the processes."""
        return [self.bridge] if self.way_out.helper is None else [self.bridge, self.way_out.helper]


def listen_on_path(path: str) -> "_socket.socket":
    """Return a listening socket at this path, 0600 from its first moment. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def listen_on_port(port: int) -> "_socket.socket":
    """Return a listening socket on the loopback. A process that had the port may be about to end. Raises OSError."""
    limit = time.monotonic() + PORT_PATIENCE
    while True:
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            sock.listen(BACKLOG)
            return sock
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > limit:
                raise
            time.sleep(0.02)


def bridge(loop: Loop, sock: "_socket.socket", port: int) -> None:
    """Connect one connection to the app, by IPv4 or IPv6."""

    def attempt(number: int) -> None:
        if number == len(LOCALHOST):
            sock.close()
            return
        family, address = LOCALHOST[number]

        def done(app: "_socket.socket | None") -> None:
            if app is None:
                attempt(number + 1)
            else:
                Relay(loop, sock, app)

        connect(loop, family, (address, port), done)

    attempt(0)


def send(channel: "_socket.socket", port: int, fd: int) -> None:
    """Send the starter the port and a descriptor (unix(7))."""
    rights = fd.to_bytes(4, sys.byteorder)
    channel.sendmsg([b"%d" % port], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])


def receive(channel: "_socket.socket") -> "tuple[int, int]":
    """Receive the port and the descriptor, which the app must not inherit: it would keep the port after our end."""
    text, ancillary, _, _ = channel.recvmsg(MESSAGE_BYTES, _socket.CMSG_SPACE(4))
    fd = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
    os.set_inheritable(fd, False)  # PEP 446 does not cover received descriptors
    return int(text), fd
