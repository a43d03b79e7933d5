"""`towpath check`: checks the configuration, and whether store, providers and clusters can be used."""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable

from gateway.serve import append_only, valkey
from gateway.serve.findings import Finding
from state.config.one_host import ACCEPTED, WHY, on_one_host
from state.errors import StateUnavailableError
from state.offer.app_ports import shared_port_warning, sharing_port
from state.plugins.launchers import needs_certificates, no_isolation, without_isolation
from state.settings.loader import Settings, load
from state.store.all import Store
from state.store.survey import survey

PROBE_SECONDS = 60


def run(options: argparse.Namespace) -> int:
    """Print the findings. Returns 0 if all are good, otherwise 1 (also for an invalid configuration)."""
    settings = load(options.config, options.data_dir)
    findings = asyncio.run(check(settings, options.part))
    if options.part == "all" and not options.json:
        findings += asyncio.run(_records(settings))
        findings += asyncio.run(_ways_in(settings))
    # `towpath serve` runs this with --json and must not wait for an edge, which may be started after the hub.
    if options.part == "edge" or (options.part == "all" and not options.json):
        findings += asyncio.run(_edge(settings))
    if options.json:
        for finding in findings:
            print(json.dumps(finding._asdict()))
    else:
        width = max(len(finding.part) for finding in findings)
        for finding in findings:
            print(finding.row(width))
    return 0 if all(finding.good for finding in findings) else 1


async def check(settings: Settings, part: str) -> list[Finding]:
    """Check all parts of a hub, or only those of its gateway or controller. Creates and changes nothing."""
    source = str(settings.config_path) if settings.config_path is not None else "none: the one-machine defaults"
    probes: list[Awaitable[list[Finding]]] = [_state(settings)]
    if part in {"all", "gateway"}:
        probes.append(_sign_in(settings))
    if part in {"all", "controller"}:
        probes.append(asyncio.to_thread(_clusters, settings))
    state, *rest = await asyncio.gather(*probes)
    gateway = _gateway(settings) if part in {"all", "gateway"} else []
    found = [finding for findings in rest for finding in findings]
    return [
        Finding("configuration", good=True, text=source),
        *(_own_tls(settings) if part in {"all", "gateway"} else []),
        *state,
        *gateway,
        *found,
        *_isolation(settings),
        *_hosts(settings),
        *_shared_ports(settings),
    ]


async def _sign_in(settings: Settings) -> list[Finding]:
    """Check the providers. Without any, their clients are not loaded."""
    if settings.config.auth is None or not settings.config.auth.provider:
        return []
    from gateway.commands.sign_in import probe  # noqa: PLC0415

    return await probe(settings)


async def _state(settings: Settings) -> list[Finding]:
    embedded = not settings.redis_url
    try:
        store = await Store.open(settings.redis_url or valkey.url(settings.data_dir))
    except StateUnavailableError as error:
        if embedded:
            if append_only.without_manifest(settings.data_dir):
                return [Finding("state", good=False, text=f"its manifest is missing. {valkey.CHECK}")]
            return [Finding("state", good=True, text="embedded Valkey; not running now: towpath serve starts it")]
        return [Finding("state", good=False, text=str(error), passing=True)]
    await store.close()
    return [Finding("state", good=True, text="embedded Valkey; running" if embedded else "answers")]


async def _records(settings: Settings) -> list[Finding]:
    """Whether every record of a store that answers can be read."""
    try:
        store = await Store.open(settings.redis_url or valkey.url(settings.data_dir))
    except StateUnavailableError:
        return []
    try:
        found = await survey(store.redis)
    finally:
        await store.close()
    if not found.bad:
        return []
    first = found.bad[0]
    text = (
        f"{len(found.bad)} of {found.read} cannot be read and are set aside. The first is the {first.kind}"
        f" {first.place} ({first.reason}). See: towpath store check"
    )
    return [Finding("records", good=False, text=text, passing=True)]


async def _ways_in(settings: Settings) -> list[Finding]:
    """Whether a running hub reaches the apps of its servers."""
    try:
        store = await Store.open(settings.redis_url or valkey.url(settings.data_dir))
    except StateUnavailableError:
        return []
    from gateway.commands.ways_in import check as check_ways_in  # noqa: PLC0415 - only with a running hub

    try:
        return await check_ways_in(settings, store)
    finally:
        await store.close()


