"""Runs the loads, each in its own process: wrk for small HTTP, our own for bodies, WebSockets and sign-ins."""

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench.process import BENCH_PYTHON, HERE, BenchError, bench_environment, output_of
from tests.bench.stats import wrk_result


async def wrk(url: str, headers: dict[str, str], *, connections: int, seconds: float) -> dict[str, float]:
    """Return rate, p50 and p99. wrk uses one thread, so that the cores are left to the target."""
    fields = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "60s",
        "--latency",
        *fields,
        url,
    ]
    try:
        return wrk_result(await output_of(command))
    except ValueError as error:
        raise BenchError(f"{url}: {error}") from None


async def _own(script: str, job: dict[str, Any]) -> dict[str, float]:
    python = BENCH_PYTHON if Path(BENCH_PYTHON).exists() else sys.executable  # the tests have no peers
    text = await output_of([python, str(Path(HERE, script)), json.dumps(job)], environment=bench_environment())
    result: dict[str, Any] = json.loads(text)
    if "fault" in result:
        raise BenchError(f"{script} {job.get('url') or job.get('path')}: {result['fault']}")
    return result


async def websocket(
    url: str, headers: dict[str, str], *, connections: int, size: int, seconds: float
) -> dict[str, float]:
    """Return rate (messages/s), p50 and p99."""
    job = {"url": url, "headers": list(headers.items()), "connections": connections, "size": size, "seconds": seconds}
    return await _own("load_ws.py", job)


async def sign_in(
    port: int, entry: str, cookie: str, *, connections: int, users: int, seconds: float
) -> dict[str, float]:
    """Return rate (round trips/s), p50 and p99."""
    job = {
        "host": "127.0.0.1", "port": port, "entry": entry, "cookie": cookie,
        "connections": connections, "users": users, "seconds": seconds, "path": entry,
    }  # fmt: skip
    return await _own("load_sign_in.py", job)


async def bodies(
    url: str, headers: dict[str, str], *, connections: int, size: int, seconds: float, direction: str
) -> dict[str, float]:
    """Return the rate (bytes/s)."""
    parts = urlsplit(url)
    job = {
        "host": parts.hostname, "port": parts.port, "path": parts.path, "headers": list(headers.items()),
        "connections": connections, "size": size, "seconds": seconds, "direction": direction,
    }  # fmt: skip
    return await _own("load_body.py", job)
