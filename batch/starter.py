"""The starter: the one file that runs inside the job.

Owns: the job's private folder, the app's process, the word that the app is ready or has ended.
Refuses to know: schedulers, users' records, routes. It needs nothing but a Python 3.6 or newer, as
    python -I -S starter.py < SPEC      or      python -I -S starter.py SPEC_FILE   (0600)
so that no secret is in an argv. The specification is JSON; `batch.contract.starter_spec` writes it.

What it imports it pays for at every start: `json`, `socket`, `signal` and `subprocess` cost more than the
interpreter itself (10 to 16 ms each where it takes 8), so their C halves are used directly. ssl and socket are
imported only for an https hub and for the way in (a specification with a `passport`), while the app starts.

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
SETUP_FAILURE = "TOWPATH_SETUP_FAILURE"  # why the job's script could not make the app available, in a sentence
REPEAT_JITTER = 0.2
FRONT_PAUSE = 1.0  # seconds before a way in that ended by itself is opened again

GATEWAY_NAME = "gateway.towpath.internal"
HANDSHAKE_TIMEOUT = 10.0
MOST_STRANGERS = 128  # connections that have not shown the gateway's certificate yet
ACCEPT_AT_ONCE = 32
PIECE = 131072  # bytes that are taken from one connection before the next has its turn
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGCHLD", "SIGPIPE", "SIGXFSZ")  # the app finds them at their defaults


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


def quoted(text):
    """Percent-encoded, all but what RFC 3986 leaves as it is."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return "".join(chr(byte) if byte in plain else "%%%02X" % byte for byte in os.fsencode(text))


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


def settle(spec):
    """Fill in what only the node knows: the home of the job's user, and the environment that a job's setup has made.

    `inherit`: the app gets our environment, and what the specification says on top. `~/` at the start of the two
    folders and `{home}` in command and environment stand for the home.
    """
    if spec.get("inherit"):
        own = {name: value for name, value in os.environ.items() if name != SETUP_FAILURE}
        home = own.get("HOME") or "/"
        for name in ("folder", "directory"):
            if spec[name][:2] == "~/":
                spec[name] = os.path.join(home, spec[name][2:])
        spec["command"] = [part.replace("{home}", home) for part in spec["command"]]
        for name, value in spec["environment"].items():
            own[name] = value.replace("{home}", home)
        spec["environment"] = own
    return spec


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


HUB_CONTEXTS = {}


def hub_context(authority):
    """TLS towards the hub: the system's authorities, and the hub's own (PEM text, or `""`). Made once: 20 ms."""
    context = HUB_CONTEXTS.get(authority)
    if context is None:
        import ssl

        context = HUB_CONTEXTS[authority] = ssl.create_default_context()
        if authority:
            context.load_verify_locations(cadata=authority)
    return context


def connect(secure, host, port, authority):
    if secure:
        import socket

        plain = socket.create_connection((host, port), HUB_TIMEOUT)
        try:
            return hub_context(authority).wrap_socket(plain, server_hostname=host)
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


def post(url, token, text, authority):
    """POST the JSON; (status as text, body). Raises OSError or ValueError when there is no answer."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https"):
        raise ValueError("a hub URL is http or https")
    place, _, path = rest.partition("/")
    host, colon, number = place.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = place, "443" if scheme == "https" else "80"
    body = text.encode("utf-8")
    head = (
        "POST /%s HTTP/1.1\r\nHost: %s\r\nAuthorization: token %s\r\nContent-Type: application/json\r\n"
        "Content-Length: %d\r\nUser-Agent: towpath-starter\r\nConnection: close\r\n\r\n"
    )
    sock = connect(scheme == "https", host.strip("[]"), int(number), authority)
    try:
        sock.sendall((head % (path, place, token, len(body))).encode("ascii") + body)
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


# --- the way in: TLS on the node's own address, for the gateway alone ------------------------------------


def every_host(address):
    """Whether each machine has this address for itself: nobody is reached by it from elsewhere."""
    return address in ("127.0.0.1", "127.0.1.1", "::1", "0.0.0.0", "::")


def addresses_of(host):
    """What the name stands for, IPv4 first; no link-local ones (they lead nowhere without an interface)."""
    try:
        # as bytes: a str would import the codec for international names
        found = [entry[4][0] for entry in _socket.getaddrinfo(host.encode("ascii"), None, 0, _socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []
    return sorted((one for one in found if not one.startswith("fe80")), key=lambda one: ":" in one)


def source_towards(url):
    """The address that this machine speaks to the hub from; nothing is sent. `""`: there is no way."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    host = host[: host.index("]")] if "]" in host else host.partition(":")[0]
    for address in addresses_of(host.strip("[]")):
        sock = _socket.socket(_socket.AF_INET6 if ":" in address else _socket.AF_INET, _socket.SOCK_DGRAM)
        try:
            sock.connect((address, 9))
            return sock.getsockname()[0]
        except OSError:
            continue
        finally:
            sock.close()
    return ""


