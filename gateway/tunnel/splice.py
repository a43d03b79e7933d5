"""Connects two sockets: a WebSocket's client and its app, passing bytes on immediately.

Owns the two protocols, pauses in both directions, our own close frames and pings between others' frames, and the end.
Does not know about how the sockets came to be.

How it works: a `Side` receives from its own socket and writes to its peer's. Its tracker says where frames end, so that
we can send something of our own to the peer only when `tracker.remaining == 0`. Close frames of either side pass
untouched; once both sides have sent one, the WebSocket is over (RFC 6455 section 7.1.1).
"""

import asyncio
import os
from collections.abc import Callable
from enum import Enum
from typing import Final, cast

from gateway.tunnel import frames
from gateway.tunnel.options import Caller, Stats, TunnelOptions
from state.records.models import Route

_FLUSH_SECONDS: Final = 10.0


class Phase(Enum):
    """The stage of a splice."""

    OPEN = "open"
    ENDING = "ending"  # our close frame is sent, or both sides have sent theirs
    CLOSED = "closed"


class Side(asyncio.Protocol):
    """One socket of the two."""

    def __init__(self, splice: "Splice", *, client: bool) -> None:
        self.splice = splice
        self.client = client
        self.mark = os.urandom(8)
        self.tracker = frames.Tracker(masked=client, limit=splice.options.message_limit, mark=self.mark)
        self._feed = self.tracker.feed
        self.peer: Side = self
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.active = True
        self.moved = 0
        self.read_paused = False
        self.quiet_since = 0.0
        self.pinged_at: float | None = None
        self.lost = False
        self._unsent = 0
        self._unsent_since = 0.0

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        self.active = True
        self.moved += len(data)
        tracker = self.tracker
        out = self._feed(data)
        if self.splice.phase is not Phase.OPEN:
            if tracker.closing:
                self.transport.close()
            return
        if out:
            self.peer.transport.write(out)
        if tracker.fault is not None:
            self.splice.end(*tracker.fault)
        elif tracker.closing and self.peer.tracker.closing:
            self.splice.close()

    def pause_writing(self) -> None:
        """Stop reading from the peer: this side reads slowly."""
        peer = self.peer
        if not peer.lost and not peer.read_paused:
            peer.read_paused = True
            peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume reading from the peer."""
        peer = self.peer
        if peer.read_paused:
            peer.read_paused = False
            if not peer.lost and not peer.transport.is_closing():
                peer.transport.resume_reading()

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Handle the end of this side. The other side gets the remaining bytes, and is closed then."""
        if self.lost:
            return
        self.lost = True
        self.splice.side_lost(self.peer)

    def say(self, opcode: int, payload: bytes) -> bool:
        """Send a control frame to this side, between the peer's frames; False: not possible now."""
        if self.peer.tracker.remaining or self.peer.tracker.closing or self.lost or self.transport.is_closing():
            return False
        self.transport.write(frames.control(opcode, payload, masked=not self.client))
        return True

    def ping(self) -> bool:
        """Ping this side if that is possible now. Behind a close frame it is not, but the time runs all the same."""
        return self.peer.tracker.closing or self.say(frames.PING, self.mark)

    def stalled(self, now: float) -> bool:
        """Return whether this side has read nothing for too long, while bytes wait for it."""
        if self.lost:
            return False
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent = unsent
            self._unsent_since = now
        return now - self._unsent_since > self.splice.options.write_timeout


class Splice:
    """An open WebSocket, to its end."""

    def __init__(
        self, *, route: Route, caller: Caller, options: TunnelOptions, stats: Stats, ended: "Callable[[Splice], None]"
    ) -> None:
        """`ended` is called once, when both connections are gone."""
        self.route = route
        self.caller = caller
        self.options = options
        self.phase = Phase.OPEN
        self._stats = stats
        self._loop = asyncio.get_running_loop()
        self._client = Side(self, client=True)
        self._app = Side(self, client=False)
        self._client.peer = self._app
        self._app.peer = self._client
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = ended

    def open(self, client: asyncio.Transport, early: bytes, app: asyncio.Transport, rest: bytes) -> None:
        """Tie the two connections together; both are ours from now on.

        `early`: what the client has sent behind its handshake; `rest`: what the app has sent behind its own. Reading
        from the app is paused.
        """
        for side, transport in ((self._app, app), (self._client, client)):
            side.transport = transport
            transport.set_write_buffer_limits(self.options.buffer_limit)
            transport.set_protocol(side)
        now = self._loop.time()
        for side in (self._client, self._app):
            side.quiet_since = now
        if rest:
            self._app.data_received(rest)
        if early:
            self._client.data_received(early)
        if app.is_closing():
            self._app.connection_lost(None)
        elif not self._app.read_paused:
            app.resume_reading()

    def _over(self) -> None:
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.CLOSED
        self._count()
        if self._deadline is not None:
            self._deadline.cancel()
        self._ended(self)

    def end(self, code: int, reason: str) -> None:
        """Close with our own close frame to both sides, now. What they still send is dropped."""
        if self.phase is not Phase.OPEN:
            return
        self.phase = Phase.ENDING
        for side in (self._client, self._app):
            if side.lost:
                continue
            if side.peer.tracker.remaining and side.peer.tracker.fault is None:
                # In the middle of a frame nothing can be said: the end of the connection must do.
                side.transport.close()
                continue
            if not side.peer.tracker.closing:  # else it has a close frame already
                side.transport.write(frames.close(code, reason, masked=not side.client))
            if side.tracker.closing:
                side.transport.close()
            elif side.read_paused:
                side.read_paused = False
                side.transport.resume_reading()
        self._abort_in(self.options.close_wait)

    def close(self) -> None:
        """Close both connections after the remaining bytes: both sides have sent a close frame."""
        self.phase = Phase.ENDING
        for side in (self._client, self._app):
            if not side.lost:
                side.transport.close()
        self._abort_in(_FLUSH_SECONDS)

    def side_lost(self, other: Side) -> None:
        """Note that `other`'s peer is gone."""
        if other.lost:
            self._over()
        elif self.phase is Phase.OPEN:
            other.transport.close()
            self._abort_in(_FLUSH_SECONDS)

    def _abort_in(self, seconds: float) -> None:
        if self._deadline is None:
            self._deadline = self._loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        """Close both connections at once."""
        for side in (self._client, self._app):
            if not side.lost:
                side.transport.abort()

    def _count(self) -> None:
        self._stats.bytes_up += self._client.moved
        self._stats.bytes_down += self._app.moved
        self._client.moved = self._app.moved = 0

    def tick(self, now: float) -> bool:
        """Called about once a second: end what is dead or stalled, ping what is silent.

        True when data frames have moved since the last call.
        """
        if self.phase is not Phase.OPEN:
            return False
        self._count()
        active = False
        for side in (self._client, self._app):
            active = active or side.tracker.active
            side.tracker.active = False
            if side.stalled(now):
                self.abort()
            elif side.active or side.read_paused:
                side.active = False
                side.quiet_since = now
                side.pinged_at = None
            elif side.pinged_at is not None:
                if now - side.pinged_at >= self.options.ping_interval:
                    self.abort()
            elif now - side.quiet_since >= self.options.ping_interval and side.ping():
                side.pinged_at = now
        return active
