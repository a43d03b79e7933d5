"""The way in `direct`: mutual TLS to the starter on a node, which passes the bytes on to the app's socket."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final

from gateway.ways_in.contract import P
from gateway.ways_in.errors import WayInError
from gateway.ways_in.identity import GatewayIdentity
from gateway.ways_in.sockets import keep_alive
from state.records.connect import SSH_PROTOCOL
from state.records.models import Endpoint

log = logging.getLogger("towpath.ways_in")

SHUTDOWN_SECONDS: Final = 10.0
"""How long a node may take to answer the end of a TLS connection."""


class DirectWayIn:
    """See `gateway.ways_in.contract.WayIn`: endpoints of kind `tls`."""

    def __init__(self, identity: GatewayIdentity) -> None:
        self._identity = identity

    async def open(self, endpoint: Endpoint, protocol: Callable[[], P]) -> P:
        """See the contract. The node must prove the name in the endpoint, which contains the attempt's id.

        An endpoint with a path is that of SSH (`state.records.connect`).
        """
        if not endpoint.name:
            raise WayInError("refused", "the endpoint does not say whom the node must prove to be")
        context = await self._identity.context(ssh=bool(endpoint.path))
        try:
            transport, made = await asyncio.get_running_loop().create_connection(
                protocol,
                endpoint.host,
                endpoint.port,
                ssl=context,
                server_hostname=endpoint.name,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except ssl.SSLCertVerificationError as error:
            log.warning(
                "A node did not prove its identity. host=%s expected=%s reason=%r",
                endpoint.host,
                endpoint.name,
                error.verify_message,
            )
            raise WayInError("refused", repr(error)) from error
        secured = transport.get_extra_info("ssl_object")
        if endpoint.path and secured.selected_alpn_protocol() != SSH_PROTOCOL:
            transport.abort()  # it would carry SSH to the app
            raise WayInError("refused", "the node does not serve SSH")
        keep_alive(transport)
        return made

    async def close(self) -> None:
        """See the contract."""
