"""The hub's own TLS, for a hub without an edge: the public listener, and the redirect from plain HTTP.

Owns their sockets, the certificate, Strict-Transport-Security. Does not know what a request means: the door's handler
processes it.
"""

import socket
import ssl
from pathlib import Path
from typing import Final

from gateway.door.client_limits import limits_of, uncounted
from gateway.wire import Handler, Request, Server
from gateway.wire.certificate import Certificate, CertificateError, load
from state.config.addresses import origin_of_url
from state.config.origins import Origins
from state.config.tables import GatewayConfig
from state.errors import TowpathError

HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
_SAFE: Final = frozenset({b"GET", b"HEAD"})


class TlsListener:
    """The listener of a hub with `[gateway] tls_certificate`. Call `open`, then `stop_accepting` and `close`."""

    def __init__(self, handler: Handler, config: GatewayConfig) -> None:
        self._config = config
        self._certificate = Certificate(*certificate_files(config))
        limits, exempt = limits_of(config), uncounted(config)
        tls = self._certificate.context
        self._servers = [Server(handler, limits=limits, uncounted=exempt, tls=tls, response_field=HSTS)]
        if config.redirect_port:
            self._servers.append(Server(Redirect(config), limits=limits, uncounted=exempt))

    async def open(self) -> None:
        """Listen. Raises TowpathError."""
        try:
            await self._certificate.open()
        except CertificateError as error:
            raise TowpathError(f"The TLS certificate cannot be used: {error}.") from error
        host = self._config.tls_host or everywhere()
        for server, port in zip(self._servers, (self._config.tls_port, self._config.redirect_port), strict=False):
            try:
                await server.listen(host, port)
            except OSError as error:
                raise TowpathError(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from error

    def stop_accepting(self) -> None:
        """Stop accepting connections."""
        for server in self._servers:
            server.stop_accepting()

    def close(self) -> None:
        """Close the remaining connections."""
        self._certificate.close()
        for server in self._servers:
            server.close()


def certificate_files(config: GatewayConfig) -> tuple[Path, Path | None]:
    """Return the files of certificate and key; None: the first one contains both."""
    return Path(config.tls_certificate), Path(config.tls_key) if config.tls_key else None


def certificate_fault(config: GatewayConfig) -> str:
    """Return why the certificate cannot be used, as sentences; `""`: it can be used. Blocks."""
    certificate, key = certificate_files(config)
    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    except CertificateError as error:
        return f"The TLS certificate cannot be used: {error}."
    file = key or certificate
    if file.stat().st_mode & 0o007:
        return f"Every user of this machine can read the TLS key in {file}. Run: chmod o= {file}"
    return ""


def everywhere() -> str:
    """Return the wildcard address of this machine, for IPv6 and IPv4 if it has both."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


class Redirect:
    """Redirects browsers from plain HTTP to HTTPS. Methods other than GET and HEAD are rejected, so errors are noticed.

    The target comes from the configuration, so a forged Host header has no effect.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._origin = origin_of_url(config.public_url)
        self._origins = Origins(config) if config.user_domain else None

    def handle(self, request: Request) -> None:
        """See `gateway.wire.request.Handler`."""
        if request.method not in _SAFE or request.head.websocket:
            text = f"Use {self._origin}: this hub does not answer over plain HTTP.\n"
            request.respond(403, [(b"content-type", b"text/plain; charset=utf-8")], text.encode())
            return
        origin = self._origin
        if self._origins is not None:
            host = next((value for name, value in request.head.fields if name == b"host"), b"")
            label = self._origins.label_in(host.lower().partition(b":")[0])
            origin = self._origins.at_label(label) if label else origin
        request.respond(301, [(b"location", origin.encode() + request.target)])
