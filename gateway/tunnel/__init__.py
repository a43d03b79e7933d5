"""The data plane: from a request under `/user/...` to an app, and back."""

from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.options import Caller, Stats, TunnelOptions
from gateway.tunnel.tunnel import Tunnel

__all__ = ["Caller", "Stats", "Tunnel", "TunnelOptions", "UpstreamError"]
