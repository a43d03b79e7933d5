"""The way in `ssh` beside OpenSSH's own forwarding, `direct` and CHP: python -m tests.bench.ssh_way [--rounds N].

Needs root (it starts sshds with users of their own), nginx, wrk and ssh; CHP where `make bench` has installed it. Each
round runs every target once, in turn, and a ratio is the median over the rounds of both in the same round.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.process import HERE, Child
from tests.bench.stats import wrk_result
from tests.gateway.tunnel_harness import Worker
from tests.gateway.ways_in import DirectSite, SshSite
from tests.hub import eventually
from tests.ports import free_port

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_processes 1; user alice;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 10000000; default_type application/octet-stream;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen unix:{socket}; listen 127.0.0.1:{port};
    location ~ /small$ {{ return 200 '{{"status":"ok","n":1234}}'; }}
    location ~ /body$ {{ alias {folder}/body; }}
  }}
}}
"""
LOADS = {"small": ("small", 32), "bulk": ("body", 8), "one": ("small", 1)}


def wrk(url: str, connections: int, seconds: float) -> dict[str, float]:
    """Rate, p50 and p99 of one load."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", url]
    return wrk_result(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextlib.contextmanager
def app(site: SshSite):
    """An nginx of the user's: (socket, port)."""
    folder = site.folder / "nginx"
    folder.mkdir()
    (folder / "body").write_bytes(os.urandom(2**20))
    socket, port = site.socket(), free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, socket=socket, port=port))
    child = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    eventually(Path(socket).exists, what="nginx")
    try:
        yield socket, port
    finally:
        child.terminate()
        child.wait(30)


@contextlib.contextmanager
def openssh(site: SshSite, socket: str, *, jump: bool):
    """OpenSSH's own forwarding of a local port: its URL."""
    folder = site.folder
    path = folder / f"id-{free_port()}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    certificate = site.authority.sign(
        Path(f"{path}.pub").read_text(), "alice", key_id="bench", now=time.time(), seconds=3600, forwarding=True
    )
    Path(f"{path}-cert.pub").write_text(certificate + "\n")
    blocks = [
        f"Host {host.name}\nHostName {host.address}\nPort {host.port}\nHostKeyAlias [{host.name}]:{host.port}\n"
        for host in site.pool.hosts.values()
    ]
    more = "Host app1\nProxyJump jump1\n" if jump else ""
    shared = (
        f"Host *\nUser alice\nIdentityFile {path}\nIdentitiesOnly yes\nUserKnownHostsFile {site.pool.known_hosts}\n"
        "StrictHostKeyChecking yes\nCiphers aes128-gcm@openssh.com\n"
    )
    config = folder / f"ssh-config-{path.name}"
    config.write_text("\n".join([more, *blocks, shared]))
    port = free_port()
    child = subprocess.Popen(["ssh", "-F", str(config), "-N", "-L", f"127.0.0.1:{port}:{socket}", "app1"])
    url = f"http://127.0.0.1:{port}/user/a/"
    eventually(lambda: subprocess.run(["curl", "-sf", f"{url}small"], capture_output=True).returncode == 0, what="ssh")
    try:
        yield url
    finally:
        child.terminate()
        child.wait(30)


@contextlib.contextmanager
def chp(port: int):
    """CHP straight to the app, without TLS: its URL, or None."""
    program = HERE / "node_modules/.bin/configurable-http-proxy"
    if not program.exists():
        yield None
        return
    front, api = free_port(), free_port()
    command = [
        "node", str(program), f"--port={front}", "--ip=127.0.0.1", f"--api-port={api}", "--api-ip=127.0.0.1",
        f"--default-target=http://127.0.0.1:{port}", "--log-level=error",
    ]  # fmt: skip
    child = Child(command, Path("/dev/null"), environment={"CONFIGPROXY_AUTH_TOKEN": "bench"})
    try:
        asyncio.run(child.until_listening(front))
        yield f"http://127.0.0.1:{front}/user/a/"
    finally:
        asyncio.run(child.stop())


def main() -> int:
    """Run all targets in turn and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ssh_way")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        site = SshSite(("app1", "jump1"))
        stack.callback(site.close)
        direct = DirectSite()
        stack.callback(direct.close)
        socket, port = stack.enter_context(app(site))
        ssh = {**site.options(site.ssh_pass())}
        through = {**site.options(site.ssh_pass(jump=site.pool.hosts["jump1"]))}
        tls, identity = stack.enter_context(direct.leading_to(socket))
        workers = {
            "ssh": stack.enter_context(Worker({"/user/a/": ("ssh", socket)}, **ssh)),
            "ssh-jump": stack.enter_context(Worker({"/user/a/": ("ssh", socket)}, **through)),
            "direct": stack.enter_context(Worker({"/user/a/": tls}, **identity)),
        }
        urls = {name: f"http://{worker.origin}/user/a/" for name, worker in workers.items()}
        urls["-L"] = stack.enter_context(openssh(site, socket, jump=False))
        urls["-J"] = stack.enter_context(openssh(site, socket, jump=True))
        urls |= {"chp": url} if (url := stack.enter_context(chp(port))) else {}
        rounds = []
        for _ in range(arguments.rounds):
            rounds.append(
                {
                    (load, name): wrk(f"{url}{path}", connections, arguments.seconds)
                    for load, (path, connections) in LOADS.items()
                    for name, url in urls.items()
                }
            )
    for load in LOADS:
        rates = {name: round(statistics.median(found[load, name]["rate"] for found in rounds), 1) for name in urls}
        sys.stdout.write(f"{load}: {json.dumps(rates)}\n")
    pairs = [("bulk", "ssh", "-L"), ("bulk", "ssh-jump", "-J"), ("small", "ssh", "chp"), ("small", "direct", "chp")]
    for load, one, other in pairs:
        if other in urls:
            found = sorted(each[load, one]["rate"] / each[load, other]["rate"] for each in rounds)
            words = f"{load}: {one} is {statistics.median(found):.2f}x {other} ({found[0]:.2f} to {found[-1]:.2f})"
            sys.stdout.write(f"{words}\n")
    more = sorted(each["one", "ssh"]["p50"] - each["one", "direct"]["p50"] for each in rounds)
    sys.stdout.write(f"one request at a time, p50 of ssh above direct: {statistics.median(more) * 1e3:.2f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
