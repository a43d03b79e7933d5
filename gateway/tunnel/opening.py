"""Opens a byte stream to an endpoint, by the way in for its kind.

Owns `open_stream`. Does not know how a way in opens it, or what flows through it.
"""

import asyncio
from collections.abc import Callable

from gateway.tunnel.errors import UpstreamError
from gateway.ways_in.contract import P, WaysIn
from gateway.ways_in.errors import WayInError
from state.records.models import Endpoint


async def open_stream(
    endpoint: Endpoint,
    protocol: Callable[[], P],
    *,
    ways_in: WaysIn,
    timeout: float,  # noqa: ASYNC109 - seconds from the options; asyncio.timeout is used inside
) -> P:
    """Connect to `endpoint` within `timeout` seconds. Raises UpstreamError: "identity" or "refused"."""
    way_in = ways_in.get(endpoint.kind)
    if way_in is None:
        raise UpstreamError("refused", f"no way in to an endpoint of kind {endpoint.kind!r}")
    try:
        async with asyncio.timeout(timeout):
            return await way_in.open(endpoint, protocol)
    except WayInError as error:
        raise UpstreamError(error.kind, f"{endpoint}: {error.detail}", str(error)) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise UpstreamError("refused", f"{endpoint}: {error!r}") from error
