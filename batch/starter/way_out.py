"""The way out of an isolated app's network: to package indexes, databases, other machines.

If the node has slirp4netns or pasta, and lets the user use them, the app has a network as usual. Otherwise it has an
HTTP proxy, which only the app can reach: enough for programs that honour `http_proxy` and `https_proxy` (pip, conda,
curl, git over https, R), and nothing for other protocols.
"""

import _signal
import os
import select
import time

from batch.starter.app import SIGNALS
from batch.starter.files import read_file
from batch.starter.helper import Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping, Sequence

TUN = "/dev/net/tun"
DEVICE = "tap0"
SEARCHED = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
ROUTE_SECONDS = 3.0
DEFAULT_ROUTE = b"00000000"  # the destination in /proc/net/route
LOOK_SECONDS = 0.2
NO_PROXY = "localhost,127.0.0.1,::1"
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
OTHERS = ("all_proxy", "ALL_PROXY", "ftp_proxy", "FTP_PROXY")


class WayOut:
    """The app's way out, opened once. `environment`: what the app needs for it, after `open`."""

    def __init__(
        self, environment: "Mapping[str, str]", note: "Callable[[str], None]", become_helper: "Callable[[], None]"
    ) -> None:
        """`environment`: the app's; it names the proxy of a node that has one."""
        self.inherited = environment
        self.note = note
        self.become_helper = become_helper
        self.environment: "dict[str, str]" = {}
        self.program: "list[str]" = []
        self.listener = -1
        self.helper: "Helper | None" = None

    def open(self, namespaces: "Sequence[tuple[int, int]]", listener: int, inside: int) -> None:
        """Give the namespaces a network, or serve the proxy. `inside`: a process there; `listener`: a socket there."""
        for program in programs(inside, len(namespaces) > 1):
            self.program = program
            self.helper = Helper("The app's network", self.run_program, self.note, self.become_helper)
            if not self.helper.start() and self.has_route(inside):
                os.close(listener)
                self.note("The app has a network of its own, by %s." % program[0])
                return
            self.helper.close()
        self.listener = listener
        self.helper = Helper("The app's HTTP proxy", self.serve_proxy, self.note, self.become_helper)
        why = self.helper.start()
        if why:
            self.note("The app has no way out to the network: %s" % why)
            self.helper = None
            return
        import _socket

        sock = _socket.socket(fileno=os.dup(listener))
        proxy = "http://127.0.0.1:%d" % sock.getsockname()[1]
        sock.close()
        self.note("The app has a network of its own. It reaches other machines by the HTTP proxy %s alone." % proxy)
        self.environment = dict.fromkeys(PROXIES, proxy)
        self.environment.update((name, "") for name in OTHERS if name in self.inherited)
        self.environment.update(no_proxy=NO_PROXY, NO_PROXY=NO_PROXY)

    def serve_proxy(self, lifeline: int, ready: "Callable[[], None]") -> None:
        """Serve the app's proxy, in a process of its own."""
        from batch.starter.proxy import serve

        serve(self.listener, self.inherited, lifeline, ready)

    def has_route(self, inside: int) -> bool:
        """Return whether the network gets a default route soon."""
        limit = time.monotonic() + ROUTE_SECONDS
        while time.monotonic() < limit and not (self.helper is None or self.helper.has_ended()):
            try:
                lines = read_file("/proc/%d/net/route" % inside).splitlines()[1:]
            except OSError:
                return False
            if any(line.split()[1:2] == [DEFAULT_ROUTE] for line in lines):
                return True
            time.sleep(0.02)
        return False

    def run_program(self, lifeline: int, ready: "Callable[[], None]") -> None:
        """Run the program until the lifeline ends, in a process of its own."""
        pid = os.fork()
        if pid == 0:
            try:
                for name in SIGNALS:
                    _signal.signal(getattr(_signal, name), _signal.SIG_DFL)
                null = os.open(os.devnull, os.O_RDWR)
                for fd in (0, 1, 2):
                    os.dup2(null, fd)
                os.execv(self.program[0], self.program)
            finally:
                os._exit(127)
        ready()
        while not select.select([lifeline], [], [], LOOK_SECONDS)[0]:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        os.kill(pid, _signal.SIGTERM)
        os.waitpid(pid, 0)


def programs(pid: int, user: bool) -> "list[list[str]]":
    """Return the commands of this node's programs that connect a process's network namespace to the network.

    `user`: the namespace belongs to a user namespace. Nothing of the node's own loopback can be reached through them.
    """
    if not os.access(TUN, os.R_OK | os.W_OK):
        return []
    net, owner = "/proc/%d/ns/net" % pid, "/proc/%d/ns/user" % pid
    slirp = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"]
    slirp += ["--userns-path=" + owner] if user else []
    pasta = [
        "pasta",
        "--quiet",
        "--foreground",
        "--config-net",
        "--no-map-gw",
        "-t",
        "none",
        "-u",
        "none",
        "-T",
        "none",
    ]
    pasta += ["-U", "none", "--userns", owner, "--netns", net]
    found = []
    for command in ([*slirp, net, DEVICE], *([pasta] if user else [])):  # run by root, pasta becomes nobody
        for folder in SEARCHED.split(":"):
            path = folder + "/" + command[0]
            if os.access(path, os.X_OK):
                found.append([path, *command[1:]])
                break
    return found