def listen_on(address):
    """A listening socket there, on a port of the kernel's choice. Raises OSError where the address is not ours."""
    sock = _socket.socket(_socket.AF_INET6 if ":" in address else _socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.bind((address, 0))
        sock.listen(1024)
        sock.setblocking(False)
        return sock
    except OSError:
        sock.close()
        raise


def listen_on_node(named, hub_urls):
    """Listen on the address by which others know this node.

    That is the one which was `named`, or what the node's name stands for; where that is an address that every
    machine has (Debian's 127.0.1.1), the one towards the hub.
    """
    if named:
        return listen_on(named)
    known = []
    for name in (os.environ.get("SLURMD_NODENAME"), os.uname().nodename):
        known += addresses_of(name) if name else []
    better = [one for one in known + [source_towards(url) for url in hub_urls] if one and not every_host(one)]
    for address in better + known:
        try:
            return listen_on(address)
        except OSError:
            continue
    return listen_on("127.0.0.1")


def load_pem(load, *texts):
    """Give PEM texts to a call that wants paths. A pipe has one, and nothing is written to a disk."""
    ends = []
    try:
        for text in texts:
            read, write = os.pipe()
            ends.append(read)
            try:
                os.write(write, text.encode("ascii"))  # a few KiB: it fits
            finally:
                os.close(write)
        load(*["/proc/self/fd/%d" % end for end in ends])
    finally:
        for end in ends:
            os.close(end)


def front_context(passport):
    """TLS as the server of this attempt, for clients of the hub's authority."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if hasattr(ssl, "PROTOCOL_TLS_SERVER") else ssl.PROTOCOL_TLS)
    if hasattr(ssl, "TLSVersion"):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    for option in ("OP_NO_TICKET", "OP_NO_RENEGOTIATION", "OP_NO_COMPRESSION", "OP_CIPHER_SERVER_PREFERENCE"):
        context.options |= getattr(ssl, option, 0)
    if hasattr(context, "num_tickets"):
        context.num_tickets = 0  # each connection shows its certificate
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=passport["authority"])
    load_pem(context.load_cert_chain, passport["certificate"], passport["key"])
    return context


class Front:
    """Lets in the gateway and carries bytes between it and the app, both ways, unparsed. One process, one loop.

    TLS runs over memory, so that a read of it never waits for a write, and the app may end its side first.
    """

    def __init__(self, listener, context, target, lifeline):
        import ssl

        self.ssl = ssl
        self.context = context
        self.listener = listener
        self.target = target  # family and address of the app
        self.lifeline = lifeline
        self.epoll = select.epoll()
        self.handlers = {}
        self.strangers = {}  # Passage -> when it must have shown who it is; the oldest is first
        self.waiting = []  # passages whose app had no room for one more connection
        self.resting = 0.0  # no accept before: there were no descriptors left
        self.raw = memoryview(bytearray(PIECE))
        self.plain = memoryview(bytearray(2 * PIECE))

    def run(self):
        """Until the starter's end of the lifeline closes."""
        self.epoll.register(self.lifeline, select.EPOLLIN)
        self.watch_listener()
        lifeline = self.lifeline
        handlers = self.handlers
        while True:
            if self.strangers or self.waiting or self.resting:
                events = self.epoll.poll(0.01 if self.waiting else 0.25)
                self.tick(time.monotonic())
            else:
                events = self.epoll.poll()
            for fd, what in events:
                handler = handlers.get(fd)
                if handler is not None:
                    handler(what)
                elif fd == lifeline:
                    return

    def watch_listener(self):
        fd = self.listener.fileno()
        self.handlers[fd] = self.accept
        self.epoll.register(fd, select.EPOLLIN)

    def tick(self, now):
        """Send away who has not said in time who they are; try again what had to wait."""
        late = [passage for passage, limit in self.strangers.items() if limit <= now]
        for passage in late:
            passage.close()
        waiting, self.waiting = self.waiting, []
        for passage in waiting:
            try:
                passage.reach_app()
            except OSError:
                passage.close()
        if self.resting and now >= self.resting:
            self.resting = 0.0
            self.watch_listener()

    def accept(self, what):
        for _ in range(ACCEPT_AT_ONCE):
            try:
                fd, peer = self.listener._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.resting = time.monotonic() + 0.1
                    del self.handlers[self.listener.fileno()]
                    self.epoll.unregister(self.listener.fileno())
                return
            if len(self.strangers) >= MOST_STRANGERS:
                self.make_room()
            sock = _socket.socket(self.listener.family, self.listener.type, self.listener.proto, fd)
            try:
                passage = Passage(self, sock, peer[0])
            except OSError:
                sock.close()
                continue
            self.strangers[passage] = time.monotonic() + HANDSHAKE_TIMEOUT

    def make_room(self):
        """Send away a stranger: the oldest of those from the address that most of them come from."""
        counts = {}
        for passage in self.strangers:
            counts[passage.peer] = counts.get(passage.peer, 0) + 1
        busiest = max(counts, key=counts.get)
        next(passage for passage in self.strangers if passage.peer == busiest).close()


class Passage:
    """One connection of the gateway's, and the one to the app that belongs to it."""

    __slots__ = (
        "front", "sock", "peer", "tls", "coming", "going", "app", "open", "up", "down", "sock_mask", "app_mask",
        "sock_over", "app_over", "app_deaf", "app_broke",
    )

    def __init__(self, front, sock, peer):
        self.front = front
        self.sock = sock
        self.peer = peer
        self.app = None
        self.open = False
        self.up = b""  # plain bytes that the app has not taken yet
        self.down = b""  # encrypted bytes that the client has not taken yet
        self.sock_mask = self.app_mask = 0
        self.sock_over = self.app_over = False  # nothing more will come from there
        self.app_deaf = False  # it takes nothing more
        self.app_broke = False  # it ended in another way than by its last word
        self.coming = front.ssl.MemoryBIO()
        self.going = front.ssl.MemoryBIO()
        self.tls = front.context.wrap_bio(self.coming, self.going, server_side=True)
        sock.setblocking(False)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)  # a host that is gone without a word
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            sock.setsockopt(_socket.IPPROTO_TCP, getattr(_socket, name), value)
        front.handlers[sock.fileno()] = self.on_sock
        self.watch_sock(select.EPOLLIN)

    # what to be woken for; a socket that we want nothing of is not watched at all, or its end would be told for ever

    def watch_sock(self, mask):
        if mask != self.sock_mask and self.sock is not None:
            change(self.front.epoll, self.sock, self.sock_mask, mask)
            self.sock_mask = mask

    def watch_app(self, mask):
        if mask != self.app_mask and self.app is not None:
            change(self.front.epoll, self.app, self.app_mask, mask)
            self.app_mask = mask

    def on_sock(self, what):
        try:
            if what & select.EPOLLOUT:
                self.send_down()
            if self.sock is None:
                return
            if what & select.EPOLLIN:
                self.take_up()
            elif what & (select.EPOLLHUP | select.EPOLLERR):
                self.close()
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            self.close()

    def on_app(self, what):
        try:
            if not self.open:
                self.reached(self.app.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR))
                return
            if what & select.EPOLLOUT:
                self.send_up()
            if self.app_mask & select.EPOLLIN and what & ~select.EPOLLOUT:  # its end, too, is told by a read
                self.take_down()
        except (OSError, ValueError):
            self.close()

    # from the gateway to the app

    def take_up(self):
        front = self.front
        try:
            size = self.sock.recv_into(front.raw)
        except BlockingIOError:
            return
        if size:
            self.coming.write(front.raw[:size])
        else:
            self.coming.write_eof()
        if self.open:
            self.decrypt()
        else:
            self.shake_hands()

    def shake_hands(self):
        ssl = self.front.ssl
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.send_down()
            return
        except ssl.SSLError:
            self.send_down()  # the alert that says why
            self.close()
            return
        # The authority has also signed other jobs' certificates: only this name is the gateway.
        if ("DNS", GATEWAY_NAME) not in self.tls.getpeercert().get("subjectAltName", ()):
            self.close()
            return
        self.front.strangers.pop(self, None)
        self.send_down()
        self.reach_app()

    def reach_app(self):
        """Connect to the app; what the gateway says meanwhile waits in the kernel."""
        if self.sock is None:
            return
        self.watch_sock(0)
        if self.app is None:
            family, address = self.front.target
            self.app = _socket.socket(family, _socket.SOCK_STREAM)
            self.app.setblocking(False)
        error = self.app.connect_ex(self.front.target[1])
        if error == errno.EAGAIN:  # its queue of connections is full (unix(7))
            self.front.waiting.append(self)
        elif error == errno.EINPROGRESS:
            self.front.handlers[self.app.fileno()] = self.on_app
            self.watch_app(select.EPOLLOUT)
        else:
            self.reached(error)

    def reached(self, error):
        if error:
            self.close()
            return
        if self.app.family != _socket.AF_UNIX:
            self.app.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self.open = True
        self.front.handlers[self.app.fileno()] = self.on_app
        self.watch_app(select.EPOLLIN)
        self.watch_sock(select.EPOLLIN)
        self.decrypt()

    def decrypt(self):
        """Give the app what has come whole; a slow app stops the reading."""
        ssl = self.front.ssl
        plain = self.front.plain
        tls = self.tls
        more = True
        while more and not self.up and not self.sock_over:
            size = 0
            try:
                while more and size < PIECE:
                    got = tls.read(PIECE, plain[size:])
                    if not got:
                        self.sock_over = True
                        break
                    size += got
                    more = self.coming.pending or tls.pending()
            except ssl.SSLWantReadError:
                more = False
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                self.sock_over = True
            if size:
                self.to_app(plain[:size])
            if self.going.pending:  # TLS had something to say of its own
                self.send_down()
        if self.sock_over:
            self.watch_sock(self.sock_mask & ~select.EPOLLIN)
            if not self.up:
                self.end_up()

    def to_app(self, data):
        if self.app_deaf:
            return
        try:
            sent = self.app.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.app_deaf = True  # it may have answered before it closed: that still goes down
            return
        if sent < len(data):
            self.up = bytes(data[sent:])
            self.watch_sock(self.sock_mask & ~select.EPOLLIN)
            self.watch_app(self.app_mask | select.EPOLLOUT)

    def send_up(self):
        """The app takes bytes again."""
        try:
            sent = self.app.send(self.up)
        except BlockingIOError:
            return
        except OSError:
            self.app_deaf = True
            sent = len(self.up)
        self.up = self.up[sent:]
        if self.up:
            return
        self.watch_app(self.app_mask & ~select.EPOLLOUT)
        if self.sock_over:
            self.end_up()
        else:
            self.watch_sock(self.sock_mask | select.EPOLLIN)
            self.decrypt()

    def end_up(self):
        """The gateway said its last word: so do we to the app, which may still answer."""
        if self.sock is None:
            return
        if self.app_over:
            if not self.down:
                self.close()
            return
        try:
            self.app.shutdown(_socket.SHUT_WR)
        except OSError:
            pass

    # from the app to the gateway

    def take_down(self):
        plain = self.front.plain
        try:
            size = self.app.recv_into(plain, PIECE)
        except BlockingIOError:
            return
        except OSError:
            self.app_broke = True
            size = 0
        if not size:
            self.end_down()
            return
        tls = self.tls
        at = tls.write(plain[:size])
        while at < size:  # a record at a time
            at += tls.write(plain[at:size])
        self.send_down()

    def send_down(self):
        """Send what is encrypted; a slow client stops the reading from the app."""
        data = self.down or self.going.read()
        while data:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self.down = data[sent:]
                self.watch_sock(self.sock_mask | select.EPOLLOUT)
                if self.open:
                    self.watch_app(self.app_mask & ~select.EPOLLIN)
                return
            data = self.going.read() if self.going.pending else b""
        if self.down:
            self.down = b""
            self.watch_sock(self.sock_mask & ~select.EPOLLOUT)
            if self.open and not self.app_over:
                self.watch_app(self.app_mask | select.EPOLLIN)
        if self.app_over:
            self.finish()

    def end_down(self):
        """The app said its last word: so do we to the gateway (close_notify). Of a broken one it hears no such word."""
        self.app_over = True
        self.watch_app(self.app_mask & ~select.EPOLLIN)
        if not self.app_broke:
            try:
                self.tls.unwrap()
            except OSError:  # the gateway has not answered it yet
                pass
        self.send_down()

    def finish(self):
        """All is sent. The gateway may still have something for the app."""
        if self.sock_over or self.app_broke:
            self.close()
            return
        try:
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            self.close()

    def close(self):
        """Both sides, at once."""
        front = self.front
        front.strangers.pop(self, None)
        for sock in (self.sock, self.app):
            if sock is not None:
                front.handlers.pop(sock.fileno(), None)
                sock.close()  # which takes it out of the epoll, too
        self.sock = self.app = None
        self.sock_over = self.app_over = True


