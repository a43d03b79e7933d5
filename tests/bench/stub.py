"""A minimal web app: answers every request with the same body and closes. It starts in under 30 ms of CPU.

Run it with `-I -S`: it imports only built-in modules. It listens on `--socket PATH` or `--port N`, or where
JUPYTERHUB_SERVICE_URL says. `--batchspawner`: on a free port of the host's own address, which it reports to JupyterHub
as batchspawner-singleuser does. `--nginx` before these: an nginx listens there instead. `--note NAME` before all: write the time of the first response to that file in the
home directory, in seconds since the epoch.
"""

import _socket
import select
import sys
import time
from posix import environ, execv, mkdir, unlink

BODY = b"towpath bench stub\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


def listen(arguments):
    """Return a listening socket, from the arguments or the environment."""
    if arguments[:1] == ["--socket"]:
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        listener.bind(arguments[1])
    else:
        host = "127.0.0.1"
        if arguments[:1] == ["--batchspawner"]:
            host, port = _socket.gethostbyname(_socket.gethostname()), 0
        elif arguments[:1] == ["--port"]:
            port = int(arguments[1])
        else:
            port = authority(environ[b"JUPYTERHUB_SERVICE_URL"])[1]
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    listener.listen(64)
    if arguments[:1] == ["--batchspawner"]:
        tell_batchspawner(listener.getsockname()[1])
    return listener


def authority(url):
    """Return host and port of a URL."""
    host, _, port = url.split(b"/")[2].rpartition(b":")
    return host.decode(), int(port)


def tell_batchspawner(port):
    """`POST /hub/api/batchspawner {"port": N}`, with the server's own token (batchspawner/singleuser.py)."""
    url = environ[b"JUPYTERHUB_API_URL"]
    path = b"/" + b"/".join(url.split(b"/")[3:]) + b"/batchspawner"
    body = b'{"port": %d}' % port
    head = (
        b"POST %b HTTP/1.0\r\nAuthorization: token %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    hub = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    hub.connect(authority(url))
    hub.send(head % (path, environ[b"JUPYTERHUB_API_TOKEN"], len(body)) + body)
    while hub.recv(65536):
        pass
    hub.close()


NGINX = """daemon off; worker_processes 1; pid %(folder)s/pid; error_log %(folder)s/error.log;
events { worker_connections 4096; }
http {
  access_log off; default_type text/plain; keepalive_requests 1000000; sendfile on; tcp_nopush on;
  client_body_temp_path %(folder)s/b; proxy_temp_path %(folder)s/p; fastcgi_temp_path %(folder)s/f;
  uwsgi_temp_path %(folder)s/u; scgi_temp_path %(folder)s/s;
  server {
    listen %(listen)s;
    location %(prefix)s { return 200 "towpath bench stub\\n"; }
    location = %(prefix)sdown-1m { alias %(folder)s/1m; }
  }
}
"""


def become_nginx(listener, arguments):
    """Replace this process by an nginx that listens where `listener` does, with a body of 1 MB."""
    folder = environ[b"HOME"].decode() + "/nginx"
    try:  # noqa: SIM105 - only built-in modules are imported
        mkdir(folder)
    except FileExistsError:
        pass
    if arguments[:1] == ["--socket"]:
        listen = "unix:" + arguments[1]
        unlink(arguments[1])
    else:
        host, port = listener.getsockname()
        listen = f"{host}:{port}"
    listener.close()
    with open(folder + "/1m", "wb") as file:  # noqa: PTH123
        file.write(bytes(2**20))
    with open(folder + "/conf", "w") as file:  # noqa: PTH123
        prefix = environ[b"JUPYTERHUB_SERVICE_PREFIX"].decode()
        file.write(NGINX % {"folder": folder, "listen": listen, "prefix": prefix})
    execv("/usr/sbin/nginx", ["nginx", "-c", folder + "/conf", "-e", folder + "/error.log"])


def note(name):
    """Write the current time to a file."""
    with open(environ[b"HOME"].decode() + "/" + name, "w") as file:  # noqa: PTH123 - pathlib costs 20 ms
        file.write(repr(time.time()))


def main(arguments):
    """Serve until killed."""
    noted = ""
    if arguments[:1] == ["--note"]:
        noted = arguments[1]
        arguments = arguments[2:]
    nginx = arguments[:1] == ["--nginx"]
    if nginx:
        arguments = arguments[1:]
    listener = listen(arguments)
    if nginx:
        become_nginx(listener, arguments)
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
                    if noted:
                        note(noted)
                        noted = ""
                    client[0].send(ANSWER)
                    client[0].shutdown(_socket.SHUT_WR)
            except OSError:
                pass
            client[0].close()


main(sys.argv[1:])
