"""SSH into the job: OpenSSH's own sshd, as the job's user, once for each connection.

Nothing listens on the network. Connections arrive at a private unix socket beside the app's; only the gateway leads
there, after it has checked who asks. Each begins as a WebSocket that brings the public key of its client, which alone
may log in on it (`batch.starter.ssh_session`). The host key is made for this attempt.
"""

import os

from batch.starter.errors import StartError
from batch.starter.files import make_private, remove, write_atomically
from batch.starter.helper import Helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, Callable, Mapping

    from batch.starter.job_folder import JobFolder

SEARCHED = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/usr/local/bin:/bin"
FILES = "ssh"
"""The folder of keys and configuration, beside the socket."""
PASSED_ON = ("SLURM_", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "TMPDIR")
"""Beginnings of the variables that sessions get from the job: what says which part of the node is the job's."""
LEFT_OUT = frozenset({"SLURM_JWT"})
"""Variables with such a beginning that are secrets."""
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:,@+=-()[]")
ACCOUNT_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-")
CHECK_SECONDS = 20

CONFIG = """\
HostKey {folder}/host_key
AuthorizedKeysFile none
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
HostbasedAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
PidFile none
UseDNS no
PrintMotd no
LoginGraceTime 30
AllowTcpForwarding local
PermitOpen localhost:* 127.0.0.1:* [::1]:*
AllowStreamLocalForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PermitUserEnvironment no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
LogLevel INFO
"""
# StrictModes looks at the modes of the home, which may be writable for a group; our folder is checked to be private.


class UnavailableError(Exception):
    """SSH cannot be served here. The message says why."""


class SshFiles:
    """What each sshd needs: its program, its configuration, and the public host key."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sshd = ""
        self.config = os.path.join(folder, "sshd_config")
        self.log = os.path.join(folder, "sshd.log")
        self.host_key = ""  # the public one: kind and base64
        self.account = ""

    def prepare(self, account: str, environment: "Mapping[str, str]", *, as_root: bool = False) -> None:
        """Find the programs, and make the key and the configuration. Raises UnavailableError.

        `as_root`: sshd could log in others, too. Otherwise the kernel prevents it.
        """
        self.account = account
        self.sshd = find("sshd")
        keygen = find("ssh-keygen")
        for letter in ' \t"#%\\\n':
            if letter in self.folder:
                raise UnavailableError("the path of the job's folder has characters that sshd cannot read")
        key = os.path.join(self.folder, "host_key")
        try:
            make_private(self.folder)
            if not os.path.exists(key + ".pub"):
                remove(key)
                run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key])
            with open(key + ".pub", encoding="ascii") as file:
                self.host_key = " ".join(file.read().split()[:2])
            config = CONFIG.format(folder=self.folder) + ("AllowUsers %s\n" % account if as_root else "")
            write_atomically(self.config, config + set_env(environment))
        except (OSError, UnicodeError) as error:
            raise UnavailableError("its files cannot be written: %s" % error)
        run([self.sshd, "-t", "-f", self.config])


def find(program: str) -> str:
    """Return the path of a program of OpenSSH. Raises UnavailableError."""
    for folder in SEARCHED.split(":"):
        path = folder + "/" + program
        if os.access(path, os.X_OK):
            return path
    raise UnavailableError("the node has no %s" % program)


def run(command: "list[str]") -> None:
    """Run a program to its end. Raises UnavailableError with its output."""
    import subprocess

    try:
        done = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
        )
        output = done.communicate(timeout=CHECK_SECONDS)[0]
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError("%s does not run: %s" % (command[0], error))
    if done.returncode:
        text = " ".join(output.decode("utf-8", "replace").split())
        raise UnavailableError(
            "%s: %s" % (os.path.basename(command[0]), text[-200:] or "exit code %d" % done.returncode)
        )


def set_env(environment: "Mapping[str, str]") -> str:
    """Return the line for the variables of the job that sessions get. sshd reads only one such line.

    Values with other characters than plain ones are left out: sshd's versions differ in how they read quotes.
    """
    settings = [
        "%s=%s" % (name, value)
        for name, value in sorted(environment.items())
        if name.startswith(PASSED_ON) and name not in LEFT_OUT and value and PLAIN.issuperset(name + value)
    ]
    return "SetEnv %s\n" % " ".join(settings) if settings else ""


class SshServer:
    """The listening socket, and the process that serves it.

    `path`: the socket; `""`: it is not open, and `fault` says why.
    """

    def __init__(self, folder: "JobFolder", note: "Callable[[str], None]", become_helper: "Callable[[], None]") -> None:
        """`note` and `become_helper`: see Helper."""
        self.folder = folder
        self.note = note
        self.path = ""
        self.fault = ""
        self.account = ""
        self.listener: "_socket.socket"  # from `open` on
        self.files: "SshFiles"
        self.helper = Helper("SSH", self.serve, note, become_helper)

    def open(self, spec: "Mapping[str, Any]") -> "SshServer":
        """Listen, and start the process; return the server itself."""
        import _socket
        import pwd

        try:
            if (
                spec.get("way_in") == "reverse"
            ):  # its connections have made their handshake before it is known what they are for
                raise UnavailableError("its cluster's way in (reverse) does not carry SSH")
            self.account = pwd.getpwuid(os.geteuid()).pw_name
            if not ACCOUNT_LETTERS.issuperset(self.account):
                raise UnavailableError("the account's name has characters that SSH's configuration cannot have")
            path = self.folder.socket_path("ssh.sock")
            self.files = SshFiles(os.path.join(os.path.dirname(path), FILES))
            self.files.prepare(self.account, os.environ, as_root=os.geteuid() == 0)
            self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            mask = os.umask(0o177)
            try:
                self.listener.bind(path)
            finally:
                os.umask(mask)
            self.listener.listen(64)
            self.fault = self.helper.start()
            self.path = "" if self.fault else path
        except KeyError:
            self.fault = "this account has no name on the node"
        except (OSError, StartError, UnavailableError) as error:
            self.fault = str(error)
        if self.fault:
            self.note("SSH is not available: %s." % self.fault)
        return self

    def describe(self) -> "dict[str, Any]":
        """Return what the endpoint says of it."""
        return {"ssh_path": self.path, "account": self.account} if self.path else {}

    def serve(self, lifeline: int, ready: "Callable[[], None]") -> None:
        """In the process: accept connections."""
        from batch.starter.ssh_session import serve

        serve(self.listener, self.files, lifeline, ready)