def run_front(listener, passport, endpoint, lifeline, tell):
    """Carry bytes until the lifeline's other end closes. `tell` is closed when connections would be let in."""
    context = front_context(passport)
    if endpoint["kind"] == "unix":
        target = (_socket.AF_UNIX, endpoint["path"])
    else:
        target = (_socket.AF_INET, (endpoint["host"], endpoint["port"]))
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # two for each connection
    except (ImportError, ValueError, OSError):
        pass
    front = Front(listener, context, target, lifeline)
    os.close(tell)
    front.run()


def change(epoll, sock, before, after):
    if not before:
        epoll.register(sock.fileno(), after)
    elif after:
        epoll.modify(sock.fileno(), after)
    else:
        epoll.unregister(sock.fileno())


# --- the app ---------------------------------------------------------------------------------------------


def jittered(seconds):
    """About so many, so that a thousand jobs do not knock at the same moment."""
    return seconds * (1 + REPEAT_JITTER * (os.urandom(1)[0] / 127.5 - 1))


class Starter:
    """One app, from the folder to the last word."""

    def __init__(self, spec):
        self.spec = spec
        self.began = time.time()
        self.folder = spec["folder"]
        self.app = 0  # the app's pid, which is also its session and its group
        self.exit_code = None
        self.log = -1
        self.short = ""  # a folder for the socket alone, where the job's own has too long a path
        self.endpoint = None
        self.reached_at = None  # where the gateway finds it, where that is not the app's own socket
        self.listener = None
        self.front = 0  # the pid of the way in
        self.front_again = 0.0
        self.lifeline = -1
        self.messenger = 0
        self.warned = False
        self.hub_said_stop = False
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
        try:
            return self.carry_out()
        finally:
            self.tidy_up()

    def tidy_up(self):
        """The socket's folder of its own goes with the job, empty as it is but for the socket."""
        if self.short:
            try:
                os.unlink(os.path.join(self.short, "app.sock"))
            except OSError:
                pass
            try:
                os.rmdir(self.short)
            except OSError:
                pass

    def carry_out(self):
        _signal.set_wakeup_fd(self.wake_write)
        for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
            _signal.signal(number, self.on_signal)
        _signal.signal(_signal.SIGUSR1, self.on_warning)
        _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
        try:
            make_private(self.folder)
            self.note_job()
            self.open_log()
            if os.environ.get(SETUP_FAILURE):
                raise Failure("setup", os.environ[SETUP_FAILURE])
            self.come_up()
            if self.spec.get("passport") and not self.reached_at:
                self.open_way_in()
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
        self.close_way_in()
        return self.exit_code or 0

    def come_up(self):
        """Start the app and wait until it answers. A port that somebody else took first is given up for another."""
        for attempt in range(PORT_TRIES):
            command = self.fill_in()
            self.launch(command)
            if self.spec.get("repeat") and not self.messenger:
                self.send_messenger()
            if self.spec.get("passport"):
                hub_context(self.authority())  # loads ssl, while the app loads what it needs
                if self.endpoint["kind"] == "unix":  # a port may yet turn out to be another's
                    self.open_way_in()
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
            self.short = "/tmp/towpath-%d-%s" % (os.geteuid(), self.spec["attempt"])
            make_private(self.short)
            path = os.path.join(self.short, "app.sock")
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
        """Report ready until it is heard (and again, where that is asked for) and keep the log within its size, until
        the app ends."""
        word = {"endpoint": self.reached_at or self.endpoint}
        word.update(self.end_time())
        ready = dumps(self.report("ready", word))
        self.write_word(ready)
        to_say = [ready]
        repeat = self.spec.get("repeat") or 0
        next_try = 0.0
        next_look = time.monotonic() + 2
        while self.reap() is None:
            now = time.monotonic()
            if self.warned:
                to_say.append(self.warn())
                next_try = 0.0
            self.look_after_children(now)
            if to_say and now >= next_try:
                if self.tell(to_say[0]):
                    del to_say[0]
                    self.retry = FIRST_RETRY
                    next_try = 0.0 if to_say else time.monotonic() + jittered(repeat)
                else:
                    next_try = time.monotonic() + self.back_off()
                continue
            if repeat and now >= next_try:
                to_say.append(ready)
                continue
            if now >= next_look:
                next_look = now + (2 if self.cap_log() else 15)
            limits = [next_look, next_try] if to_say or repeat else [next_look]
            self.sleep(max(0.0, min(limits + [self.front_again] if self.front_again else limits) - now))
        self.sweep()

    def last_word(self, kind, code, message):
        """Write the end down, and report it for as long as the job may be held for that."""
        more = {"exit_code": self.exit_code, "log_tail": self.tail()}
        if self.stop_signal and not self.hub_said_stop:
            more["told"] = True  # by the scheduler: it may mean to run the job again, and knows why
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
        restart = os.environ.get("SLURM_RESTART_COUNT", "")
        if restart.isdigit() and restart != "0":
            word["restart"] = int(restart)
        word.update(more)
        return word

    def end_time(self):
        """When the scheduler will end the job: by its own word (newer Slurm tells the job), or by what was asked for."""
        told = os.environ.get("SLURM_JOB_END_TIME", "")
        if told.isdigit():  # of a job without a limit Slurm says a year from its start
            return {"ends": int(told)} if int(told) < self.began + 364 * 86400 else {}
        walltime = self.spec.get("walltime") or 0
        return {"ends": int(self.began + walltime)} if walltime else {}

    def write_word(self, report):
        try:
            write_atomically(os.path.join(self.folder, "report.json"), report)
        except OSError as error:  # the hub is told all the same
            self.note("The report cannot be written: %s" % error)

    def tell(self, report):
        """One round over the hub's addresses; whether it was heard, or need not be said any more."""
        for url in self.spec["hub_urls"]:
            if url[:8] != "https://" and not self.spec.get("plain_reports", True):
                continue  # the token would be for everybody on the way to read
            try:
                status, body = post(url, self.spec["report_token"], report, self.authority())
            except (OSError, ValueError):
                continue
            if status[:1] == "2":
                return True
            if status in STATUS_STOP and b'"stop":true' in b"".join(body.split()):
                self.hub_said_stop = True
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

    def authority(self):
        return (self.spec.get("passport") or {}).get("authority", "")

    def send_messenger(self):
        """Say that the job runs, once and in a process of its own: a hub that is slow must not delay the app."""
        word = {"node": os.environ.get("SLURMD_NODENAME") or os.uname().nodename,
                "native_id": os.environ.get("SLURM_JOB_ID", "")}
        word.update(self.end_time())
        report = dumps(self.report("running", word))
        pid = os.fork()
        if pid == 0:
            try:
                self.leave_signals()
                self.app = 0  # which is not ours to end, whatever the hub answers
                self.tell(report)
            finally:
                os._exit(0)
        self.messenger = pid

    def on_warning(self, number, frame):
        self.warned = True

    def warn(self):
        """The scheduler says that the end of the walltime is near: the log, the app where it wants to know, the hub."""
        self.warned = False
        end = os.environ.get("SLURM_JOB_END_TIME", "")
        seconds = int(end) - int(time.time()) if end.isdigit() else self.spec.get("warning_seconds") or 0
        seconds = max(0, seconds)
        self.note("The job's time is over in about %d seconds." % seconds)
        number = getattr(_signal, "SIG" + (self.spec.get("warning_signal") or ""), None)
        if number:
            self.signal_app(number)
        return dumps(self.report("warning", {"seconds": seconds}))

    # --- the way in

    def open_way_in(self):
        """Listen with TLS on the node's own address; the socket is kept here, so that its port stays ours."""
        try:
            self.listener = listen_on_node(self.spec.get("address"), self.spec["hub_urls"])
        except OSError as error:
            where = self.spec.get("address") or "of its own"
            raise Failure("address", "The node has no address %s to listen on: %s." % (where, error))
        self.start_front()
        host, port = self.listener.getsockname()[:2]
        self.reached_at = {"kind": "tls", "host": host, "port": port}

    def start_front(self):
        """Fork the process that carries the bytes. It ends when our end of its lifeline closes, however we end."""
        held, self.lifeline = os.pipe()
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self.leave_signals()
                os.close(self.lifeline)
                os.close(told)
                run_front(self.listener, self.spec["passport"], self.endpoint, held, tell)
            except BaseException as error:
                os.write(tell, str(error).encode("utf-8", "replace") or b"?")
                self.note("The way in has ended: %s" % error)
            finally:
                os._exit(1)
        os.close(held)
        os.close(tell)
        why = read_all(told)
        os.close(told)
        self.front = pid
        if why:
            raise Failure("certificate", "The way in cannot be opened: %s." % why.decode("utf-8", "replace"))

    def leave_signals(self):
        """In a child of ours that is not the app: what the scheduler says to the whole job is not for it."""
        _signal.set_wakeup_fd(-1)
        os.close(self.wake_read)
        os.close(self.wake_write)
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"):
            _signal.signal(getattr(_signal, name), _signal.SIG_IGN)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)

    def look_after_children(self, now):
        """Reap them; a way in that ended is opened again, on the same port."""
        for name in ("messenger", "front"):
            pid = getattr(self, name)
            if pid > 0 and os.waitpid(pid, os.WNOHANG)[0]:
                setattr(self, name, -1)
                if name == "front":
                    os.close(self.lifeline)
                    self.front_again = now + FRONT_PAUSE
        if self.front_again and now >= self.front_again:
            self.front_again = 0.0
            try:
                self.start_front()
            except (Failure, OSError) as failure:
                self.note(str(failure))
                self.front_again = now + LONGEST_RETRY

    def close_way_in(self):
        if self.front > 0:
            os.close(self.lifeline)
            os.waitpid(self.front, 0)

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
            place = "http+unix://" + quoted(self.endpoint["path"])
        else:
            environment["TOWPATH_PORT"] = str(self.endpoint["port"])
            place = "http://127.0.0.1:%d" % self.endpoint["port"]
        if "JUPYTERHUB_SERVICE_URL" in environment:  # where an app of JupyterHub's is to listen
            environment["JUPYTERHUB_SERVICE_URL"] = place + spec["base_path"]
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
        spec = settle(read_spec(argv))
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
