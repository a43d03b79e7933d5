"""The starter: the one file that runs inside the job.

Owns: the job's private folder, the app's process, the word that the app is ready or has ended.
Refuses to know: schedulers, users' records, routes. It needs nothing but a Python 3.6 or newer, as
    python -I -S starter.py < SPEC      or      python -I -S starter.py SPEC_FILE   (0600)
so that no secret is in an argv. The specification is JSON; `batch.contract.starter_spec` writes it.

What it imports it pays for at every start: `json`, `socket`, `signal` and `subprocess` cost more than the
interpreter itself (10 to 16 ms each where it takes 8), so their C halves are used directly. ssl is
imported only for an https hub.

Files in the folder: `job.json` (who runs it), `report.json` (its last word), `app.log`, `app.sock`.
The protocol of the reports is in docs/architecture.md.
"""

import _signal
import _socket
import errno
import os
import select
import stat
import sys
import time

FIRST_PROBE = 0.01  # seconds; an app that is quick is seen quickly
LONGEST_PROBE = 0.1
PROBE_TIMEOUT = 5.0
HUB_TIMEOUT = 10.0
FIRST_RETRY = 0.25
LONGEST_RETRY = 30.0
TAIL = 4096  # bytes of the log that a report carries
PORT_TRIES = 3
SUN_PATH = 100  # of 108 bytes: some apps append to the name
STATUS_STOP = ("404", "409")
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD", "SIGPIPE", "SIGXFSZ")  # the app finds them at their defaults


class Failure(Exception):
    """The app was not started, or did not come up. `code` is for programs, the text for the user."""

    def __init__(self, code, message):
        Exception.__init__(self, message)
        self.code = code


# --- JSON, without the modules that compile regular expressions ------------------------------------------


def loads(text):
    try:
        from _json import make_scanner

        class Context:
            strict = True
            object_hook = None
            object_pairs_hook = None
            parse_float = float
            parse_int = int
            parse_constant = float
            memo = {}

        return make_scanner(Context)(text.strip(), 0)[0]
    except (ImportError, AttributeError, TypeError):  # another Python than CPython
        import json

        return json.loads(text)


