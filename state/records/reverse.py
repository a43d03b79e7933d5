"""Where connections of starters wait: a worker of a gateway, as the others reach it."""

from msgspec import Struct


class Holder(Struct, frozen=True, kw_only=True):
    """A worker. `path`: of its unix socket, for workers of the same host.

    `host` and `port`: where it listens for other gateways, with TLS; port 0: nowhere.
    """

    path: str
    host: str = ""
    port: int = 0
