"""A real nginx as the proxy of a campus portal: it requires a password (auth_basic) and sends the user in a header."""

import shutil
import socket
import subprocess
import time

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {more}
    server {{
        listen {address}:{port};
        auth_basic "Campus portal";
        auth_basic_user_file {folder}/users;
        location / {{
            proxy_pass http://127.0.0.1:{hub};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Authorization "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Remote-User $remote_user;
            proxy_set_header X-Remote-Groups $http_x_test_groups;
            proxy_set_header X-Towpath-Portal "{secret}";
        }}
    }}
}}
"""


class PortalProxy:
    """One nginx in front of a hub on 127.0.0.1. `users`: name → password."""

    def __init__(self, folder, *, hub, secret, port, users, more="", address="127.0.0.1"):
        self.origin = f"http://{address}:{port}"
        self._folder = folder
        self._port, self._address = port, address
        (folder / "users").write_text("".join(f"{name}:{{PLAIN}}{word}\n" for name, word in users.items()))
        config = CONFIG.format(folder=folder, hub=hub, secret=secret, port=port, more=more, address=address)
        (folder / "nginx.conf").write_text(config.replace("worker_processes 1;", "worker_processes 1;\nuser root;"))
        folder.chmod(0o755)

    def start(self):
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        log = str(self._folder / "error.log")
        argv = [binary, "-e", log, "-c", str(self._folder / "nginx.conf"), "-p", str(self._folder)]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((self._address, self._port), 1).close()
            except OSError:
                assert self._process.poll() is None, (self._folder / "error.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
            else:
                return self

    def stop(self):
        self._process.terminate()
        self._process.wait(20)
