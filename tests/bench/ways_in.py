"""The ways in beside OpenSSH's own forwarding and CHP, all with the same app: python -m tests.bench.ways_in [--rounds N].

Needs root (it starts sshds with users of their own), nginx, wrk and ssh, and what `make bench` installs. Each round runs
every target once, in turn. A ratio is the median over the rounds of both in the same round.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench import loads
from tests.bench.goals import Goal, verdict
from tests.bench.process import BENCH_PYTHON, HERE, Child, bench_environment
from tests.bench.report import goals_table
from tests.bench.rounds import Run
from tests.bench.stats import Sample, wrk_result
from tests.gateway.tunnel_harness import Worker
from tests.gateway.ways_in import DirectSite, ReverseSite, SshSite
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
    location ~ /ws$ {{
      proxy_pass http://127.0.0.1:{echo}; proxy_http_version 1.1; proxy_read_timeout 1h;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
"""
HTTP: Final = {"small": ("small", 32), "bulk": ("body", 8), "one": ("small", 1)}
"""Path and connections of each load by wrk."""
MESSAGE, WEBSOCKETS = 200, 16
NO_TLS = "CHP without TLS"
GOALS: Final = (
    Goal("bulk through ssh, against ssh -L", "bulk", "rate", "ssh", "-L", 0.9, True),
    Goal("bulk through ssh and a jump host, against ssh -J", "bulk", "rate", "ssh-jump", "-J", 0.9, True),
    *(
        Goal(f"1 MB bodies through {way}, against {NO_TLS}", "bulk", "rate", way, "chp", 1.8, True)
        for way in ("direct", "reverse")
    ),
    *(
        Goal(f"small HTTP, 32 connections, through {way}, against {NO_TLS}", "small", "rate", way, "chp", bound, True)
        for way, bound in (("direct", 4.5), ("reverse", 4.0), ("ssh", 1.5))
    ),
    *(
        goal
        for way in ("direct", "reverse")
        for goal in (
            Goal(f"WebSocket 200 B x 16 through {way}, against {NO_TLS}", "ws", "rate", way, "chp", 1.0, True),
            Goal(f"WebSocket 200 B x 16 through {way}, p99, against {NO_TLS}", "ws", "p99", way, "chp", 1.0, False),
        )
    ),
    *(
        Goal(f"first byte on a warm connection, {way} above direct, p50", "one", "above", way, "", 0.002, False, "ms")
        for way in ("ssh", "reverse")
    ),
)


def wrk(url: str, connections: int, seconds: float) -> dict[str, float]:
    """Rate, p50 and p99 of one load."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", url]
    return wrk_result(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextlib.contextmanager
def app(site: SshSite):
    """An nginx of the user's, with a WebSocket echo behind it: (socket, port)."""
    folder = site.folder / "nginx"
    folder.mkdir()
    (folder / "body").write_bytes(os.urandom(2**20))
    socket, port, echo = site.socket(), free_port(), free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, socket=socket, port=port, echo=echo))
    echoes = Child(
        [BENCH_PYTHON, str(HERE / "upstream.py"), "ws", str(echo)], Path("/dev/null"), environment=bench_environment()
    )
    asyncio.run(echoes.until_listening(echo))
    child = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    eventually(Path(socket).exists, what="nginx")
    try:
        yield socket, port
    finally:
        child.terminate()
        child.wait(30)
        asyncio.run(echoes.stop())


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


@contextlib.contextmanager
def targets():
    """The URL of the app by each target."""
    with contextlib.ExitStack() as stack:
        site = SshSite(("app1", "jump1"))
        stack.callback(site.close)
        socket, port = stack.enter_context(app(site))
        ssh = site.options(site.ssh_pass())
        through = site.options(site.ssh_pass(jump=site.pool.hosts["jump1"]))
        workers = {
            "ssh": Worker({"/user/a/": ("ssh", socket)}, **ssh),
            "ssh-jump": Worker({"/user/a/": ("ssh", socket)}, **through),
        }
        for name, kind in (("direct", DirectSite), ("reverse", ReverseSite)):
            other = kind()
            stack.callback(other.close)
            workers[name] = Worker({"/user/a/": stack.enter_context(other.leading_to(socket))})
        urls = {name: f"http://{stack.enter_context(worker).origin}/user/a/" for name, worker in workers.items()}
        urls["-L"] = stack.enter_context(openssh(site, socket, jump=False))
        urls["-J"] = stack.enter_context(openssh(site, socket, jump=True))
        urls |= {"chp": url} if (url := stack.enter_context(chp(port))) else {}
        for name, url in urls.items():
            eventually(
                lambda url=url: subprocess.run(["curl", "-sf", f"{url}small"], capture_output=True).returncode == 0,
                what=name,
            )
        yield urls


def one_round(number: int, urls: dict[str, str], seconds: float) -> list[Sample]:
    """Every load on every target."""
    found = []
    for load, (path, connections) in HTTP.items():
        results = {name: wrk(f"{url}{path}", connections, seconds) for name, url in urls.items()}
        for name, result in results.items():
            more = {"above": result["p50"] - results["direct"]["p50"]} if load == "one" else {}
            found.append(Sample(load, name, number, {**result, **more}))
    for name in ("direct", "reverse", "ssh", "chp"):
        if name in urls:
            url = f"ws{urls[name].removeprefix('http')}ws"
            origin = {"Origin": urls[name].partition("/user/")[0]}
            work = loads.websocket(url, origin, connections=WEBSOCKETS, size=MESSAGE, seconds=seconds)
            found.append(Sample("ws", name, number, asyncio.run(work)))
    for sample in found:
        figures = "  ".join(f"{key} {value:.6g}" for key, value in sample.values.items())
        sys.stdout.write(f"round {number + 1}  {sample.scenario:<6} {sample.target:<9} {figures}\n")
    sys.stdout.flush()
    return found


def main() -> int:
    """Run all targets in turn, and print the goals."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ways_in")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    run = Run(1.0)
    with targets() as urls:
        for number in range(arguments.rounds):
            run.samples += one_round(number, urls, arguments.seconds)
    sys.stdout.write(goals_table(run, GOALS) + "\n")
    return 0 if all(verdict(goal, run.samples).met for goal in GOALS) else 1


if __name__ == "__main__":
    sys.exit(main())