def dumps(value):
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        try:
            from _json import encode_basestring_ascii
        except ImportError:
            from json.encoder import encode_basestring_ascii
        return encode_basestring_ascii(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(dumps(str(k)) + ": " + dumps(v) for k, v in value.items()) + "}"
    return "[" + ", ".join(dumps(item) for item in value) + "]"


# --- files -----------------------------------------------------------------------------------------------


def read_all(fd):
    parts = []
    while True:
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_spec(argv):
    """The specification, from stdin or from a file that is ours alone."""
    if len(argv) < 2:
        return loads(read_all(0).decode("utf-8"))
    fd = os.open(argv[1], os.O_RDONLY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(fd)
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise Failure("spec", "The job's specification is not private to the user.")
        return loads(read_all(fd).decode("utf-8"))
    finally:
        os.close(fd)


def make_private(folder):
    """Make the folder 0700, or check that the one there is a real folder of ours that nobody else may enter."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(os.path.dirname(folder), 0o700)
        os.mkdir(folder, 0o700)
    facts = os.lstat(folder)
    if not stat.S_ISDIR(facts.st_mode):
        raise Failure("folder", "The job's folder %s is not a folder." % folder)
    if facts.st_uid != os.geteuid():
        raise Failure("folder", "The job's folder %s belongs to somebody else." % folder)
    if facts.st_mode & 0o077:
        os.chmod(folder, 0o700)
        if os.lstat(folder).st_mode & 0o077:
            raise Failure("folder", "The job's folder %s cannot be made private." % folder)
    above = os.lstat(os.path.dirname(folder) or "/")
    if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
        raise Failure("folder", "The folder above %s can be written by everybody." % folder)


def write_atomically(path, text):
    """Replace the file in one step: a reader sees the old word or the new one, never half."""
    temporary = "%s.%d" % (path, os.getpid())
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    fd = os.open(temporary, flags, 0o600)
    try:
        os.write(fd, text.encode("utf-8"))
    finally:
        os.close(fd)
    os.rename(temporary, path)


def start_time(pid):
    """When the process began, in clock ticks since boot (proc(5), field 22): a pid alone may be another's."""
    try:
        fd = os.open("/proc/%d/stat" % pid, os.O_RDONLY)
    except OSError:
        return 0
    try:
        return int(read_all(fd).rsplit(b")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
    finally:
        os.close(fd)


def boot_id():
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY)
    except OSError:
        return ""
    try:
        return read_all(fd).decode("ascii").strip()
    finally:
        os.close(fd)


# --- the network -----------------------------------------------------------------------------------------


def free_port():
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
    finally:
        sock.close()


def listener_is_ours(port):
    """Whether the loopback port is listened to by our own user: on a shared node another may have been faster."""
    suffix = ":%04X" % port
    owners = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            fd = os.open(table, os.O_RDONLY)
        except OSError:
            continue
        try:
            lines = read_all(fd).decode("ascii", "replace").splitlines()[1:]
        finally:
            os.close(fd)
        for line in lines:
            fields = line.split()
            if fields[1].endswith(suffix) and fields[3] == "0A":
                owners.add(int(fields[7]))
    return not owners or owners == {os.geteuid()}


def answers(endpoint, base_path):
    """Whether an HTTP server answers there, with whatever status."""
    if endpoint["kind"] == "unix":
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        address = endpoint["path"]
    else:
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        address = (endpoint["host"], endpoint["port"])
    try:
        sock.settimeout(PROBE_TIMEOUT)
        sock.connect(address)
        head = "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: towpath-starter\r\nConnection: close\r\n\r\n"
        sock.sendall((head % base_path).encode("ascii"))
        got = b""
        while len(got) < 5:
            part = sock.recv(1024)
            if not part:
                return False
            got += part
        return got[:5] == b"HTTP/"
    except OSError:
        return False
    finally:
        sock.close()


def connect(secure, host, port, ca_file):
    if secure:
        import socket
        import ssl

        plain = socket.create_connection((host, port), HUB_TIMEOUT)
        try:
            return ssl.create_default_context(cafile=ca_file or None).wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
    last = OSError(errno.EHOSTUNREACH, "no address")
    try:
        name = host.encode("ascii")  # bytes: a str would import the codec for international names, 10 ms
    except UnicodeError:
        name = host
    for family, kind, proto, _, address in _socket.getaddrinfo(name, port, 0, _socket.SOCK_STREAM):
        sock = _socket.socket(family, kind, proto)
        try:
            sock.settimeout(HUB_TIMEOUT)
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            last = error
    raise last


def post(url, token, text, ca_file):
    """POST the JSON; (status as text, body). Raises OSError or ValueError when there is no answer."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https"):
        raise ValueError("a hub URL is http or https")
    authority, _, path = rest.partition("/")
    host, colon, number = authority.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = authority, "443" if scheme == "https" else "80"
    body = text.encode("utf-8")
    head = (
        "POST /%s HTTP/1.1\r\nHost: %s\r\nAuthorization: token %s\r\nContent-Type: application/json\r\n"
        "Content-Length: %d\r\nUser-Agent: towpath-starter\r\nConnection: close\r\n\r\n"
    )
    sock = connect(scheme == "https", host.strip("[]"), int(number), ca_file)
    try:
        sock.sendall((head % (path, authority, token, len(body))).encode("ascii") + body)
        got = b""
        while len(got) < 65536:
            part = sock.recv(16384)
            if not part:
                break
            got += part
    finally:
        sock.close()
    head, _, body = got.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or words[0][:5] != b"HTTP/":
        raise ValueError("that was no HTTP answer")
    return words[1].decode("ascii", "replace"), body


# --- the app ---------------------------------------------------------------------------------------------


class Starter:
    """One app, from the folder to the last word."""

    def __init__(self, spec):
        self.spec = spec
        self.folder = spec["folder"]
        self.app = 0  # the app's pid, which is also its session and its group
        self.exit_code = None
        self.log = -1
        self.endpoint = None
        self.stop_signal = 0
        self.stop_since = None
        self.killed = False
        self.retry = FIRST_RETRY
        self.log_size = 0
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)

    # --- the sequence

    def run(self):
        """Start, report, wait, report the end; the exit code of the job."""
        _signal.set_wakeup_fd(self.wake_write)
        for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
            _signal.signal(number, self.on_signal)
        _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
        try:
            make_private(self.folder)
            self.note_job()
            self.open_log()
            self.come_up()
        except Failure as failure:
            self.end_app()
            if self.stop_signal:
                self.last_word("ended", "", "The job was cancelled before the app answered.")
            else:
                self.last_word("failed", failure.code, str(failure))
            return self.exit_code or 1
        except OSError as error:
            self.end_app()
            self.last_word("failed", "folder", "The job's folder cannot be used: %s." % error)
            return 1
        self.stand_by()
        self.last_word("ended", "", "")
        return self.exit_code or 0

    def come_up(self):
        """Start the app and wait until it answers. A port that somebody else took first is given up for another."""
        for attempt in range(PORT_TRIES):
            command = self.fill_in()
            self.launch(command)
            if self.wait_until_it_answers():
                return
            self.end_app()
            self.app = 0
            self.exit_code = None
        raise Failure("port", "Other programs took each of the ports that were picked for the app.")

    def fill_in(self):
        """The app's command with its socket or its port, and the endpoint that follows from it."""
        command = self.spec["command"]
        whole = "\0".join(command)
        path = ""
        port = 0
        if "{socket}" in whole:
            path = self.socket_path()
            self.endpoint = {"kind": "unix", "path": path}
        else:
            port = free_port()
            self.endpoint = {"kind": "tcp", "host": "127.0.0.1", "port": port}
        return [part.replace("{socket}", path).replace("{port}", str(port)) for part in command]

    def socket_path(self):
        """A path in the folder, or in a private one of its own where that is too long for a socket (unix(7))."""
        path = os.path.join(self.folder, "app.sock")
        if len(os.fsencode(path)) > SUN_PATH:
            short = "/tmp/towpath-%d-%s" % (os.geteuid(), self.spec["attempt"])
            make_private(short)
            path = os.path.join(short, "app.sock")
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        return path

    def wait_until_it_answers(self):
        """True: it answers. False: the port was lost. Raises Failure when it ends, is too slow, or is to stop."""
        limit = time.monotonic() + self.spec["start_window"]
        pause = FIRST_PROBE
        while True:
            self.sleep(pause)
            if self.exit_code is not None and not self.stop_signal:
                if self.endpoint["kind"] == "tcp" and self.taken():
                    return False
                raise Failure("exited", "The app ended with exit code %d before it answered." % self.exit_code)
            if self.stop_signal:
                raise Failure("stopped", "The job was cancelled before the app answered.")
            if answers(self.endpoint, self.spec["base_path"]) and self.reap() is None:
                if self.endpoint["kind"] == "tcp" and not listener_is_ours(self.endpoint["port"]):
                    return False
                if self.endpoint["kind"] == "unix":
                    os.chmod(self.endpoint["path"], 0o600)
                return True
            if time.monotonic() > limit:
                raise Failure("no-answer", "The app did not answer within %d seconds." % self.spec["start_window"])
            pause = min(pause * 1.5, LONGEST_PROBE)

    def taken(self):
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            sock.bind(("127.0.0.1", self.endpoint["port"]))
            return False
        except OSError:
            return True
        finally:
            sock.close()

    def stand_by(self):
        """Report ready until it is heard, keep the log within its size, until the app ends."""
        report = dumps(self.report("ready", {"endpoint": self.endpoint}))
        self.write_word(report)
        heard = False
        next_try = 0.0
        next_look = time.monotonic() + 2
        while self.reap() is None:
            now = time.monotonic()
            if not heard and now >= next_try:
                heard = self.tell(report)
                next_try = time.monotonic() + self.back_off()
                continue
            if now >= next_look:
                next_look = now + (2 if self.cap_log() else 15)
            self.sleep(max(0.0, (next_look if heard else min(next_try, next_look)) - now))
        self.sweep()

    def last_word(self, kind, code, message):
        """Write the end down, and report it for as long as the job may be held for that."""
        more = {"exit_code": self.exit_code, "log_tail": self.tail()}
        if code:
            more["code"] = code
        if message:
            message = message[:900]
            more["message"] = message
        report = dumps(self.report(kind, more))
        self.write_word(report)
        self.retry = FIRST_RETRY
        limit = time.monotonic() + self.spec.get("end_patience", 20)
        while not self.tell(report):
            pause = self.back_off()
            if time.monotonic() + pause > limit:
                return
            self.sleep(pause)

    # --- reports

    def report(self, kind, more):
        spec = self.spec
        word = {"user": spec["user"], "server": spec["server"], "attempt": spec["attempt"], "kind": kind,
                "time": time.time()}
        word.update(more)
        return word

    def write_word(self, report):
        try:
            write_atomically(os.path.join(self.folder, "report.json"), report)
        except OSError as error:  # the hub is told all the same
            self.note("The report cannot be written: %s" % error)

    def tell(self, report):
        """One round over the hub's addresses; whether it was heard, or need not be said any more."""
        for url in self.spec["hub_urls"]:
            try:
                status, body = post(url, self.spec["report_token"], report, self.spec.get("ca_file"))
            except (OSError, ValueError):
                continue
            if status[:1] == "2":
                return True
            if status in STATUS_STOP and b'"stop":true' in b"".join(body.split()):
                self.begin_stop(_signal.SIGTERM)
                return True
            if status == "409":
                return True
        return False

    def back_off(self):
        """The next pause: doubled, with jitter, so that a thousand jobs do not knock at the same moment."""
        pause = self.retry * (0.5 + os.urandom(1)[0] / 255.0)
        self.retry = min(self.retry * 2, LONGEST_RETRY)
        return pause

    # --- processes and signals

    def note_job(self):
        pid = os.getpid()
        word = {"attempt": self.spec["attempt"], "pid": pid, "start": start_time(pid), "boot": boot_id(),
                "app": self.app, "app_start": start_time(self.app) if self.app else 0, "time": time.time()}
        write_atomically(os.path.join(self.folder, "job.json"), dumps(word))

    def launch(self, command):
        """Fork the app into a session of its own, with its own environment and nothing else of ours."""
        spec = self.spec
        environment = dict(spec["environment"])
        environment["TOWPATH_ATTEMPT"] = spec["attempt"]
        if self.endpoint["kind"] == "unix":
            environment["TOWPATH_SOCKET"] = self.endpoint["path"]
        else:
            environment["TOWPATH_PORT"] = str(self.endpoint["port"])
        if self.stop_signal:
            raise Failure("stopped", "The job was cancelled before the app was started.")
        why = self.execute(command, environment)
        if why:
            self.end_app()
            raise Failure("command", "The app cannot be started: %s." % why)
        self.note_job()
        if self.stop_signal:
            self.signal_app(self.stop_signal)

    def execute(self, command, environment):
        """Fork and exec the app; why it could not be executed, if so."""
        null = os.open(os.devnull, os.O_RDONLY)
        told, tell = os.pipe()  # closed by the exec; else it says why there was none
        pid = os.fork()
        if pid == 0:
            try:
                _signal.set_wakeup_fd(-1)
                for name in SIGNALS:
                    _signal.signal(getattr(_signal, name), _signal.SIG_DFL)
                os.setsid()
                os.dup2(null, 0)
                os.dup2(self.log, 1)
                os.dup2(self.log, 2)
                os.chdir(self.spec.get("directory") or "/")
                os.execvpe(command[0], command, environment)
            except BaseException as error:
                os.write(tell, ("%s: %s" % (command[0], getattr(error, "strerror", None) or error)).encode("utf-8", "replace"))
            finally:
                os._exit(127)
        self.app = pid
        os.close(null)
        os.close(tell)
        why = read_all(told).decode("utf-8", "replace")
        os.close(told)
        return why

    def on_signal(self, number, frame):
        self.begin_stop(_signal.SIGTERM if number == _signal.SIGHUP else number)

    def begin_stop(self, number):
        self.stop_signal = number
        if self.stop_since is None:
            self.stop_since = time.monotonic()
        self.signal_app(number)

    def signal_app(self, number):
        if self.app and self.exit_code is None:
            try:
                os.killpg(self.app, number)
            except OSError:
                pass

    def reap(self):
        """The app's exit code, once it has ended (128 + signal where one ended it); kills after the grace."""
        if self.exit_code is None and self.app:
            pid, status = os.waitpid(self.app, os.WNOHANG)
            if pid:
                self.exit_code = (
                    128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                )
            elif self.stop_since is not None and not self.killed:
                waited = time.monotonic() - self.stop_since
                if waited > self.spec["grace"]:
                    self.killed = True
                    self.signal_app(_signal.SIGKILL)
                elif self.stop_signal == _signal.SIGINT and waited > self.spec["grace"] / 2:
                    self.stop_signal = _signal.SIGTERM
                    self.signal_app(_signal.SIGTERM)
        return self.exit_code

    def end_app(self):
        """Make an end of an app that did not come up: asked first, then killed after the grace."""
        if not self.app:
            return
        if self.reap() is None:
            if self.stop_since is None:
                self.stop_since = time.monotonic()
                self.signal_app(_signal.SIGTERM)
            while self.reap() is None:
                self.sleep(0.1)
        self.sweep()
        if not self.stop_signal:
            self.stop_since = None
            self.killed = False

    def sweep(self):
        """Kill what is left in the app's own group after its end."""
        try:
            os.killpg(self.app, _signal.SIGKILL)
        except OSError:
            pass

    def sleep(self, seconds):
        """Wait for a signal or the time; a signal is noted and the app reaped."""
        if self.stop_since is not None and not self.killed:
            seconds = min(seconds, 0.2)
        try:
            select.select([self.wake_read], [], [], seconds)
            os.read(self.wake_read, 512)
        except OSError:
            pass
        self.reap()

    # --- the log

    def open_log(self):
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        self.log = os.open(os.path.join(self.folder, "app.log"), flags, 0o600)

    def note(self, text):
        if self.log >= 0:
            os.write(self.log, ("[towpath] " + text + "\n").encode("utf-8", "replace"))

    def cap_log(self):
        """Cut a log that has grown over its cap down to its last quarter; whether it grows fast.

        The app writes to the file itself (in append mode), so that it outlives the starter; a few lines
        that are written in the middle of the cut are lost.
        """
        cap = self.spec.get("log_cap", 16777216)
        size = os.fstat(self.log).st_size
        fast = size - self.log_size > 1048576
        if size > cap:
            keep = os.pread(self.log, cap // 4, size - cap // 4)
            os.ftruncate(self.log, 0)
            self.note("The log was longer than %d bytes: what is above is gone." % cap)
            os.write(self.log, keep)
            size = os.fstat(self.log).st_size
        self.log_size = size
        return fast

    def tail(self):
        """The last bytes of the log, as text, with every secret that this job knows taken out."""
        if self.log < 0:
            return ""
        secrets = [self.spec["report_token"]] + self.spec.get("secrets", [])
        secrets = [secret.encode("utf-8") for secret in secrets if secret]
        room = TAIL + max([len(secret) for secret in secrets] + [0])
        size = os.fstat(self.log).st_size
        text = os.pread(self.log, room, max(0, size - room))
        for secret in secrets:
            text = text.replace(secret, b"[secret]")
        return text[-TAIL:].decode("utf-8", "replace")


def main(argv, kind=Starter):
    try:
        spec = read_spec(argv)
    except Failure as failure:
        sys.stderr.write("%s\n" % failure)
        return 2
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if null > 2:
        os.close(null)
    if spec.get("lock_fd"):
        os.set_inheritable(spec["lock_fd"], False)  # held for as long as this process lives, not the app
    return kind(spec).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
