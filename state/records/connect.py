"""The route to SSH in a job: it follows from the route to the job's app. Pure.

The app's endpoint says whether the job serves SSH. Both are reached by the same way in: a second socket in the job's
folder, or the same TLS listener, to which the gateway names SSH in the handshake. An endpoint of kind `tls` has a path
if and only if it is that of SSH.
"""

from typing import Final

from msgspec.structs import replace

from state.records.models import Endpoint, Route

CONNECT_PATH: Final = "hub/api/towpath/connect/"
"""Behind the base path: where clients open the WebSocket, as `USER/` or `USER/SERVER`. No app has a path here."""

DEVICE_PATH: Final = "hub/api/towpath/device/"
"""Where a client asks to be approved by a user, and for its token. It proves itself by what it sends."""
SSH_PROTOCOL: Final = "towpath-ssh"
"""What the gateway names in the TLS handshake (ALPN, RFC 7301). `batch.starter.tls_server` has the same."""
CLIENT_KEY: Final = "Towpath-Client-Key"
"""The field of the WebSocket's request with the public key that may log in: its kind, and base64."""
HOST_KEY: Final = "Towpath-Host-Key"
"""The field of the response with the host key of this attempt, alike."""

_ON_THIS_MACHINE: Final = frozenset({"unix", "tcp"})


def connect_prefix(prefix: str) -> str:
    """Return the prefix that names the route to SSH beside the app's. No request's path begins with it."""
    return "connect" + prefix


def connect_route(route: Route) -> Route | None:
    """Return the route to SSH in the job of an app's route; None: the job does not serve it."""
    app = route.endpoint
    if not app.ssh_path or app.kind == "reverse":
        return None
    kind = "unix" if app.kind in _ON_THIS_MACHINE else app.kind
    by_tls = kind == "tls"
    endpoint = Endpoint(
        kind=kind,
        host=app.host if by_tls else "",
        port=app.port if by_tls else 0,
        name=app.name,
        server=app.server,
        path=app.ssh_path,
    )
    return replace(
        route,
        prefix=connect_prefix(route.prefix),
        endpoint=endpoint,
        credential="",
        strip=False,
        hub_app=False,
        cors_origins=(),
        connects=True,
    )
