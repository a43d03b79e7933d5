"""The gateway's one door to asyncssh: the gateway's key, connections to hosts, and channels to sockets.

Owns the options of a connection and the translation of asyncssh's errors. It reads no file of the account's own:
neither ~/.ssh/config nor ~/.ssh/known_hosts nor an agent. It opens channels to unix sockets and nothing else.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import asyncssh
from asyncssh.constants import OPEN_RESOURCE_SHORTAGE

from gateway.ways_in.contract import P
from gateway.ways_in.errors import WayInError
from gateway.ways_in.ssh.errors import DroppedError, HostError, LinkFullError, LinkLostError
from gateway.ways_in.ssh.stream import Stream
from gateway.ways_in.ssh.wire import Dialler
from state.records.joining import GATEWAY_ID_LENGTH
from state.records.ssh import SshHop

KEEPALIVE_SECONDS: Final = 15
KEEPALIVE_COUNT: Final = 3
"""A connection on which nothing has been heard for so many keepalives is closed, and its streams with it."""
WINDOW: Final = 1024 * 1024
"""Bytes that a host may send on one channel before they are taken: what a slow client keeps in our memory at most."""
CIPHERS: Final = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""First choice: where processors have AES, they are the fastest, and need no separate authentication code."""
CLOSE_SECONDS: Final = 2.0
TELL_ADMINS: Final = "Tell the hub's admins."
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)

logging.getLogger("asyncssh").setLevel(logging.WARNING)  # it logs every channel


class GatewayKey:
    """The private key of this gateway's certificate, with which it also proves itself to hosts. `id`: the gateway's."""

    def __init__(self, pem: bytes) -> None:
        """`pem`: the contents of gateway.pem. Raises WayInError."""
        found = _PRIVATE_KEY.search(pem)
        try:
            self._key = asyncssh.import_private_key(found[0] if found else b"")
        except (asyncssh.KeyImportError, ValueError) as error:
            raise WayInError("identity", f"the gateway's key cannot be read: {error}") from error
        self.id = hashlib.sha256(self._key.export_public_key("pkcs8-der")).hexdigest()[:GATEWAY_ID_LENGTH]

    def login(self, certificate: str) -> list[Any]:
        """Return what a connection authenticates with. Raises HostError."""
        try:
            return [(self._key, asyncssh.import_certificate(certificate))]
        except (asyncssh.KeyImportError, ValueError) as error:
            raise HostError(f"the certificate cannot be used: {error}", "", renew=True) from error

    def __repr__(self) -> str:
        return "GatewayKey()"


class Link:
    """An authenticated connection to a host as one account. Its streams share one TCP connection."""

    def __init__(self, connections: Sequence[asyncssh.SSHClientConnection], name: str) -> None:
        """`connections`: through the jump hosts, in order; the last is the host's own. `name`: the host's."""
        self._connections = tuple(connections)
        self._last = last = self._connections[-1]
        self._name = name
        self._full = False
        self.streams: set[Stream] = set()
        # asyncssh passes no back-pressure of the connection on to its channels.
        last.pause_writing = lambda: self._set_full(full=True)  # type: ignore[method-assign]
        last.resume_writing = lambda: self._set_full(full=False)  # type: ignore[method-assign]

    @property
    def closed(self) -> bool:
        """Whether it can no longer be used."""
        return any(connection.is_closed() for connection in self._connections)

    def _set_full(self, *, full: bool) -> None:
        self._full = full
        for stream in list(self.streams):
            stream.link_paused(full)

    async def open(self, path: str, protocol: Callable[[], P]) -> P:
        """Open a stream to a socket. Raises HostError, OSError if nothing listens there."""
        made = protocol()
        stream = Stream(cast("asyncio.Protocol", made), self.streams.discard, link_full=self._full)

        def session() -> Any:
            self.streams.add(stream)
            return stream

        opening = asyncio.ensure_future(self._last.create_unix_connection(session, path, window=WINDOW))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda done: _give_up(done, stream))
            raise
        except asyncssh.ChannelOpenError as error:
            if self.closed:
                raise LinkLostError(
                    f"the connection was lost: {error.reason}",
                    f"The connection to {self._name} was lost. Try again in a moment.",
                ) from error
            if error.code == OPEN_RESOURCE_SHORTAGE:
                raise LinkFullError(f"no more channels: {error.reason}", "") from error
            raise ConnectionRefusedError(f"{self._name} opens no channel to {path}: {error.reason}") from error
        except (asyncssh.Error, OSError) as error:
            raise LinkLostError(
                f"the connection was lost: {_reason(error)}",
                f"The connection to {self._name} was lost. Try again in a moment.",
            ) from error
        return made

    async def close(self) -> None:
        """Close the connection, and those to the jump hosts."""
        for connection in reversed(self._connections):
            connection.close()
            with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
                await asyncio.wait_for(connection.wait_closed(), CLOSE_SECONDS)
            connection.abort()


