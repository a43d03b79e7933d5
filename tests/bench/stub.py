"""The smallest web app: answers every request with its body, then closes. Costs under 30 ms of CPU to start.

Run with `-I -S`: only built-in modules are imported. Listens on the argument `--socket PATH` or `--port N`, or where
JUPYTERHUB_SERVICE_URL says.
"""

import _socket
import select
import sys
from posix import environ

BODY = b"towpath bench stub\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


def listen():
    """A listening socket, where the arguments or the environment say."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--socket"]:
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        listener.bind(arguments[1])
    else:
        if arguments[:1] == ["--port"]:
            port = int(arguments[1])
        else:
            port = int(environ[b"JUPYTERHUB_SERVICE_URL"].split(b"/")[2].rpartition(b":")[2])
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    listener.listen(64)
    return listener


def main():
    """Serve for ever."""
    listener = listen()
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    clients = {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                accepted, _ = listener._accept()
                clients[accepted] = [_socket.socket(fileno=accepted), b""]
                poll.register(accepted, select.POLLIN)
                continue
            client = clients[number]
            try:
                chunk = client[0].recv(65536)
            except OSError:
                chunk = b""
            client[1] += chunk
            if chunk and b"\r\n\r\n" not in client[1]:
                continue
            poll.unregister(number)
            del clients[number]
            try:
                if chunk:
                    client[0].send(ANSWER)
                    client[0].shutdown(_socket.SHUT_WR)
            except OSError:
                pass
            client[0].close()


main()
