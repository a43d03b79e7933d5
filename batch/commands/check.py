"""`python -m batch check`: check the authority and every cluster; print one JSON object per line. Changes nothing."""

import asyncio
import json
import secrets
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from batch.commands.controller import seal_key
from batch.contract import LauncherContext, LauncherError, PartReport
from batch.launchers.opening import load_named, open_launcher
from state.config.tables import ClusterConfig, Config
from state.errors import ConfigError, TowpathError
from state.plugins.launchers import kind_of, needs_certificates, way_in_of
from state.settings.loader import Settings

CHECK_SECONDS: Final = 30.0

Row = dict[str, Any]


async def check(settings: Settings) -> int:
    """Print a row for each part; return 1 if one of them cannot be used."""
    rows = list(_authority(settings))
    context = LauncherContext(data_dir=settings.data_dir, seal_key=lambda: _seal_key(settings))
    clusters = (_cluster(cluster, settings.config, context) for cluster in settings.config.cluster)
    rows += [row for rows in await asyncio.gather(*clusters) for row in rows]
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    return int(not all(row["ok"] for row in rows))


def _authority(settings: Settings) -> Iterator[Row]:
    if not needs_certificates(settings.config):
        return
    from batch.authority import Authority, has_authority  # noqa: PLC0415 - 80 ms

    row: Row = {"part": "authority", "ok": True}
    try:
        if has_authority(settings.data_dir):
            ends = Authority.load(settings.data_dir).certificate.not_valid_after_utc
            yield row | {"message": f"valid until {ends:%Y-%m-%d}"}
        else:
            yield row | {"message": "not created yet; the controller creates it when it starts"}
    except TowpathError as error:
        yield row | {"ok": False, "message": str(error)}


async def _cluster(cluster: ClusterConfig, config: Config, context: LauncherContext) -> list[Row]:
    """Return a row for the cluster, and one for each part of it that can fail separately (`Launcher.check`)."""
    parts: list[Row] = []
    row = await _whole(cluster, config, context, parts)
    if way_in_of(cluster) == "reverse":
        from batch.commands import reverse_check  # noqa: PLC0415 - 40 ms, and only such clusters

        authority = context.data_dir / "authority" / "authority.pem"
        parts.append(_part(cluster, await asyncio.to_thread(reverse_check.check, config, authority)))
    return [row, *parts]


async def _whole(cluster: ClusterConfig, config: Config, context: LauncherContext, parts: list[Row]) -> Row:
    """`passing`: it may succeed later with the same configuration."""
    row: Row = {"part": f"cluster {cluster.name}", "cluster": cluster.name, "kind": cluster.kind, "ok": True}
    try:
        launcher = open_launcher(cluster, context)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                parts += [_part(cluster, report) for report in await launcher.check()]
                row["catalog"] = msgspec.to_builtins((await launcher.catalog()).catalog)
                row["jobs"] = len(await launcher.poll())
        finally:
            await launcher.close()
    except LauncherError as error:
        return row | {"ok": False, "message": f"{error} {error.hint}".strip(), "passing": True}
    except (ConfigError, TowpathError) as error:
        return row | {"ok": False, "message": str(error)}
    except TimeoutError:
        return row | {"ok": False, "message": f"No answer within {CHECK_SECONDS:.0f} seconds.", "passing": True}
    test = kind_of(cluster).self_test
    if test and (why := await asyncio.to_thread(load_named(test), config, cluster)):
        return row | {"ok": False, "message": why, "passing": True}  # other profiles may work
    return row | {"message": "answers"}


def _part(cluster: ClusterConfig, report: PartReport) -> Row:
    row: Row = {"part": f"cluster {cluster.name}, {report.part}", "ok": report.good, "message": report.text}
    return row | {"doubt": report.doubt, "passing": True}


def _seal_key(settings: Settings) -> bytes:
    """Return the hub's seal key, or if there is none yet, one that no job was sealed with, so that no job is found."""
    try:
        return seal_key(settings)
    except TowpathError:
        return secrets.token_bytes(32)