def _give_up(done: "asyncio.Future[Any]", stream: Stream) -> None:
    """Close a channel that was opened after nobody waited for it any more."""
    if not done.cancelled() and done.exception() is None:
        stream.abort()


class _Client(asyncssh.SSHClient):
    """Refuses every host key that is not a trusted one."""

    def __init__(self) -> None:
        self.connection: asyncssh.SSHClientConnection | None = None

    @property
    def greeted(self) -> bool:
        """Whether sshd has sent its version, the first that it says."""
        return self.connection is not None and bool(self.connection.get_extra_info("server_version"))

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn


async def connect(hops: Sequence[SshHop], key: GatewayKey, *, seconds: float) -> Link:
    """Connect to the last of these hosts through the others. Raises HostError."""
    opened: list[asyncssh.SSHClientConnection] = []
    try:
        for hop in hops:
            opened.append(await _connect(hop, key, opened[-1] if opened else None, seconds))
    except BaseException:
        for connection in reversed(opened):
            connection.abort()
        raise
    return Link(opened, hops[-1].name)


async def _connect(
    hop: SshHop, key: GatewayKey, through: asyncssh.SSHClientConnection | None, seconds: float
) -> asyncssh.SSHClientConnection:
    client, dialler, name = _Client(), Dialler(through), hop.name
    try:
        trusted = asyncssh.import_known_hosts("\n".join(hop.host_keys)).match(name, "", None)
        async with asyncio.timeout(seconds):
            made = await asyncssh.connect(
                hop.address,
                hop.port,
                tunnel=cast("Any", dialler),
                config=None,
                client_factory=lambda: client,
                username=hop.user,
                client_keys=key.login(hop.certificate),
                agent_path=None,
                known_hosts=lambda _host, _address, _port: cast("Any", trusted),
                host_key_alias=name,
                preferred_auth="publickey",
                x509_trusted_certs=None,
                encryption_algs=CIPHERS,
                compression_algs=["none"],
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_COUNT,
                login_timeout=seconds,
                connect_timeout=seconds,
            )
        dialler.authenticated()
    except asyncssh.HostKeyNotVerifiable as error:
        message = f"{name} did not prove its identity, so the hub does not connect to it. {TELL_ADMINS}"
        raise HostError(f"host key: {error.reason}", message, renew=True, kind="identity") from error
    except asyncssh.PermissionDenied as error:
        message = f"{name} refused the hub's login as {hop.user}. {TELL_ADMINS}"
        raise HostError(f"access denied: {error.reason}", message, renew=True, kind="identity") from error
    except TimeoutError as error:
        raise HostError("no answer", f"{name} did not answer within {seconds:.0f} seconds.") from error
    except (ConnectionResetError, asyncssh.ConnectionLost) as error:
        if client.greeted:
            raise HostError(_reason(error), f"{name} closed the connection: {_reason(error)}.") from error
        raise DroppedError("closed at once", f"{name} has too many new connections. Try again in a moment.") from error
    except asyncssh.ChannelOpenError as error:  # of a jump host
        raise HostError(error.reason, f"{name} cannot be reached: {error.reason}.") from error
    except ValueError as error:  # the certificate is for another key: the gateway has joined again
        raise HostError(_reason(error), f"{name} cannot be reached: {_reason(error)}.", renew=True) from error
    except (asyncssh.Error, OSError) as error:
        raise HostError(_reason(error), f"{name} cannot be reached: {_reason(error)}.") from error
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # asyncio puts the address in place of the reason
    text = error.reason if isinstance(error, asyncssh.Error) else str(error)
    return str(text).strip().removesuffix(".") or type(error).__name__
