"""Operations on sockets in an epoll loop."""

import _socket
import select


def change_events(epoll: "select.epoll", sock: "_socket.socket", before: int, after: int) -> None:
    """Change which events a socket is watched for; 0: none."""
    if not before:
        epoll.register(sock.fileno(), after)
    elif after:
        epoll.modify(sock.fileno(), after)
    else:
        epoll.unregister(sock.fileno())


def prepare(sock: "_socket.socket") -> None:
    """Set up a connection over the network: without delays, and with an end even if the peer's machine vanishes."""
    sock.setblocking(False)
    sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        sock.setsockopt(_socket.IPPROTO_TCP, getattr(_socket, name), value)


def allow_many_descriptors() -> None:
    """Raise the limit of open files as far as permitted: each connection takes two."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ImportError, ValueError, OSError):
        pass
