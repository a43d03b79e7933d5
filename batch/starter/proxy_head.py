"""The head of a request to a proxy, and how it is passed on."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Mapping

MAX_ANSWER = 16384
HOP_BY_HOP = (b"connection", b"proxy-connection", b"keep-alive", b"proxy-authorization")


class ProxyRequest:
    """A request: its destination, and the head for the destination itself or for another proxy."""

    def __init__(self, host: str, port: int, connect: bool, direct: bytes, through_proxy: bytes) -> None:
        self.host = host
        self.port = port
        self.connect = connect
        self.direct = direct
        self.through_proxy = through_proxy


class Upstream:
    """A proxy that the node uses for outgoing connections."""

    def __init__(self, host: str, port: int, credentials: str) -> None:
        self.host = host
        self.port = port
        self.credentials = credentials

    def head(self, request: ProxyRequest) -> bytes:
        """Return the head that is sent to it for the request."""
        line, end, rest = request.through_proxy.partition(b"\r\n")
        if self.credentials:
            import base64

            rest = b"Proxy-Authorization: Basic " + base64.b64encode(self.credentials.encode("utf-8")) + b"\r\n" + rest
        return line + end + rest


def split_host(text: str, port: int) -> "tuple[str, int] | None":
    """Parse `host`, `host:port` or `[address]:port`; None: it is none of these."""
    host, colon, number = text.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = text, str(port)
    if not number.isdigit() or not 0 < int(number) < 65536:
        return None
    host = host.strip("[]")
    return (host, int(number)) if host else None


def read_request(head: bytes) -> "ProxyRequest | None":
    """Return the request of a head (and what follows it); None: it is not a request to a proxy.

    A plain request gets a connection of its own, because the next one may be for another host.
    """
    top, _, body = head.partition(b"\r\n\r\n")
    lines = top.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
        return None
    target = parts[1].decode("latin-1")
    if parts[0] == b"CONNECT":
        where = split_host(target, 443)
        return None if where is None else ProxyRequest(where[0], where[1], True, body, top + b"\r\n\r\n" + body)
    if target[:7].lower() != "http://":
        return None
    authority, _, path = target[7:].partition("/")
    where = split_host(authority.rpartition("@")[2], 80)
    if where is None:
        return None
    kept = [line for line in lines[1:] if line.partition(b":")[0].strip().lower() not in HOP_BY_HOP]
    rest = b"\r\n".join([*kept, b"Connection: close", b"", body])
    origin = parts[0] + b" /" + path.encode("latin-1") + b" " + parts[2] + b"\r\n"
    return ProxyRequest(where[0], where[1], False, origin + rest, lines[0] + b"\r\n" + rest)


def upstream_for(request: ProxyRequest, environment: "Mapping[str, str]") -> "Upstream | None":
    """Return the node's own proxy for the request; None: there is none, or `no_proxy` excepts the host."""
    names = ("https_proxy", "HTTPS_PROXY") if request.connect else ("http_proxy",)
    url = next((environment[name] for name in (*names, "all_proxy", "ALL_PROXY") if environment.get(name)), "")
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "http", url
    if not rest or scheme.lower() != "http" or is_excepted(request.host, environment):
        return None
    credentials, _, place = rest.partition("/")[0].rpartition("@")
    where = split_host(place, 80)
    return None if where is None else Upstream(where[0], where[1], credentials)


def is_excepted(host: str, environment: "Mapping[str, str]") -> bool:
    """Return whether `no_proxy` names the host, its domain, or everything."""
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    for entry in listed.replace(" ", ",").split(","):
        name = entry.strip().lower().lstrip(".")
        if name and (name == "*" or host.lower() == name or host.lower().endswith("." + name)):
            return True
    return False


def open_tunnel(sock: "_socket.socket", proxy: Upstream, host: str, port: int) -> None:
    """Have a connected proxy connect to the host. Blocks. Raises OSError and ValueError."""
    place = "%s:%d" % ("[%s]" % host if ":" in host else host, port)
    head = ("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (place, place)).encode("ascii")
    sock.sendall(proxy.head(ProxyRequest(host, port, True, head, head)))
    got = b""
    while b"\r\n\r\n" not in got:
        part = sock.recv(1)  # what follows the head belongs to the host
        got += part
        if not part or len(got) > MAX_ANSWER:
            raise ValueError("the proxy did not answer in HTTP")
    parts = got.split(None, 2)
    if parts[0][:5] != b"HTTP/" or parts[1][:1] != b"2":
        raise ValueError("the proxy refused the connection")
