"""The requests that the portal passes to sign-in."""

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # commands that sign nobody in do not load Litestar
    from litestar import Request

PortalRequest: TypeAlias = "Request[Any, Any, Any]"


def peer_of(request: PortalRequest) -> str:
    """Return the address of the connection that the request came on."""
    client = request.scope["client"]
    assert client is not None  # `gateway.door.portal_handover` sets it
    return client[0]
