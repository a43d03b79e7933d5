"""One SSH connection: a WebSocket of the gateway on one side, an sshd on the other.

Each is a process of its own, which ends with either side, or with the starter. The WebSocket's request names the public
key that may log in; its answer names the host key. So both are known before SSH itself begins, by a way that the
gateway has authorized, and nobody has to trust a key on first use.
"""

import _signal
import _socket
import os
import select
import struct
import time

from batch.starter.files import remove, write_atomically
from batch.starter.ssh_bridge import Bridge
from batch.starter.ssh_websocket import accept_value, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from batch.starter.ssh_server import SshFiles

KEY_FIELD = "towpath-client-key"
HOST_KEY_FIELD = "Towpath-Host-Key"
ACCOUNT_FIELD = "Towpath-Account"
KINDS = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
)  # fmt: skip
BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
MAX_HEAD = 65536
MAX_KEY = 4096
MAX_SESSIONS = 64
HEAD_SECONDS = 20.0
CLOSE_SECONDS = 2.0
"""How long sshd may take to end."""
REAP_SECONDS = 5.0
READ_SIZE = 131072
CREDENTIALS = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


class RefusedError(Exception):
    """The request cannot be served. The message says why."""


def serve(listener: "_socket.socket", files: "SshFiles", lifeline: int, ready: "Callable[[], None]") -> None:
    """Accept connections until the other end of the lifeline closes. Calls `ready` first."""
    listener.setblocking(False)
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    sessions: "set[int]" = set()
    ready()
    while True:
        events = poll.poll(REAP_SECONDS * 1000 if sessions else None)
        sessions = {pid for pid in sessions if not os.waitpid(pid, os.WNOHANG)[0]}
        if any(fd == lifeline for fd, _ in events):
            return  # the sessions have the same lifeline
        if not events:
            continue
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]
        except OSError:
            time.sleep(0.05)  # no descriptors: a later one may be accepted
            continue
        sock = _socket.socket(listener.family, listener.type, listener.proto, fd)
        if len(sessions) >= MAX_SESSIONS or not is_own(sock):
            sock.close()
            continue
        pid = os.fork()
        if pid == 0:
            try:
                close_others(sock.fileno(), lifeline)
                Session(sock, files, lifeline).run()
            finally:
                os._exit(0)
        sock.close()
        sessions.add(pid)


def close_others(*kept: int) -> None:
    """Close what was inherited, such as the starter's lock, which must not last longer than the starter."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # the one with which the folder was read
                pass


def is_own(sock: "_socket.socket") -> bool:
    """Return whether the other end belongs to this account, or to root, whatever the modes of the socket are."""
    uid = CREDENTIALS.unpack(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, CREDENTIALS.size))[1]
    return uid in (0, os.geteuid())


class Session:
    """See the module."""

    def __init__(self, sock: "_socket.socket", files: "SshFiles", lifeline: int) -> None:
        self.sock = sock
        self.files = files
        self.lifeline = lifeline
        self.keys = "%s/authorized_keys.%d" % (files.folder, os.getpid())
        self.sshd = 0  # its pid

    def run(self) -> None:
        """Serve the connection to its end."""
        try:
            head, rest = self.read_head()
            accept = self.admit(head)
        except RefusedError as error:
            text = ("%s\n" % error).encode("utf-8")
            self.sock.sendall(
                b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
            )
            return
        try:
            ours, theirs = pair()
            self.start_sshd(theirs)
            theirs.close()
            self.sock.sendall(
                (
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: %s\r\n%s: %s\r\n%s: %s\r\n\r\n"
                    % (accept, HOST_KEY_FIELD, self.files.host_key, ACCOUNT_FIELD, self.files.account)
                ).encode("ascii")
            )
            Bridge(self.sock, ours, self.lifeline).run(rest)
            ours.close()
            self.end_sshd()
        finally:
            remove(self.keys)

    def read_head(self) -> "tuple[bytes, bytes]":
        """Return the request's head, and what follows it. Raises RefusedError."""
        limit = time.monotonic() + HEAD_SECONDS
        received = b""
        while b"\r\n\r\n" not in received:
            self.sock.settimeout(max(0.001, limit - time.monotonic()))
            try:
                part = self.sock.recv(READ_SIZE)
            except OSError:
                part = b""
            if not part or len(received) > MAX_HEAD:
                raise RefusedError("The request is not complete.")
            received += part
        self.sock.settimeout(None)
        head, _, rest = received.partition(b"\r\n\r\n")
        return head, rest

    def admit(self, head: bytes) -> str:
        """Let the client's key log in on this connection; return the handshake's answer. Raises RefusedError."""
        fields = fields_of(head)
        accept = accept_value(fields.get("sec-websocket-key", ""))
        parts = fields.get(KEY_FIELD, "").split()
        if not accept or len(parts) != 2 or parts[0] not in KINDS or not BASE64.issuperset(parts[1]):
            raise RefusedError("The request has no public key of a kind that is known here.")
        if len(parts[1]) > MAX_KEY:
            raise RefusedError("The public key is too long.")
        try:
            write_atomically(self.keys, "%s %s\n" % (parts[0], parts[1]))
        except OSError as error:
            raise RefusedError("The job's folder cannot be written: %s." % error)
        return accept

    def start_sshd(self, end: "_socket.socket") -> None:
        """Start sshd on this end of a pair of sockets."""
        command = [self.files.sshd, "-i", "-e", "-f", self.files.config, "-o", "AuthorizedKeysFile=" + self.keys]
        self.sshd = os.fork()
        if self.sshd:
            return
        try:
            log = os.open(self.files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            for fd, own in ((end.fileno(), 0), (end.fileno(), 1), (log, 2)):
                os.dup2(fd, own)
            for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGCHLD", "SIGPIPE"):
                _signal.signal(getattr(_signal, name), _signal.SIG_DFL)
            os.setsid()
            os.chdir("/")
            os.execve(command[0], command, {"PATH": "/usr/local/bin:/usr/bin:/bin"})
        finally:
            os._exit(127)

    def end_sshd(self) -> None:
        """Wait for sshd, whose connection is closed, and end it if it does not end by itself."""
        limit = time.monotonic() + CLOSE_SECONDS
        for number in (0, _signal.SIGTERM, _signal.SIGKILL):
            if number:
                os.kill(self.sshd, number)
            while time.monotonic() < limit:
                if os.waitpid(self.sshd, os.WNOHANG)[0]:
                    return
                time.sleep(0.02)
            limit = time.monotonic() + CLOSE_SECONDS


def pair() -> "tuple[_socket.socket, _socket.socket]":
    """Return two connected sockets."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return one, other
