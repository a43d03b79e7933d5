"""What the check of the edge and the gateway share: paths, the header, the description of a request.

The check (`gateway.edge.probe`) sends requests to the public URL. The gateway (`gateway.door.edge_check`) answers those
with the secret of a running check, and describes how they arrived.
"""

from typing import Final

from msgspec import Struct

PATH: Final = "hub/api/towpath/edge-check/"
"""Relative to the base path, followed by `echo/...`, `events`, `body`, `limit`, `websocket`, `silence/SECONDS`."""
HEADER: Final = b"x-towpath-edge-check"
EVENT_PAUSE: Final = 2.0
"""Seconds between the two events of `events`."""
SILENCE_MAX: Final = 600.0


class Seen(Struct, frozen=True, kw_only=True):
    """How a request arrived at the gateway.

    `peer`: the other end of the connection; `client`: the address that counts as the client's. `own_page`: whether the
    request counts as sent by one of the hub's own pages. The rest are header fields, joined by commas.
    """

    target: str
    host: str
    peer: str
    client: str
    trusted: bool
    own_page: bool
    forwarded_for: str
    forwarded_proto: str
    forwarded_host: str
