"""HTTP to the hub: one POST per report, over http or https."""

import _socket
import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from batch.starter.proxy_head import Upstream

TIMEOUT = 10.0
ANSWER_BYTES = 65536
HEAD = (
    "POST /%s HTTP/1.1\r\nHost: %s\r\nAuthorization: token %s\r\nContent-Type: application/json\r\n"
    "Content-Length: %d\r\nUser-Agent: towpath-starter\r\nConnection: close\r\n\r\n"
)
_contexts: "dict[str, ssl.SSLContext]" = {}


def tls_context(authority: str) -> "ssl.SSLContext":
    """Return the TLS context for the hub: the system's authorities and the hub's own (PEM text, or `""`).

    Costs 20 ms.
    """
    context = _contexts.get(authority)
    if context is None:
        import ssl

        context = _contexts[authority] = ssl.create_default_context()
        if authority:
            context.load_verify_locations(cadata=authority)
    return context


def connect(secure: bool, host: str, port: int, authority: str, proxy: "Upstream | None" = None) -> "_socket.socket":
    """Return a connection to the hub, with a time-out. `proxy`: only with https. Raises OSError and ValueError."""
    if secure:
        import socket

        plain = socket.create_connection((proxy.host, proxy.port) if proxy else (host, port), TIMEOUT)
        try:
            if proxy:
                from batch.starter.proxy_head import open_tunnel

                open_tunnel(plain, proxy, host, port)
            return tls_context(authority).wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
    last = OSError(errno.EHOSTUNREACH, "no address")
    for family, kind, proto, _, address in _socket.getaddrinfo(ascii_name(host), port, 0, _socket.SOCK_STREAM):
        sock = _socket.socket(family, kind, proto)
        try:
            sock.settimeout(TIMEOUT)
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            last = error
    raise last


def ascii_name(host: str) -> "bytes | str":
    """Return the host's name for getaddrinfo as bytes. A str would import the codec for international names: 10 ms."""
    try:
        return host.encode("ascii")
    except UnicodeError:
        return host


def split_url(url: str) -> "tuple[bool, str, int, str, str]":
    """Return whether it is https, the host, the port, both as in the URL, and the path. Raises ValueError."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https"):
        raise ValueError("a hub URL is http or https")
    place, _, path = rest.partition("/")
    host, colon, number = place.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = place, "443" if scheme == "https" else "80"
    return scheme == "https", host.strip("[]"), int(number), place, path


def post(url: str, token: str, text: str, authority: str, proxy: "Upstream | None" = None) -> "tuple[str, bytes]":
    """POST the JSON text; return (status as text, body). Raises OSError or ValueError if there is no response."""
    secure, host, port, place, path = split_url(url)
    body = text.encode("utf-8")
    sock = connect(secure, host, port, authority, proxy)
    try:
        sock.sendall((HEAD % (path, place, token, len(body))).encode("ascii") + body)
        got = b""
        while len(got) < ANSWER_BYTES:
            try:
                part = sock.recv(16384)
            except OSError:  # an old Python with OpenSSL 3: the hub closed TCP without ending TLS
                if b"\r\n\r\n" not in got:
                    raise
                break
            if not part:
                break
            got += part
    finally:
        sock.close()
    head, _, body = got.partition(b"\r\n\r\n")
    parts = head.split(None, 2)
    if len(parts) < 2 or parts[0][:5] != b"HTTP/":
        raise ValueError("that was no HTTP answer")
    return parts[1].decode("ascii", "replace"), body