def _own_tls(settings: Settings) -> list[Finding]:
    gateway = settings.config.gateway
    if not gateway.tls_certificate:
        return []
    from gateway.door.tls_listener import certificate_fault  # noqa: PLC0415 - only hubs without an edge

    fault = certificate_fault(gateway)
    return [Finding("TLS", good=not fault, text=fault or f"{gateway.tls_certificate}, port {gateway.tls_port}")]


async def _edge(settings: Settings) -> list[Finding]:
    """Check the running hub through its public URL."""
    if not settings.config.gateway.public_url:
        return []
    try:
        store = await Store.open(settings.redis_url or valkey.url(settings.data_dir))
    except StateUnavailableError:
        text = "not checked: the hub is not running. Start it, then repeat this command."
        return [Finding("edge", good=True, doubt=True, text=text)]
    try:
        from gateway.edge.watch import check as check_edge  # noqa: PLC0415 - only hubs with an edge

        now = await check_edge(store.edge_reports, settings.config)
        latest = await store.edge_reports.latest()
    finally:
        await store.close()
    found = list(now.findings) if now is not None else []
    if latest is not None and any(each.check == "websocket" for each in found):
        found += [each for each in latest.findings if each.check == "silence"]
    rows = [
        Finding(
            f"edge {each.check}",
            good=each.good,
            doubt=each.warning,
            text=f"{each.text} {each.fix}".rstrip(),
            passing=True,
        )
        for each in found
    ]
    wrong = [row for row in rows if row.doubt or not row.good]
    return wrong or [Finding("edge", good=True, text=f"{settings.config.gateway.public_url} works")]


def _gateway(settings: Settings) -> list[Finding]:
    """Check whether a gateway with this data directory has certificates that jobs accept."""
    if not needs_certificates(settings.config):
        return []
    from gateway.joining.certificates import HOW_TO_JOIN, have_certificates  # noqa: PLC0415

    if have_certificates(settings.data_dir):
        return [Finding("gateway", good=True, text="has its certificates")]
    text = f"no certificates yet. `towpath serve` makes them; for `towpath gateway`: {HOW_TO_JOIN}"
    return [Finding("gateway", good=True, doubt=True, text=text)]


def _clusters(settings: Settings) -> list[Finding]:
    """Run the check of `batch` as a program, because the gateway must not call clusters."""
    arguments = ["--data-dir", str(settings.data_dir)]
    if settings.config_path is not None:
        arguments += ["--config", str(settings.config_path)]
    try:
        probe = subprocess.run(  # noqa: S603 - our own interpreter and our own module
            [sys.executable, "-m", "batch", "check", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PROBE_SECONDS,
            env=dict(settings.environment),
        )
    except subprocess.TimeoutExpired:
        return [Finding("clusters", good=False, text=f"no answer within {PROBE_SECONDS} s", passing=True)]
    findings = []
    for line in probe.stdout.splitlines():
        row = json.loads(line)
        good, doubt, passing = bool(row["ok"]), bool(row.get("doubt")), bool(row.get("passing"))
        findings.append(Finding(str(row["part"]), good, str(row["message"]), doubt=doubt, passing=passing))
    if not findings:
        errors = probe.stderr.strip().splitlines()
        findings.append(Finding("clusters", good=False, text=errors[-1] if errors else "the check printed nothing"))
    return findings


def _isolation(settings: Settings) -> list[Finding]:
    return [
        Finding(f"cluster {cluster.name}", good=True, doubt=True, text=no_isolation(cluster))
        for cluster in without_isolation(settings.config)
    ]


def _hosts(settings: Settings) -> list[Finding]:
    """Say what one host name for the hub and all servers means for sharing."""
    config = settings.config
    if not on_one_host(config):
        return []
    if config.gateway.share_on_one_host:
        return [Finding("sharing", good=True, doubt=True, text=ACCEPTED)]
    return [Finding("sharing", good=True, text=f"off. {WHY}")]


def _shared_ports(settings: Settings) -> list[Finding]:
    return [
        Finding(f"profile {profile.name}", good=True, doubt=True, text=shared_port_warning(profile))
        for profile in sharing_port(settings.config)
    ]
