"""`towpath-connect`: SSH, scp, rsync and editors into the jobs of a Towpath hub, through the hub's own address.

One file: Python 3.9 or newer and the package `websockets`. `login` signs in once, `config` writes a block into
~/.ssh/config, and OpenSSH then calls `proxy` for each connection. The hub checks every connection; nothing listens
anywhere. See docs/connect.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shlex
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from websockets.sync.client import ClientConnection

NAME = re.compile(r"[a-z][a-z0-9]{0,31}")
SERVER = re.compile(r"[A-Za-z0-9._-]{1,60}")
"""Names of servers that can be part of a host's name."""
PUBLIC_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/=]+")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
API = "hub/api/towpath"
OK = 200
READ_SIZE = 65536
OPEN_SECONDS = 60
HTTP_SECONDS = 30
PROGRAM = "towpath-connect"


class ConnectError(Exception):
    """What went wrong, in a sentence. `code`: the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


# --- what is kept on this machine


def home() -> Path:
    """Return the folder of sign-ins, keys and known hosts."""
    folder = os.environ.get("TOWPATH_CONNECT_DIR")
    if folder:
        return Path(folder)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / PROGRAM


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can open."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step. Only this user can read it."""
    fd, temporary = tempfile.mkstemp(dir=private_folder(path.parent))  # 0600
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


