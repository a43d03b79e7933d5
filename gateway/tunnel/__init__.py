"""The data plane: from an authorised request under `/user/...` to an app, and back.

Owns header rules, upstream connections, WebSocket splicing. Does not know about pages, forms, profiles and who may do
what.

`Tunnel(TunnelOptions)`, one per worker: `http` and `websocket` carry one of each (an `UpstreamError` is given to
`refuse` while nothing was sent yet), `way_to` and `carry` do it for the portal, `drop_route` and `close_where` end what
is open, `drain` shuts down, `stats` counts.
"""

from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.options import Caller, Stats, TunnelOptions
from gateway.tunnel.tunnel import Tunnel
from gateway.tunnel.way import Way

__all__ = ["Caller", "Stats", "Tunnel", "TunnelOptions", "UpstreamError", "Way"]