class Login:
    """A sign-in at a hub, under a name that is the beginning of its hosts' names."""

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name = name
        self.url = str(fields["url"])
        self.user = str(fields["user"])
        self.token = str(fields["token"])
        self.ca_file = str(fields.get("ca_file", ""))

    @property
    def folder(self) -> Path:
        """Where its keys and known hosts are."""
        return home() / self.name

    @classmethod
    def load(cls, name: str) -> Login:
        """Read the sign-in. Raises ConnectError."""
        path = home() / f"{name}.json"
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return cls(name, fields)
        except FileNotFoundError:
            raise ConnectError(f"You are not signed in. Run: {PROGRAM} login URL{_named(name)}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConnectError(f"{path} cannot be read: {error}. Sign in again: {PROGRAM} login URL") from error

    def save(self) -> None:
        """Keep the sign-in in a file with mode 0600."""
        fields = {"url": self.url, "user": self.user, "token": self.token, "ca_file": self.ca_file}
        write_private(home() / f"{self.name}.json", json.dumps(fields) + "\n")


def _named(name: str) -> str:
    return "" if name == "towpath" else f" --name {name}"


# --- HTTP


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return the context for https. Raises ConnectError."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise ConnectError(f"The file with certificates {ca_file} cannot be used: {error}", 2) from error


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would send the token elsewhere."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Return no further request."""


def call(url: str, *, ca_file: str, token: str = "", body: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """Send a request to the API; return the status and the body. Raises ConnectError."""
    headers = {"Accept": "application/json", "User-Agent": PROGRAM}
    if token:
        headers["Authorization"] = f"token {token}"
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - `hub_url` has checked it
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=tls_context(ca_file)), NoRedirects)
    try:
        with opener.open(request, timeout=HTTP_SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        try:
            return error.code, json.load(error)
        except ValueError:
            raise ConnectError(f"{url} answers with {error.code} {error.reason}. Is it a Towpath hub?") from error
    except (OSError, ValueError) as error:
        raise ConnectError(f"The hub at {url} cannot be reached: {getattr(error, 'reason', error)}") from error


def hub_url(typed: str) -> str:
    """Return the URL of the hub with a slash at its end. Raises ConnectError."""
    parts = urlsplit(typed if "://" in typed else f"https://{typed}")
    path = parts.path.partition("/hub")[0].rstrip("/") + "/"
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username or parts.query:
        raise ConnectError(f"{typed!r} is not the address of a hub, such as https://hub.example.org/", 2)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConnectError("Use the https address of the hub: over http, others could read your token.", 2)
    return f"{parts.scheme}://{parts.netloc}{path}"


# --- the commands


def login(arguments: argparse.Namespace) -> int:
    """Sign in: the user approves a code on a page of the hub."""
    url = hub_url(arguments.url)
    if not NAME.fullmatch(arguments.name):
        raise ConnectError("A name consists of lowercase letters and digits, and begins with a letter.", 2)
    ca_file = str(Path(arguments.ca_file).resolve()) if arguments.ca_file else ""
    status, codes = call(f"{url}{API}/device/code", ca_file=ca_file, body={"client": platform.node()[:64]})
    if status != OK:
        raise ConnectError(str(codes.get("message") or f"The hub answers with {status}."))
    print(f"Open {codes['verification_uri']} in a browser, and enter the code  {codes['user_code']}", flush=True)
    if not arguments.no_browser and has_windows():
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(codes["verification_uri"])
    found = wait_for_token(url, codes, ca_file)
    made = Login(
        arguments.name, {"url": url, "user": found["user"], "token": found["access_token"], "ca_file": ca_file}
    )
    made.save()
    print(f"Signed in to {url} as {made.user}. Next: {PROGRAM} config{_named(made.name)}")
    return 0


def has_windows() -> bool:
    """Return whether a browser would open in a window: one in the terminal would be in the way."""
    return os.name == "nt" or sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def wait_for_token(url: str, codes: dict[str, Any], ca_file: str) -> dict[str, Any]:
    """Ask until the user has decided. Raises ConnectError."""
    limit = time.monotonic() + float(codes["expires_in"])
    while time.monotonic() < limit:
        time.sleep(float(codes["interval"]))
        status, answer = call(f"{url}{API}/device/token", ca_file=ca_file, body={"device_code": codes["device_code"]})
        if status == OK:
            return answer
        if answer.get("error") != "authorization_pending":
            break
    raise ConnectError("The code was not approved. Try again.")


def logout(arguments: argparse.Namespace) -> int:
    """Forget the sign-in and its keys, and remove the block of ~/.ssh/config."""
    made = Login.load(arguments.name)
    change_config(Path(arguments.file), made.name, "")
    for path in [*(made.folder / "keys").glob("*"), made.folder / "known_hosts"]:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    (home() / f"{made.name}.json").unlink()
    print(f"Signed out on this machine. To revoke the token itself, use {made.url}hub/token")
    return 0


def config(arguments: argparse.Namespace) -> int:
    """Write, or remove, the block of ~/.ssh/config."""
    path = Path(arguments.file)
    if arguments.remove:
        change_config(path, arguments.name, "")
        print(f"The block {arguments.name} is not in {path} any more.")
        return 0
    made = Login.load(arguments.name)
    status, answer = call(f"{made.url}{API}/connect", ca_file=made.ca_file, token=made.token)
    if status != OK:
        raise ConnectError(refused(made, status, str(answer.get("message", ""))))
    accounts = {str(server["name"]): str(server["account"] or made.user) for server in answer["servers"]}
    accounts = {"": made.user, **{name: account for name, account in accounts.items() if usable(name)}}
    change_config(path, made.name, block(made, accounts))
    hosts = [host_of(made.name, name) for name in accounts]
    print(f"{path} has the hosts {', '.join(hosts)}. Connect with: ssh {hosts[0]}")
    print("After you have added a server, or started one for the first time, run this again.")
    return 0


def usable(name: str) -> bool:
    """Return whether a server's name can be part of a host's name."""
    return not name or SERVER.fullmatch(name) is not None


def host_of(login_name: str, server: str) -> str:
    """Return the host's name of a server."""
    return f"{login_name}-{server}" if server else login_name


def block(made: Login, accounts: dict[str, str]) -> str:
    """Return the block: one entry per server, so that editors list them, and no name goes to a shell unchecked."""
    lines = []
    for server, account in sorted(accounts.items()):
        host = host_of(made.name, server)
        command = [sys.executable, str(Path(__file__).resolve()), "proxy", host, "--account", account]
        text = subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
        lines += [
            f"Host {host}",
            f"    User {account}",
            f"    ProxyCommand {_literal(text)}",
            f'    IdentityFile "{_literal(str(key_of(made, host)))}"',
            "    IdentitiesOnly yes",
            "    IdentityAgent none",
            f'    UserKnownHostsFile "{_literal(str(made.folder / "known_hosts"))}"',
            "    GlobalKnownHostsFile /dev/null",
            "    StrictHostKeyChecking yes",
            "    UpdateHostKeys no",
            "    CheckHostIP no",
            "    ForwardAgent no",
            "    ForwardX11 no",
        ]
    # What follows must mean the same as before: it was for all hosts up to the first Host or Match.
    return "\n".join([*lines, "Match all"]) + "\n"


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def change_config(path: Path, name: str, text: str) -> None:
    """Put the block at the top of the file, in place of an earlier one; without text remove it. Raises ConnectError.

    At the top, because ssh takes the first value of each key.
    """
    path = Path(os.path.realpath(path))
    first, last = f"# >>> {PROGRAM} {name} >>>\n", f"# <<< {PROGRAM} {name} <<<\n"
    try:
        before = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        before, mode = "", 0o600
    if before.count(first) != before.count(last) or before.count(first) > 1:
        raise ConnectError(f"{path}: the lines that enclose the block {name} are damaged. Remove them by hand.", 2)
    rest = before
    if first in before:
        start, end = before.index(first), before.index(last)
        if end < start:
            raise ConnectError(f"{path}: the lines that enclose the block {name} are damaged. Remove them by hand.", 2)
        rest = before[:start] + before[end + len(last) :]
    after = f"{first}{text}{last}{rest}" if text else rest
    if after != before:
        write_private(path, after)
        path.chmod(mode)


def key_of(made: Login, host: str) -> Path:
    """Return the path of the private key for one server alone."""
    return made.folder / "keys" / host


def public_key(made: Login, host: str) -> str:
    """Return the public key for a server, which is made at the first connection. Raises ConnectError."""
    path = key_of(made, host)
    if not path.exists():
        private_folder(path.parent)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            new = Path(folder) / "key"
            keygen("-q", "-t", "ed25519", "-N", "", "-C", PROGRAM, "-f", str(new))
            with contextlib.suppress(FileExistsError):  # another connection was faster
                os.link(new, path)
    return " ".join(keygen("-y", "-f", str(path)).split()[:2])


def keygen(*options: str) -> str:
    """Run ssh-keygen and return its output. Raises ConnectError."""
    try:
        return subprocess.run(
            ["ssh-keygen", *options], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise ConnectError(f"ssh-keygen does not work: {reason}. Is OpenSSH installed?") from error


def know_host(made: Login, host: str, key: str) -> None:
    """Keep the host key, which the hub has passed on from the job, in place of that of an earlier job."""
    if not PUBLIC_KEY.fullmatch(key):
        raise ConnectError("The job did not name its host key. Is the hub older than this program?")
    path = made.folder / "known_hosts"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    entry = f"{host.lower()} {key}"
    if entry not in lines:
        others = [line for line in lines if line.partition(" ")[0] != host.lower()]
        write_private(path, "\n".join([*others, entry]) + "\n")


def proxy(arguments: argparse.Namespace) -> int:
    """Carry the bytes of one SSH connection between OpenSSH and the job."""
    name, _, server = arguments.host.partition("-")
    if not NAME.fullmatch(name) or not usable(server):
        raise ConnectError(f"{arguments.host!r} is not a host of {PROGRAM}.", 2)
    made = Login.load(name)
    key = public_key(made, arguments.host)
    with open_websocket(made, server, key) as websocket:
        assert websocket.response is not None  # it is open
        headers = websocket.response.headers
        account = headers.get("Towpath-Account", "")
        if arguments.account not in {"", account}:
            text = f"The job of this server runs as {account}, not as {arguments.account}."
            raise ConnectError(f"{text} Run again: {PROGRAM} config{_named(name)}")
        know_host(made, arguments.host, headers.get("Towpath-Host-Key", ""))
        carry(websocket)
    return 0


@contextlib.contextmanager
def open_websocket(made: Login, server: str, key: str) -> Iterator[ClientConnection]:
    """Open the WebSocket to a server's job. Raises ConnectError."""
    try:
        from websockets.exceptions import InvalidStatus, WebSocketException  # noqa: PLC0415 - others do without
        from websockets.sync.client import connect  # noqa: PLC0415
    except ImportError as error:
        raise ConnectError(f"{sys.executable} has no package websockets. Install it: pip install websockets") from error
    url = f"{made.url}{API}/connect/{quote(made.user, safe='')}/{quote(server, safe='')}".replace("http", "ws", 1)
    try:
        websocket = connect(
            url,
            additional_headers={"Authorization": f"token {made.token}", "Towpath-Client-Key": key},
            compression=None,
            max_size=None,
            open_timeout=OPEN_SECONDS,
            ssl=tls_context(made.ca_file) if url.startswith("wss:") else None,
        )
    except InvalidStatus as error:
        message = (error.response.body or b"").decode("utf-8", "replace").strip()
        raise ConnectError(refused(made, error.response.status_code, message)) from error
    except (OSError, WebSocketException) as error:
        raise ConnectError(f"The hub at {made.url} cannot be reached: {error}") from error
    with websocket:
        yield websocket


def refused(made: Login, status: int, message: str) -> str:
    """Return what a refusal means."""
    if status in {401, 403}:
        return f"{message or 'The hub refuses access.'} Sign in again: {PROGRAM} login {made.url}{_named(made.name)}"
    return message or f"The hub answers with {status}."


def carry(websocket: ClientConnection) -> None:
    """Carry bytes until one side ends; say why the hub has ended it, if it has."""
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 - it is loaded already

    def send() -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            while data := os.read(0, READ_SIZE):
                websocket.send(data)
        websocket.close()

    threading.Thread(target=send, daemon=True).start()
    try:
        for message in websocket:
            data = memoryview(message if isinstance(message, bytes) else message.encode())
            while data:
                data = data[os.write(1, data) :]
    except BrokenPipeError:
        return  # OpenSSH has ended
    except ConnectionClosed as error:
        if error.rcvd is None:
            raise ConnectError("The connection to the hub was lost.") from error
    reason = websocket.protocol.close_reason
    if reason:  # of any code: some of them end the loop without an error
        raise ConnectError(f"The connection was ended: {reason}.")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    shown = argparse.ArgumentParser(prog=PROGRAM, description="SSH into the jobs of a Towpath hub.")
    commands = shown.add_subparsers(dest="command", required=True)
    usual = str(Path.home() / ".ssh" / "config")
    for run, text in ((login, "sign in"), (config, "write ~/.ssh/config"), (logout, "sign out on this machine")):
        one = commands.add_parser(run.__name__, help=text, description=run.__doc__)
        one.set_defaults(run=run)
        one.add_argument("--name", default="towpath", help="beginning of the hosts' names (default: towpath)")
        if run is login:
            one.add_argument("url", metavar="URL", help="the hub's address, such as https://hub.example.org/")
            one.add_argument("--ca-file", default="", help="certificates of the authority that the hub's is from")
            one.add_argument("--no-browser", action="store_true", help="do not open a browser")
        else:
            one.add_argument("--file", default=usual, help="the file of OpenSSH (default: ~/.ssh/config)")
        if run is config:
            one.add_argument("--remove", action="store_true", help="remove the block")
    one = commands.add_parser("proxy", help="for OpenSSH: one connection", description=proxy.__doc__)
    one.set_defaults(run=proxy)
    one.add_argument("host", metavar="HOST")
    one.add_argument("--account", default="", help="the Unix account as which OpenSSH logs in")
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ConnectError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
